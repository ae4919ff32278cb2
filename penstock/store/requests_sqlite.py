"""The days of the request log in SQLite: files of one UTC day each, facts and contents apart.

One process writes them. A day goes by unlinking its files, and who reads them meanwhile reads on.
"""

from __future__ import annotations

import contextlib
import datetime
import math
import os
import re
import sqlite3
import threading
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
import sqlalchemy as sql

from penstock.core.errors import STORE_UNAVAILABLE, PenstockError
from penstock.core.requests import Place, RequestContent, RequestQuery, RequestRecord
from penstock.store import requests_packs as said
from penstock.store.database import Database
from penstock.store.faults import Place as Where
from penstock.store.faults import explained
from penstock.store.requests_file import BUSY_S, FactsReader, FactsWriter, reading
from penstock.store.requests_live import Copying, Moved, Part, Parts, Places, by_day
from penstock.store.requests_packs import ContentsWriter
from penstock.store.requests_query import DAY_S, Source, day_of

Kind = Literal["facts", "contents"]
FACTS: Literal["facts"] = "facts"
CONTENTS: Literal["contents"] = "contents"
_NAME = re.compile(r"(\d{4}-\d\d-\d\d)(?:\.(\d+))?\.(facts|contents)\.db")
_OPEN = 3
"""Days that are open for writing at once; what comes late is of yesterday."""
_Row = TypeVar("_Row", RequestRecord, RequestContent)


