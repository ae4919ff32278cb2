"""What is wrong with a deployment file, for the person who will mend it: every mistake, by line, in one go."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

import msgspec

from penstock.core.errors import BAD_DEPLOYMENT, PenstockError

Path = tuple[str | int, ...]
"""Where a value stands in the file: keys and list indices from the top."""


class Mistake(msgspec.Struct, frozen=True, order=True):
    """One thing to mend. ``line`` and ``column`` count from 1; 0 means the file as a whole.

    ``path`` is ``models.small.slots``, empty for the top. ``message`` is one line and holds no secret. ``source`` is
    the file it is in, where that is another than the one that was read.
    """

    line: int
    column: int
    path: str
    message: str
    source: str = ""

    def shown(self, source: str) -> str:
        """``source:line: path: message``, without the parts that are not known."""
        source = self.source or source
        where = f"{source}:{self.line}" if self.line else source
        return ": ".join(part for part in (where, self.path, self.message) if part)


class ConfigErrors(PenstockError):
    """A deployment file that cannot be served. ``mistakes`` in the order of their files and lines, at least
    one.

    ``message`` has one line for each.
    """

    __slots__ = ("mistakes", "source")

    def __init__(self, source: str, mistakes: Iterable[Mistake]) -> None:
        self.source = source
        self.mistakes = tuple(sorted(set(mistakes), key=lambda mistake: (mistake.source, mistake)))
        super().__init__(BAD_DEPLOYMENT, "\n".join(mistake.shown(source) for mistake in self.mistakes))


def dotted(path: Path) -> str:
    """``("models", "a", "answers", 0)`` as ``models.a.answers[0]``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{quotable(part)}" if text else quotable(part)
    return text


def quotable(text: str, limit: int = 80) -> str:
    """The text on one line, without control characters, cut to ``limit`` characters."""
    plain = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[: limit + 1])
    return plain if len(plain) <= limit else plain[: limit - 1] + "…"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that ``word`` was most likely meant to be, or None when nothing is near."""
    spelled = {known_word.casefold(): known_word for known_word in known}
    found = difflib.get_close_matches(word[:100].casefold(), spelled, n=1, cutoff=0.55)
    return spelled[found[0]] if found else None


def suggestion(word: str, known: Sequence[str]) -> str:
    """``did you mean "slots"?``, or what there is to choose from when nothing is near."""
    near = nearest(word, known)
    return f'did you mean "{near}"?' if near else listed(known)


def listed(known: Sequence[str], limit: int = 20) -> str:
    """``known: a, b, c``, cut to ``limit`` words."""
    if not known:
        return "there is none"
    more = f" and {len(known) - limit} more" if len(known) > limit else ""
    return "known: " + ", ".join(quotable(word) for word in known[:limit]) + more
