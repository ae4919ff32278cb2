"""What is kept of a text to compare it with others: taken once, in about 75 microseconds of a question."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from typing import Final

import msgspec

from penstock.caches.semantic import lexicon

_TOKEN: Final = re.compile(r"[0-9]+(?:[.,:][0-9]+)*|[^\W0-9_][^\W_]*(?:'[^\W0-9_]+)?(?:\+\+|#)?|[%$€£¥]|[.?!](?=\s)")
_DIGITS: Final = frozenset("0123456789")
_THOUSANDS: Final = re.compile(r",(?=\d{3}(?!\d))")
_TRAILING: Final = re.compile(r"[0-9]+$")
_SUFFIXES: Final = ("ingly", "edly", "ing", "ies", "ed", "es", "ly", "s")
_SYMBOLS: Final = {"$": "dollar", "€": "euro", "£": "pound_sterling", "¥": "yen"}
_AFTER_DIGITS: Final = frozenset({"st", "nd", "rd", "th", "s"})
_LINKS: Final = frozenset(
    ("than", "before", "after", "from", "to", "into", "over", "under", "above", "below", "behind", "without", "by")
)
_SCRIPTS: Final = (
    (0x0370, 0x03FF, "greek"),
    (0x0400, 0x052F, "cyrillic"),
    (0x0590, 0x05FF, "hebrew"),
    (0x0600, 0x06FF, "arabic"),
    (0x0900, 0x0DFF, "indic"),
    (0x0E00, 0x0E7F, "thai"),
    (0x3040, 0x30FF, "kana"),
    (0x3400, 0x9FFF, "han"),
    (0xAC00, 0xD7AF, "hangul"),
)
_ENDS: Final = frozenset(".?!")
_LONGEST: Final = 4000
_MOST_LINKS: Final = 32
"""Each is compared with each of another text; a question has a few."""


class Link(msgspec.Struct, frozen=True, gc=False):
    """A word that joins two things which cannot change places (``than``, ``before``, ``from``), with the stems of up
    to three words of content before it and of the two after it."""

    word: str
    before: tuple[str, ...]
    after: tuple[str, ...]


class Profile(msgspec.Struct, frozen=True):
    """One text. Stems and words are in lower case; ``content`` is without the words that carry no topic."""

    words: frozenset[str]
    bag: frozenset[str]
    """Stems."""
    content: frozenset[str]
    order: tuple[str, ...]
    """The stems of content, as they come."""
    names: frozenset[str]
    """Stems that are written as names; empty where case says nothing (all lower, or a title)."""
    initials: str
    """The first letter of each word, to know ``uk`` in ``united kingdom``."""
    numbers: frozenset[str]
    """Numbers in digits or words, as digits."""
    loose: frozenset[str]
    """Numbers that are often only a manner of speaking: ordinals, ``a couple``, ``half``."""
    units: frozenset[str]
    members: frozenset[tuple[int, str]]
    """Of each closed class that is touched, which members."""
    negated: bool
    half_negated: bool
    opening: str
    """The question word that opens it, ``""`` without one."""
    asks_for: str
    """Which kind of answer, where the question word says so."""
    questions: frozenset[str]
    trigrams: frozenset[str]
    bigrams: frozenset[tuple[str, str]]
    links: tuple[Link, ...]
    script: str
    language: str
    """``""`` where its words do not tell."""
    length: int
    """In words."""
    marks: int
    """Question marks."""
    first: str
    last: str


def profile(text: str) -> Profile:
    """Never fails. Of a text beyond 4,000 characters, its first 4,000."""
    text = text[:_LONGEST].replace("’", "'")
    raw, starts = _tokens(text)
    words = [word.lower() for word in raw]
    stems = [stem(word) for word in words]
    content = [each for word, each in zip(words, stems, strict=True) if word not in lexicon.STOP]
    numbers, loose, units = _numbers(words)
    joined = " ".join(words)
    asked = [lexicon.QUESTION[word] for word in words if word in lexicon.QUESTION]
    return Profile(
        words=frozenset(words),
        bag=frozenset(stems),
        content=frozenset(content),
        order=tuple(content),
        names=_names(raw, starts, stems),
        initials="".join([word[0] for word in words]),
        numbers=numbers,
        loose=loose,
        units=units,
        members=_members(raw, words),
        negated=_negated(words),
        half_negated=not lexicon.HALF_NEGATIONS.isdisjoint(words),
        opening=next((lexicon.QUESTION[word] for word in words[:3] if word in lexicon.QUESTION), ""),
        asks_for=_asks_for(words),
        questions=frozenset(asked),
        trigrams=frozenset([joined[at : at + 3] for at in range(len(joined) - 2)]),
        bigrams=frozenset(pairwise(stems)),
        links=_links(words, stems),
        script=_script(text),
        language=_language(words),
        length=len(words),
        marks=text.count("?"),
        first=stems[0] if stems else "",
        last=content[-1] if content else "",
    )


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """A word without its ending, roughly: what tells ``cats`` from ``cat`` is gone."""
    if len(word) > 3 and not word.endswith("ss"):
        for suffix in _SUFFIXES:
            if word.endswith(suffix) and len(word) - len(suffix) >= 3:
                found = word[: -len(suffix)] + ("y" if suffix == "ies" else "")
                doubled = suffix in ("ing", "ed") and found[-1] == found[-2] and found[-1] not in "lsz"
                return found[:-1] if doubled else found.removesuffix("e")
    return word.removesuffix("e") if len(word) > 4 else word


def _tokens(text: str) -> tuple[list[str], frozenset[int]]:
    """The words, and at which places a sentence begins."""
    words: list[str] = []
    starts = {0}
    for found in _TOKEN.findall(text):
        if found in _ENDS:
            starts.add(len(words))
        else:
            words.append(_SYMBOLS.get(found, found))
    return words, frozenset(starts)


def _names(raw: list[str], starts: frozenset[int], stems: list[str]) -> frozenset[str]:
    high = [at for at, word in enumerate(raw) if word[0].isupper()]
    telling = [at for at, word in enumerate(raw) if word[0].isalpha() and word.lower() not in lexicon.STOP]
    capital = [at for at in telling if raw[at][0].isupper()]
    if not high or (len(telling) > 3 and len(capital) > 0.7 * len(telling)):
        return frozenset()
    return frozenset([stems[at] for at in capital if at not in starts or (len(raw[at]) > 1 and raw[at].isupper())])


def _numbers(words: list[str]) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Numbers, loose numbers, units."""
    numbers: list[str] = []
    loose: list[str] = []
    units: list[str] = []
    at = 0
    while at < len(words):
        word = words[at]
        if (unit := lexicon.UNITS.get(word)) and word in lexicon.MEASURES:
            units.append(unit)
        value, after = _number(words, at)
        if value is not None:
            following = lexicon.UNITS.get(words[after]) if after < len(words) else None
            if following:
                units.append(following)
            sure = word[0] in _DIGITS or (word not in _LOOSE and (word != "one" or after > at + 1 or following))
            (numbers if sure else loose).append(f"{value:.12g}")
            at = after
            continue
        if word in lexicon.ORDINALS:
            loose.append(str(lexicon.ORDINALS[word]))
        elif word[0] in _DIGITS:
            numbers.append(word)
        elif (digits := _TRAILING.search(word)) is not None:
            numbers.append(digits.group())
        at += 1
    return frozenset(numbers), frozenset(loose), frozenset(units)


