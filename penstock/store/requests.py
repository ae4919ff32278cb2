"""The request log: days in SQLite or PostgreSQL, and old ones as Parquet in a folder or in S3, searched as one."""

from __future__ import annotations

import importlib
import logging
import shutil
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sql

from penstock.core.errors import BAD_DEPLOYMENT, STORE_CONFLICT, STORE_UNAVAILABLE, PenstockError
from penstock.core.requests import Erased, Place, RequestContent, RequestQuery, RequestRecord
from penstock.store import TEXT_LOOKED_AT
from penstock.store.archive import Archive, Folder, Objects
from penstock.store.database import Database
from penstock.store.requests_catalogue import Archived, Catalogue
from penstock.store.requests_live import Live, Moved, Part, Parts, Places, by_day
from penstock.store.requests_postgresql import PostgresRequests
from penstock.store.requests_query import DAY_S, Source, day_of, key, merged, says
from penstock.store.requests_sqlite import SqliteRequests
from penstock.store.words import storable

_PARQUET = "penstock.store.archive_parquet"
_S3 = "penstock.store.archive_s3"
_TRIES = 4
_TOGETHER = 256
"""Contents that are looked at together."""
_SAME_ID = 1000
_SCRATCH = "archiving-"
_Row = TypeVar("_Row")
_log = logging.getLogger(__name__)


