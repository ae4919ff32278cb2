"""The request log that forgets: the fake of the room."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import msgspec

from penstock.core.requests import Erased, Place, RequestContent, RequestQuery, RequestRecord
from penstock.store import TEXT_LOOKED_AT
from penstock.store.requests_query import (
    DAY_S,
    day_of,
    has_content,
    is_before,
    kept,
    key,
    matches,
    newest_first,
    says,
)
from penstock.store.words import storable

_Key = tuple[float, str]


class ForgetfulRequests:
    """``RequestStore`` that lives as long as the object. What it archives stays where it is."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._facts: dict[_Key, RequestRecord] = {}
        self._contents: dict[_Key, RequestContent] = {}
        self._archived: set[int] = set()

    def append_requests(self, records: Sequence[RequestRecord], contents: Sequence[RequestContent]) -> int:
        with self._lock:
            before = len(self._facts)
            for record in map(kept, records):
                self._facts.setdefault(key(record), record)
            for content in contents:
                self._contents.setdefault((content.at, storable(content.request_id)), content)
            return len(self._facts) - before

    def find(self, query: RequestQuery, before: Place | None, most: int) -> Sequence[RequestRecord]:
        with self._lock:
            found = newest_first(
                row for row in self._facts.values() if matches(query, row) and is_before(row, before)
            )
            if query.text is not None:
                said = [row for row in found if has_content(row) and key(row) in self._contents][:TEXT_LOOKED_AT]
                found = [row for row in said if says(self._contents[key(row)], query.text)]
            return found[:most]

    def request(self, request_id: str) -> Sequence[RequestRecord]:
        with self._lock:
            return newest_first(row for row in self._facts.values() if row.request_id == storable(request_id))

    def content(self, request_id: str, at: float) -> RequestContent | None:
        with self._lock:
            return self._contents.get((at, storable(request_id)))

    def archive(self, before: float) -> int:
        with self._lock:
            days = {day_of(at) for at, _ in self._facts if (day_of(at) + 1) * DAY_S <= before} - self._archived
            self._archived |= days
            return len(days)

    def forget_requests(self, before: float, contents_before: float) -> int:
        with self._lock:
            gone = [place for place in self._facts if (day_of(place[0]) + 1) * DAY_S <= before]
            said = [
                place for place in self._contents if (day_of(place[0]) + 1) * DAY_S <= max(before, contents_before)
            ]
            for place in gone:
                del self._facts[place]
            for place in said:
                del self._contents[place]
            return len(gone) + len(said)

    def about(self, subject: str, project: str | None) -> tuple[int, int, float | None, float | None]:
        with self._lock:
            facts, said = self._of(subject, project)
            times = [at for at, _ in facts]
            return len(facts), len(said), min(times, default=None), max(times, default=None)

    def erase(self, subject: str, project: str | None) -> Erased:
        with self._lock:
            facts, said = self._of(subject, project)
            for place in facts:
                self._facts[place] = msgspec.structs.replace(self._facts[place], subject="")
            for place in said:
                del self._contents[place]
            days = {day_of(at) for at, _ in (*facts, *said)} & self._archived
            return Erased(requests=len(facts), contents=len(said), archived_days=len(days))

    def _of(self, subject: str, project: str | None) -> tuple[set[_Key], set[_Key]]:
        if not subject:
            return set(), set()

        def named(row: RequestRecord | RequestContent) -> bool:
            return row.subject == storable(subject) and project in (None, row.project)

        facts = {place for place, row in self._facts.items() if named(row)}
        return facts, {place for place, row in self._contents.items() if place in facts or named(row)}