_LOOSE: Final = frozenset({"couple", "half", "quarter", "twice", "double", "triple", "zero"})


def _number(words: list[str], at: int) -> tuple[float | None, int]:
    """The number that begins here, and where it has ended."""
    value: float | None = None
    begun = at
    while at < len(words):
        word = words[at]
        if word[0] in _DIGITS and value is None:
            if ":" in word:
                return None, at
            value = _digits(word)
        elif word in lexicon.MULTIPLIERS and (value is not None or at == begun):
            # A float: of a million millions in a row an integer would be too large to be written.
            value = (1.0 if value is None else value) * lexicon.MULTIPLIERS[word]
        elif word == "k" and value is not None and words[at - 1][0] in _DIGITS:
            value *= 1000
        elif word in lexicon.NUMBERS and (value is None or value % 100 == 0 or (value % 10 == 0 and value < 100)):
            value = (value or 0.0) + lexicon.NUMBERS[word]
        elif value is not None and word in _AFTER_DIGITS and words[at - 1][0] in _DIGITS:
            return value, at + 1
        else:
            break
        at += 1
    return value, at


def _digits(word: str) -> float:
    """``1,000`` is a thousand, ``3.5`` and ``3,5`` three and a half."""
    plain = _THOUSANDS.sub("", word).replace(",", ".")
    whole, _, rest = plain.partition(".")
    return float(f"{whole}.{rest.replace('.', '') or 0}")