class RequestLog:
    """``RequestStore`` of ``live`` days and an archive; None: its packages are not installed, and days stay where
    they are. ``scratch`` is a folder for files on their way to the archive. May be used from any thread."""

    def __init__(self, live: Live, catalogue: Catalogue, archive: Archive | None, scratch: Path) -> None:
        self._live = live
        self._catalogue = catalogue
        self._archive = archive
        self._scratch = scratch
        # Whoever erases a person must not be overtaken by a copy of a day in which it still is.
        self._alone = threading.RLock()
        self._said_so = False

    def append_requests(self, records: Sequence[RequestRecord], contents: Sequence[RequestContent]) -> int:
        return self._live.append(records, contents)

    def find(self, query: RequestQuery, before: Place | None, most: int) -> Sequence[RequestRecord]:
        return _steady(lambda: list(islice(self._found(query, before), most)))

    def request(self, request_id: str) -> Sequence[RequestRecord]:
        query = RequestQuery(request_id=request_id)
        here = _steady(lambda: list(islice(self._rows(query, None, archived_too=False), _SAME_ID)))
        # An archive that is far away is not asked for what happened just now.
        return here or self.find(query, None, _SAME_ID)

    def content(self, request_id: str, at: float) -> RequestContent | None:
        place = (at, storable(request_id))
        return _steady(lambda: self._contents([place]).get(place))

    def archive(self, before: float) -> int:
        if self._archive is None:
            if not self._said_so:
                self._said_so = True
                _log.warning(
                    "days of the request log are not archived and stay where they are: this needs pyarrow, and "
                    "obstore for S3; pip install 'penstock[parquet,s3]'"
                )
            return 0
        archived = 0
        with self._alone:
            gone = self._catalogue.gone()
            self._live.let_go(gone)
            self._sweep()
            for part in self._live.ended(before, gone):
                archived += self._archive_part(part, self._archive)
        return archived

    def forget_requests(self, before: float, contents_before: float) -> int:
        with self._alone:
            dropped = self._live.forget(before, contents_before)
            dropped += self._catalogue.forget(_last_ended(before), _last_ended(max(before, contents_before)))
            self._sweep()
        return dropped

    def about(self, subject: str, project: str | None) -> tuple[int, int, float | None, float | None]:
        if not subject:
            return 0, 0, None, None
        facts, said = _steady(lambda: self._of_subject(subject, project))
        times = [at for at, _ in facts]
        return len(facts), len(said), min(times, default=None), max(times, default=None)

    def erase(self, subject: str, project: str | None) -> Erased:
        if not subject:
            return Erased()
        with self._alone:
            self._catalogue.note_erasure()
            found, said = map(set, _steady(lambda: self._live.erase(self._here()[0], subject, project)))
            days = set()
            for each in self._catalogue.archived():
                facts, contents = self._rewritten(each, subject, project)
                found.update(facts)
                said.update(contents)
                if facts or contents:
                    days.add(each.part.day)
            self._sweep()
        return Erased(requests=len(found), contents=len(said), archived_days=len(days))

    def close(self) -> None:
        """Lets go of files. Idempotent."""
        self._live.close()

    def _here(self) -> tuple[Parts, Sequence[Archived]]:
        """What is live and what is in the archive; asked for in this order no part is in neither."""
        parts = self._live.parts()
        archived = self._catalogue.archived()
        return parts.without({each.part for each in archived}), archived

    def _found(self, query: RequestQuery, before: Place | None) -> Iterator[RequestRecord]:
        rows = self._rows(query, before, archived_too=True)
        if query.text is None:
            yield from rows
            return
        rows = islice(rows, TEXT_LOOKED_AT)
        while chosen := list(islice(rows, _TOGETHER)):
            contents = self._contents([key(row) for row in chosen])
            for row in chosen:
                content = contents.get(key(row))
                if content is not None and says(content, query.text):
                    yield row

    def _rows(self, query: RequestQuery, before: Place | None, *, archived_too: bool) -> Iterator[RequestRecord]:
        parts, archived = self._here()
        sources = [*self._live.sources(parts, query, before)]
        for each in archived if archived_too else ():
            begin, end = each.part.day * DAY_S, (each.part.day + 1) * DAY_S
            if each.facts and end > query.since and (query.until is None or begin < query.until):
                sources.append(Source(min(end, each.last_at), partial(self._archived_rows, each, query, before)))
        return merged(sources)

    def _archived_rows(self, each: Archived, query: RequestQuery, before: Place | None) -> Iterator[RequestRecord]:
        yield from self._there().rows(each.facts, query, before)

    def _contents(self, places: Places) -> Mapping[tuple[float, str], RequestContent]:
        parts, archived = self._here()
        found = dict(self._live.contents(parts, places))
        missing = by_day([place for place in places if place not in found])
        for each in archived:
            if each.contents and each.part.day in missing:
                found |= self._there().contents(each.contents, missing[each.part.day])
        return found

    def _of_subject(self, subject: str, project: str | None) -> tuple[Places, Places]:
        parts, archived = self._here()
        facts, said = map(set, self._live.of_subject(parts, subject, project))
        for each in archived:
            found, spoken = self._archived_of_subject(each, subject, project)
            facts.update(found)
            said.update(spoken)
        return facts, said

    def _archived_of_subject(self, each: Archived, subject: str, project: str | None) -> tuple[Places, Places]:
        facts = self._there().of_subject(each.facts, subject, project) if each.facts else ()
        if not each.contents:
            return facts, ()
        said = self._there().of_subject(each.contents, subject, project)
        return facts, {*said, *self._there().said(each.contents, facts)}

    def _there(self) -> Archive:
        if self._archive is None:
            raise PenstockError(
                STORE_UNAVAILABLE,
                "These days of the request log are in the archive, which needs packages that are not installed. "
                "Install them: pip install 'penstock[parquet,s3]'. Or ask for later days.",
            )
        return self._archive

    def _archive_part(self, part: Part, archive: Archive) -> bool:
        for _ in range(_TRIES):
            names = self._catalogue.claim(part, anew=False)
            if names is None:
                return False
            erasures = self._catalogue.erasures()
            with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=self._scratch) as folder:
                try:
                    found = self._copied(part, names, archive, Path(folder))
                except Moved:
                    return False
            if self._live.hand_over(part, found.rows, found.said, partial(self._noted, found, names, erasures)):
                self._sweep()
                return True
        return False

    def _copied(self, part: Part, names: Sequence[str], archive: Archive, folder: Path) -> Archived:
        paths = folder / "facts", folder / "contents"
        alive = partial(self._alive, part)
        with self._live.copying(part) as copying:
            rows, last_at = archive.write_facts(paths[0], copying.facts(), alive)
            said = archive.write_contents(paths[1], copying.contents(), alive)
        for name, path, count in zip(names, paths, (rows, said), strict=True):
            if count:
                archive.put(name, path)
                alive()
        return Archived(part, names[0] if rows else "", names[1] if said else "", rows, said, last_at)

    def _noted(self, found: Archived, names: Collection[str], erasures: int, connection: sql.Connection) -> bool:
        return self._catalogue.erasures(connection) == erasures and self._catalogue.note(connection, found, names)

    def _alive(self, part: Part) -> None:
        if not self._catalogue.keep_claim(part):
            raise PenstockError(STORE_CONFLICT, "Another gateway has taken over the archiving of this day.")

    def _rewritten(self, each: Archived, subject: str, project: str | None) -> tuple[Places, Places]:
        facts, said = self._archived_of_subject(each, subject, project)
        if not facts and not said:
            return (), ()
        archive = self._there()
        names = self._catalogue.claim(each.part, anew=True)
        if names is None:
            raise PenstockError(
                STORE_CONFLICT, "Another gateway is writing the same day of the archive. Try again in some minutes."
            )
        after = each
        with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=self._scratch) as folder:
            path = Path(folder, "rewritten")
            if facts:
                archive.write_without_subject(each.facts, path, subject, project)
                archive.put(names[0], path)
                after = replace(after, facts=names[0])
            self._alive(each.part)
            if said:
                left = archive.write_without_contents(each.contents, path, said)
                if left:
                    archive.put(names[1], path)
                after = replace(after, contents=names[1] if left else "", said=left)
        if not self._catalogue.rewrite(after, names):
            raise PenstockError(STORE_CONFLICT, "Another gateway changed the same day of the archive. Try again.")
        return facts, said

    def _sweep(self) -> None:
        """Deletes objects that are given up."""
        for part, names in self._catalogue.deleting():
            for name in names:
                self._there().delete(name)
            self._catalogue.deleted(part, names)


