"""What is never a hit, whatever a model says: two texts that differ in what an answer hangs on."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Literal

from penstock.caches.semantic import lexicon
from penstock.caches.semantic.profile import Link, Profile, stem

_ENDINGS = (
    *(("s", ""), ("es", ""), ("ed", ""), ("ed", "e"), ("ing", ""), ("ing", "e"), ("est", ""), ("est", "e")),
    *(("iest", "y"), ("er", ""), ("er", "e"), ("ier", "y"), ("ly", ""), ("ies", "y"), ("ied", "y")),
)

Veto = Literal[
    "script", "language", "number", "unit", "negation", "contrary", "kind", "name", "swap", "question", "word"
]
"""Why: other writing or language; other numbers or dates; other units; one says not; one says the contrary
(``before`` and ``after``); another of a class (``Monday`` and ``Tuesday``); other names; two things have changed
places; another kind of answer is asked for (``when`` and ``where``); all is the same but one word, and that is
another (``yoga`` and ``pilates``)."""


def veto(asked: Profile, answered: Profile) -> Veto | None:
    """Why the answer to one cannot serve the other, ``None`` where nothing speaks against it. Symmetric. About 15
    microseconds."""
    return next(_found(asked, answered), None)


def _found(a: Profile, b: Profile) -> Iterator[Veto]:
    if a.script != b.script:
        yield "script"
    if a.language and b.language and a.language != b.language:
        yield "language"
    if a.asks_for and b.asks_for and a.asks_for != b.asks_for:
        yield "question"
    if a.numbers != b.numbers or _exclusive(a.loose - b.numbers, b.loose - a.numbers):
        yield "number"
    if _exclusive(a.units, b.units):
        yield "unit"
    if a.negated != b.negated and not (b if a.negated else a).half_negated:
        yield "negation"
    if a.members != b.members and _other_member(a, b):
        yield "kind"
    only_a, only_b = a.words - b.words, b.words - a.words
    if only_a and only_b and _contrary(only_a, only_b):
        yield "contrary"
    if a.names != b.names and _unknown(a.names - b.bag, b) and _unknown(b.names - a.bag, a):
        yield "name"
    if _swapped(a, b):
        yield "swap"
    if _replaced(a, b):
        yield "word"


def _exclusive(mine: frozenset[str], others: frozenset[str]) -> bool:
    """Each has one that the other lacks: where only one has more, the other may merely have left it out."""
    return not (mine <= others or others <= mine)


def _other_member(a: Profile, b: Profile) -> bool:
    others = {number for number, _ in b.members - a.members}
    return any(number in others for number, _ in a.members - b.members)


def _contrary(only_a: frozenset[str], only_b: frozenset[str]) -> bool:
    roots = {root for word in only_b if (root := _root(word))}
    if roots and any((root := _root(word)) and not roots.isdisjoint(lexicon.CONTRARIES[root]) for word in only_a):
        return True
    return _prefixed(only_a, only_b) or _prefixed(only_b, only_a)


@lru_cache(maxsize=65536)
def _root(word: str) -> str:
    """The form of a word that has a contrary, ``""`` where none has: ``tenants`` is ``tenant``."""
    if word in lexicon.CONTRARIES:
        return word
    for ending, instead in _ENDINGS:
        if word.endswith(ending):
            plain = word[: -len(ending)] + instead
            for form in (plain, plain[:-1] if plain[-2:-1] == plain[-1:] else plain):
                if form in lexicon.CONTRARIES:
                    return form
    return ""


def _prefixed(longer: frozenset[str], plain: frozenset[str]) -> bool:
    """``unsafe`` and ``safe``."""
    for word in longer:
        for prefix in lexicon.NEGATING_PREFIXES:
            if len(word) > len(prefix) + 2 and word.startswith(prefix) and word[len(prefix) :] in plain:
                return True
    return False


def _unknown(names: frozenset[str], other: Profile) -> bool:
    """Whether one of these is not in the other text, not even as initials or spelt a little differently."""
    for name in names:
        if len(name) < 5 and name in other.initials:
            continue
        if not any(name[:4] == word[:4] for word in other.bag if len(word) > 3):
            return True
    return False


_SYNONYMS = tuple(frozenset(map(stem, group)) for group in lexicon.SYNONYMS)


def _replaced(a: Profile, b: Profile) -> bool:
    """Whether the texts are equal but for one word of content, which is no synonym and no other form of the word in
    its place."""
    only_a, only_b = a.bag - b.bag, b.bag - a.bag
    if len(only_a) != 1 or len(only_b) != 1 or not (only_a <= a.content and only_b <= b.content):
        return False
    (one,), (other,) = only_a, only_b
    if one[:3] == other[:3] or one in other or other in one or one[0] in "0123456789" or other[0] in "0123456789":
        return False
    return not any(one in group and other in group for group in _SYNONYMS)


_MIRRORED = frozenset({"and", "or", "vs", "versus", "between", "with", "by", "&"})
"""Words around which two things may change places; ``by`` turns a verb round."""


def _swapped(a: Profile, b: Profile) -> bool:
    if a.bag == b.bag and a.length == b.length and a.words.isdisjoint(_MIRRORED) and _exchanged(a.order, b.order):
        return True
    for mine in a.links:
        for other in b.links:
            if mine.word == other.word and _crossed(mine, other):
                return True
    return _turned(a, b) or _turned(b, a)


def _exchanged(order: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether two words that are not neighbours have changed places: who bites whom."""
    if order == other or len(order) != len(other):
        return False
    places = [at for at, (mine, its) in enumerate(zip(order, other, strict=True)) if mine != its]
    return len(places) == 2 and places[1] - places[0] > 1


def _crossed(mine: Link, other: Link) -> bool:
    """What one has before the word, the other has after it, and the other way round."""
    near = 1 if mine.word == "to" else 2
    return any(word in other.after[:near] for word in mine.before[-near:]) and any(
        word in other.before[-near:] for word in mine.after[:near]
    )


def _turned(a: Profile, b: Profile) -> bool:
    """``from`` where the other has ``to``: the source of one is the target of the other."""
    sources = {link.after[0] for link in a.links if link.word == "from" and link.after}
    if not sources:
        return False
    targets = {link.after[0] for link in b.links if link.word in ("to", "into") and link.after}
    own = {link.after[0] for link in a.links if link.word in ("to", "into") and link.after}
    return bool((targets - own) & sources)