def _members(raw: list[str], words: list[str]) -> frozenset[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    for at, word in enumerate(words):
        found += lexicon.MEMBERS.get(word) or lexicon.MEMBERS.get(word.removesuffix("s"), ())
        if word in ("may", "march"):
            dated = any(near[0] in _DIGITS for near in (words[at - 1 : at] + words[at + 1 : at + 2]))
            if dated or (at and raw[at][0].isupper() and not raw[at].isupper()):
                found.append((lexicon.MEMBERS["june"][0][0], word))
    return frozenset(found)


def _negated(words: list[str]) -> bool:
    for at, word in enumerate(words):
        if word in lexicon.NEGATIONS or word.endswith("n't"):
            before = words[at - 1] if at else ""
            after = words[at + 1] if at + 1 < len(words) else ""
            if word == "not" and (before in ("or", "why") or after in ("only", "just")):
                continue
            if word == "no" and (after in ("one", "matter") or before in ("or", "yes")):
                continue
            return True
    return False


def _asks_for(words: list[str]) -> str:
    for at, word in enumerate(words):
        following = words[at + 1] if at + 1 < len(words) else ""
        if word == "how":
            if following == "come":
                return "why"
            if following == "much" and words[at + 2 : at + 3] == ["time"]:
                return "how long"
            return lexicon.HOW.get(following, "")
        if word in ("what", "which") and following in ("time", "year", "date"):
            return "when"
        if word in lexicon.QUESTION and len(lexicon.QUESTION[word]) > 2 and word not in ("can", "could", "should"):
            asked = lexicon.QUESTION[word]
            return asked if asked in lexicon.ASKS_FOR else ""
    return ""


def _links(words: list[str], stems: list[str]) -> tuple[Link, ...]:
    found = []
    for at, word in enumerate(words):
        if word in _LINKS:
            before = [stems[each] for each in range(max(0, at - 6), at) if words[each] not in lexicon.STOP]
            after = [
                stems[each] for each in range(at + 1, min(len(words), at + 5)) if words[each] not in lexicon.STOP
            ]
            found.append(Link(word, tuple(before[-3:]), tuple(after[:2])))
            if len(found) == _MOST_LINKS:
                break
    return tuple(found)


def _script(text: str) -> str:
    if text.isascii():
        return "latin"
    counts: dict[str, int] = {}
    for letter in text:
        code = ord(letter)
        if code >= 0x0370:
            for low, high, name in _SCRIPTS:
                if low <= code <= high:
                    counts[name] = counts.get(name, 0) + 1
                    break
    foreign = max(counts, key=counts.__getitem__) if counts else "latin"
    letters = sum(letter.isalpha() for letter in text)
    return foreign if counts and sum(counts.values()) > 0.4 * letters else "latin"


def _language(words: list[str]) -> str:
    counts = {name: sum([word in known for word in words]) for name, known in lexicon.LANGUAGES.items()}
    best = max(counts, key=counts.__getitem__)
    if best == "en":
        return best if counts[best] else ""
    sure = counts[best] > 1 or not all(map(str.isascii, words))
    return best if counts[best] and sure else ""