def open_requests(
    database: Database,
    folder: Path,
    archive: str,
    *,
    gateway: str,
    wall: Callable[[], float],
) -> RequestLog:
    """The request log of a store whose migrations have run. In SQLite its days are files in ``folder``, in PostgreSQL
    tables of the same database; ``folder`` is also for files on their way to ``archive``, a folder or
    ``s3://BUCKET/PREFIX``. ``gateway`` is this gateway's name among those that share the store; ``wall`` tells
    seconds since the epoch. Nothing is asked of the archive yet. ``folder`` is of this gateway alone.

    Raises ``PenstockError`` where the folder cannot be used.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in folder.glob(f"{_SCRATCH}*"):
            shutil.rmtree(left, ignore_errors=True)
    except OSError as error:
        raise PenstockError(
            STORE_UNAVAILABLE, f"{folder} cannot be made ({error.strerror}). Give this user the right to."
        ) from error
    catalogue = Catalogue(database, gateway, wall)
    live: Live
    if database.kind == "sqlite":
        live = SqliteRequests(folder, database, catalogue.gone)
    else:
        live = PostgresRequests(database)
    return RequestLog(live, catalogue, _opened(archive), folder)


def _opened(place: str) -> Archive | None:
    try:
        parquet = importlib.import_module(_PARQUET)
        objects: Objects = importlib.import_module(_S3).S3Objects(place) if _is_s3(place) else Folder(Path(place))
    except ModuleNotFoundError as error:
        if str(error.name).startswith("penstock"):
            raise
        return None
    found: Archive = parquet.ParquetArchive(objects)
    return found


def _is_s3(place: str) -> bool:
    if "://" in place and not place.startswith("s3://"):
        raise PenstockError(
            BAD_DEPLOYMENT, f"`observe: requests: archive:` is {place!r}; it must be a folder or s3://BUCKET/PREFIX"
        )
    return place.startswith("s3://")


def _steady(read: Callable[[], _Row]) -> _Row:
    """What is read, from the beginning where a part was on its way from live days to the archive."""
    for _ in range(_TRIES):
        try:
            return read()
        except Moved:
            continue
    raise PenstockError(STORE_UNAVAILABLE, "Days of the request log are on their way to the archive. Try again.")


def _last_ended(before: float) -> int:
    """The last day that ended before then."""
    return day_of(before) - 1
