"""Whether the audit's chain is the one that was written. Pure, and one pass: it holds one row at a time, and 16 bytes
for each run of redacted rows until the row that redacted them has come by.

What it cannot see is a cut of rows that were never under a head; whoever signs often, and keeps the heads elsewhere,
leaves little of that.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from penstock.core.usage import AuditRow, Finding, Head
from penstock.store.audit_chain import (
    GENESIS,
    NOTHING,
    SALT_BYTES,
    Link,
    Written,
    content_digest,
    head_fault,
    redacted_by,
)

Fault = Literal["edited", "removed", "inserted", "reordered", "cut", "head", "content"]

MOST = 1000
"""Findings after which it looks no further."""
_NEAR = 64
"""How far from its place a row's first number is looked for, to tell moved rows from edited ones."""


def verify_chain(links: Iterable[Link], heads: Iterable[Head], keys: Mapping[str, Ed25519PublicKey]) -> list[Finding]:
    """Everything wrong with it, by number: at least one finding for every change to what is under a head.

    ``links`` and ``heads`` come by ascending number; heads of several sources may be mixed. ``keys`` are those whose
    heads are believed, by ``audit_chain.key_name``. At most ``MOST`` findings and a few.
    """
    walk = _Walk(iter(heads), keys)
    for link in links:
        walk.step(link)
        if len(walk.found) >= MOST:
            break
    else:
        walk.end()
    return [Finding(number, fault, about) for (number, fault), about in sorted(walk.found.items())]


class _Gap:
    """Rows that should have come: the place where that showed, and whether one of them came later."""

    def __init__(self, first: int, last: int, place: int) -> None:
        self.first = first
        self.last = last
        self.place = place
        self.came = False


class _Walk:
    def __init__(self, heads: Iterator[Head], keys: Mapping[str, Ed25519PublicKey]) -> None:
        self.found: dict[tuple[int, Fault], str] = {}
        self._heads = heads
        self._keys = keys
        self._head = self._next_head(None)
        self._place = 0  # the number of the last row, as it is kept
        self._next = 1  # the number that its follower was written with
        self._shift = 0
        self._last = self._before = GENESIS  # the digest of the last row, and of the one before it
        self._gaps: list[_Gap] = []
        self._redacted: dict[int, array[int]] = {}  # by redacting row: first, last, first, last ...

    def step(self, link: Link) -> None:
        row = link.row
        if row.number <= self._place:
            self._say(row.number, "reordered", f"row {row.number} comes after row {self._place}")
        number = self._written_as(row)
        if number is None:
            self._say(row.number, "edited", f"row {row.number} is not what was written: its digest does not fit")
            self._move(row, self._next + 1)
        elif row.previous == self._last and number == self._next:
            if number not in (row.number, row.number - self._shift):
                self._say(row.number, "edited", f"row {row.number} was written as row {number}")
            self._move(row, number + 1)
        else:
            self._stray(row, number)
        self._place = max(row.number, self._place)
        self._content(link)
        self._compare(row)

    def end(self) -> None:
        for gap in self._gaps:
            if not gap.came:
                rows = f"row {gap.first} is" if gap.first == gap.last else f"rows {gap.first} to {gap.last} are"
                self._say(gap.place, "removed", f"{rows} gone")
        for by, numbers in self._redacted.items():
            self._say(numbers[0], "content", f"the content is gone, and row {by}, which is to say why, is not there")
        furthest: Head | None = None
        while self._head is not None:
            furthest = self._head
            self._head = self._next_head(furthest)
        if furthest is not None:
            about = f"the chain ends with row {self._place}; when a head was signed it had {furthest.number}"
            self._say(self._place + 1, "cut", about)

    def _say(self, number: int, fault: Fault, about: str) -> None:
        self.found.setdefault((number, fault), about)

    def _move(self, row: AuditRow, follower: int) -> None:
        self._before, self._last = self._last, row.digest
        self._next, self._shift = follower, row.number + 1 - follower

    def _written_as(self, row: AuditRow) -> int | None:
        """The number that its digest was made with."""
        written = Written(row.previous, row.content_digest, row.id, row.act)
        if row.digest == written.at(self._next):
            return self._next
        missed = [gap.first for gap in self._gaps[-_NEAR:]]
        likely = (row.number, *missed, *range(max(1, row.number - _NEAR), row.number + _NEAR))
        return next((number for number in likely if row.digest == written.at(number)), None)

    def _stray(self, row: AuditRow, number: int) -> None:
        """A row in itself whole, that does not follow the last one."""
        gap = next((gap for gap in self._gaps if gap.first <= number <= gap.last), None)
        if gap is not None:
            gap.came = True
            self._say(row.number, "reordered", f"row {number} comes as row {row.number}")
        elif row.previous == self._before and number == self._next - 1:
            self.found.pop((self._place, "edited"), None)
            self._say(self._place, "inserted", f"row {self._place} was not there when the next one was written")
            self._last = self._before
            self._move(row, number + 1)
        elif number < self._next:
            self._say(row.number, "inserted", f"row {row.number} is a copy of row {number}")
            self._shift += 1
        elif number > self._next:
            self._gaps.append(_Gap(self._next, number - 1, row.number))
            self._move(row, number + 1)
        else:
            about = f"row {row.number} does not follow the row before it: one of the two was written anew"
            self._say(row.number, "edited", about)
            self._move(row, number + 1)

    def _content(self, link: Link) -> None:
        row = link.row
        number, by = row.number, row.redacted_by
        if link.salt is not None:
            if by is not None:
                self._say(number, "content", f"the content is there, though row {by} is said to have redacted it")
            elif len(link.salt) != SALT_BYTES or content_digest(link.salt, row.act.content) != row.content_digest:
                self._say(number, "content", "the content is not the one that was written")
        elif row.content_digest == NOTHING:
            if by is not None:
                self._say(number, "content", f"row {by} is said to have redacted a content that never was")
        elif by is None:
            self._say(number, "content", "the content is gone, and no row says why")
        elif by <= number:
            self._say(number, "content", f"the content is gone, and row {by}, which is to say why, came before it")
        else:
            numbers = self._redacted.setdefault(by, array("q"))
            if numbers and numbers[-1] == number - 1:
                numbers[-1] = number
            else:
                numbers.extend((number, number))
        numbers = self._redacted.pop(number, array("q"))
        named = redacted_by(row.act)
        for first, last in zip(numbers[::2], numbers[1::2], strict=True):
            if not any(begin <= first and last <= end for begin, end in named):
                self._say(first, "content", f"the content is gone, and row {number} does not say why")

    def _compare(self, row: AuditRow) -> None:
        """With the heads up to this row."""
        while self._head is not None and self._head.number <= row.number:
            head = self._head
            if head.number < row.number:
                self._say(head.number, "removed", f"row {head.number}, for which a head was signed, is gone")
            elif head.digest != row.digest:
                self._say(
                    row.number, "edited", f"the rows up to {row.number} are not those that a head was signed for"
                )
            self._head = self._next_head(head)

    def _next_head(self, last: Head | None) -> Head | None:
        """The next one that can be believed and is not the last one again."""
        for head in self._heads:
            if head == last:
                continue
            fault = head_fault(head, self._keys)
            if not fault:
                return head
            self._say(head.number, "head", fault)
        return None