class SqliteRequests:
    """``Live`` in a folder, for a store in SQLite. May be used from any thread; no other process may write there.
    ``gone`` tells which parts are in the archive."""

    def __init__(self, folder: Path, database: Database, gone: Callable[[], Collection[Part]]) -> None:
        self._folder = folder
        self._database = database
        self._gone = gone
        self._lock = threading.RLock()
        self._sealed: set[Part] = set()
        self._current: dict[int, Part] = {}
        self._facts: dict[Part, FactsWriter] = {}
        self._contents: dict[Part, ContentsWriter] = {}
        self._closed = False
        with _explained(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def append(self, records: Sequence[RequestRecord], contents: Sequence[RequestContent]) -> int:
        new = 0
        with self._alone():
            for day, said_then in sorted(_days(contents).items()):
                self._contents_of(self._part(day)).append(said_then)
            for day, rows in sorted(_days(records).items()):
                new += self._facts_of(self._part(day)).append(rows)
            self._close_all(keep=sorted(self._current.values())[-_OPEN:])
        return new

    def parts(self) -> Parts:
        return Parts(self._parts(FACTS), self._parts(CONTENTS))

    def sources(self, parts: Parts, query: RequestQuery, before: Place | None) -> Sequence[Source]:
        until = min(math.inf if query.until is None else query.until, math.inf if before is None else before.at)
        return [
            Source((part.day + 1) * DAY_S, partial(self._rows, part, query, before))
            for part in parts.facts
            if part.day * DAY_S <= until and (part.day + 1) * DAY_S > query.since
        ]

    def contents(self, parts: Parts, places: Places) -> Mapping[tuple[float, str], RequestContent]:
        found: dict[tuple[float, str], RequestContent] = {}
        days = by_day(places)
        for part in parts.contents:
            if part.day in days:
                with self._reading(part, CONTENTS) as connection:
                    found |= said.read(connection, days[part.day])
        return found

    def of_subject(self, parts: Parts, subject: str, project: str | None) -> tuple[Places, Places]:
        places: set[tuple[float, str]] = set()
        for part in parts.facts:
            with self._reading(part, FACTS) as connection:
                query = RequestQuery(subject=subject, project=project)
                places |= {place for _, place in FactsReader(connection).numbered(query)}
        spoken: set[tuple[float, str]] = set()
        days = by_day(places)
        for part in parts.contents:
            with self._reading(part, CONTENTS) as connection:
                spoken |= set(said.of_subject(connection, subject, project, days.get(part.day, ())))
        return places, spoken

    def erase(self, parts: Parts, subject: str, project: str | None) -> tuple[Places, Places]:
        with self._alone():
            facts, spoken = self.of_subject(parts, subject, project)
            days = by_day(spoken)
            for part in parts.contents:
                if part.day in days:
                    self._contents_of(part).erase(days[part.day])
            days = by_day(facts)
            for part in parts.facts:
                if part.day in days:
                    self._facts_of(part).erase(subject, project)
            self._close_all(keep=sorted(self._current.values())[-_OPEN:])
        return facts, spoken

    def ended(self, before: float, gone: Collection[Part]) -> Sequence[Part]:
        here = self.parts().without(gone)
        return sorted(part for part in {*here.facts, *here.contents} if (part.day + 1) * DAY_S <= before)

    @contextlib.contextmanager
    def copying(self, part: Part) -> Iterator[Copying]:
        with self._alone():
            # From here on what comes late is of the next part.
            self._sealed.add(part)
            self._current.pop(part.day, None)
            self._close_all(keep=[each for each in self._facts if each != part])
        with contextlib.ExitStack() as held:
            facts, contents = (
                held.enter_context(self._reading(part, kind)) if self._path(part, kind).exists() else None
                for kind in (FACTS, CONTENTS)
            )
            yield _Copying(facts, contents)

    def hand_over(self, part: Part, rows: int, said: int, note: Callable[[sql.Connection], bool]) -> bool:
        with self._alone():
            with self._database.begin() as connection:
                if not note(connection):
                    return False
            self._drop(part, FACTS, CONTENTS)
        return True

    def let_go(self, gone: Collection[Part]) -> None:
        with self._alone():
            for part in {*self._parts(FACTS), *self._parts(CONTENTS)} & set(gone):
                self._drop(part, FACTS, CONTENTS)

    def forget(self, before: float, contents_before: float) -> int:
        dropped = 0
        with self._alone():
            for kind, end in ((FACTS, before), (CONTENTS, max(before, contents_before))):
                for part in self._parts(kind):
                    if (part.day + 1) * DAY_S <= end:
                        self._drop(part, kind)
                        dropped += 1
        return dropped

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._close_all(keep=())

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """The only one who writes. After an error every file is opened anew: what a writer knows may not be there."""
        with self._lock, _explained(self._folder):
            if self._closed:
                raise PenstockError(STORE_UNAVAILABLE, f"The request log in {self._folder} is closed.")
            try:
                yield
            except (sqlite3.Error, OSError):
                self._close_all(keep=())
                raise

    @contextlib.contextmanager
    def _reading(self, part: Part, kind: Kind) -> Iterator[sqlite3.Connection]:
        path = self._path(part, kind)
        with _explained(path):
            try:
                with reading(path) as connection:
                    yield connection
            except sqlite3.OperationalError:
                if path.exists():
                    raise
                raise Moved from None

    def _rows(self, part: Part, query: RequestQuery, before: Place | None) -> Iterator[RequestRecord]:
        with self._reading(part, FACTS) as connection:
            yield from FactsReader(connection).rows(query, before)

    def _parts(self, kind: Kind) -> Sequence[Part]:
        """Those that are here, oldest first."""
        with _explained(self._folder):
            names = [_NAME.fullmatch(name) for name in os.listdir(self._folder)]
        return sorted(_part_of(name[1], name[2]) for name in names if name and name[3] == kind)

    def _part(self, day: int) -> Part:
        """Where new rows of a day go."""
        if day not in self._current:
            gone = [part.part for part in {*self._gone(), *self._sealed} if part.day == day]
            here = [part.part for kind in (FACTS, CONTENTS) for part in self._parts(kind) if part.day == day]
            self._current[day] = Part(day, max([*(number + 1 for number in gone), *here], default=0))
        return self._current[day]

    def _facts_of(self, part: Part) -> FactsWriter:
        if part not in self._facts:
            self._facts[part] = FactsWriter(self._path(part, FACTS))
        return self._facts[part]

    def _contents_of(self, part: Part) -> ContentsWriter:
        if part not in self._contents:
            self._contents[part] = ContentsWriter(self._path(part, CONTENTS))
        return self._contents[part]

    def _close_all(self, keep: Collection[Part]) -> None:
        writers: tuple[dict[Part, FactsWriter] | dict[Part, ContentsWriter], ...] = (self._facts, self._contents)
        for each in writers:
            for part in [part for part in each if part not in keep]:
                each.pop(part).close()
        for day in [day for day, part in self._current.items() if keep and part not in keep]:
            del self._current[day]

    def _drop(self, part: Part, *kinds: Kind) -> None:
        self._close_all(keep=[each for each in {*self._facts, *self._contents} if each != part])
        for kind in kinds:
            path = self._path(part, kind)
            for each in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
                each.unlink(missing_ok=True)

    def _path(self, part: Part, kind: Kind) -> Path:
        date = datetime.datetime.fromtimestamp(part.day * DAY_S, datetime.UTC).strftime("%Y-%m-%d")
        return self._folder / f"{date}{f'.{part.part}' if part.part else ''}.{kind}.db"


class _Copying:
    def __init__(self, facts: sqlite3.Connection | None, contents: sqlite3.Connection | None) -> None:
        self._facts = facts
        self._contents = contents

    def facts(self) -> Iterator[RequestRecord]:
        return iter(()) if self._facts is None else FactsReader(self._facts).rows(RequestQuery(), None)

    def contents(self) -> Iterator[RequestContent]:
        return iter(()) if self._contents is None else said.rows(self._contents)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError, msgspec.DecodeError, zlib.error) as error:
        raise explained(Where("sqlite", str(path), "", BUSY_S), error) from error


def _part_of(date: str, part: str | None) -> Part:
    begin = datetime.datetime.strptime(date, "%Y-%m-%d").replace(tzinfo=datetime.UTC)
    return Part(day_of(begin.timestamp()), int(part or 0))


def _days(rows: Sequence[_Row]) -> Mapping[int, Sequence[_Row]]:
    days: dict[int, list[_Row]] = {}
    for row in rows:
        days.setdefault(day_of(row.at), []).append(row)
    return days
