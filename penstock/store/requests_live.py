"""What an adapter of the request log does with the days that are not in the archive."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import sqlalchemy as sql

from penstock.core.requests import Place, RequestContent, RequestQuery, RequestRecord
from penstock.store.requests_query import Source, day_of

Places = Collection[tuple[float, str]]
"""Arrivals and ids of requests."""


@dataclass(frozen=True, order=True)
class Part:
    """Rows of one UTC day (counted from 1970-01-01) that go to the archive together. What comes after that is of the
    day's next part."""

    day: int
    part: int


class Moved(Exception):
    """A part that was about to be read went to the archive, or was dropped, meanwhile: look again."""


class Copying(Protocol):
    """The rows of a part, for its copy in the archive."""

    def facts(self) -> Iterator[RequestRecord]:
        """Newest first."""

    def contents(self) -> Iterator[RequestContent]:
        """Newest first."""


@dataclass(frozen=True)
class Parts:
    """What there is at one moment: parts that have facts here, and parts that have contents. Who asks for it before
    the catalogue of the archive, and then leaves out what that has, sees each part in one of the two."""

    facts: Sequence[Part]
    contents: Sequence[Part]

    def without(self, gone: Collection[Part]) -> Parts:
        """Those that are not among the given."""
        return Parts(
            tuple(part for part in self.facts if part not in gone),
            tuple(part for part in self.contents if part not in gone),
        )


class Live(Protocol):
    """Days that are not in the archive. What reads ``parts`` raises ``Moved`` when one is no longer here."""

    def append(self, records: Sequence[RequestRecord], contents: Sequence[RequestContent]) -> int:
        """Writes those that are not there yet; how many were new."""

    def parts(self) -> Parts:
        """All that is here, the oldest first."""

    def sources(self, parts: Parts, query: RequestQuery, before: Place | None) -> Sequence[Source]:
        """What is to be read of the facts for a query, none of it yet."""

    def contents(self, parts: Parts, places: Places) -> Mapping[tuple[float, str], RequestContent]:
        """Those that are there."""

    def of_subject(self, parts: Parts, subject: str, project: str | None) -> tuple[Places, Places]:
        """The subject's requests, and those of its contents."""

    def erase(self, parts: Parts, subject: str, project: str | None) -> tuple[Places, Places]:
        """Drops the subject's contents and takes its name off its requests: the places of these and of those."""

    def ended(self, before: float, gone: Collection[Part]) -> Sequence[Part]:
        """Parts of days that ended before then and are not in the archive as ``gone`` are, the oldest first."""

    def copying(self, part: Part) -> AbstractContextManager[Copying]:
        """One snapshot of a part, to which no row comes any more, or else ``hand_over`` refuses."""

    def hand_over(self, part: Part, rows: int, said: int, note: Callable[[sql.Connection], bool]) -> bool:
        """Has ``note`` write in the database of the store that the part is in the archive, so many rows and contents
        of it, and lets go of it. False, with nothing done: it is not the same part any more, or ``note`` says no."""

    def let_go(self, gone: Collection[Part]) -> None:
        """Ends what ``hand_over`` may have left to do when it was interrupted."""

    def forget(self, before: float, contents_before: float) -> int:
        """Drops days that ended before then, and contents of such; how many."""

    def close(self) -> None:
        """Lets go of everything. Idempotent."""


def by_day(places: Places) -> Mapping[int, Places]:
    """The same, by UTC day."""
    days: dict[int, list[tuple[float, str]]] = {}
    for at, request_id in places:
        days.setdefault(day_of(at), []).append((at, request_id))
    return days
