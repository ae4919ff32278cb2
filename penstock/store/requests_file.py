"""The facts of one day in an SQLite file: written by one, read by anybody at the same time."""

from __future__ import annotations

import contextlib
import math
import os
import sqlite3
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from penstock.core.requests import Place, RequestQuery, RequestRecord
from penstock.store import requests_postings as postings
from penstock.store.requests_postings import Listed, tag
from penstock.store.requests_query import WORDS, Source, merged, newest_first, statuses, trace_bytes
from penstock.store.requests_rows import COLUMNS, Row, Rows, record_of, words_of
from penstock.store.requests_words import SCHEMA as WORDS_SCHEMA
from penstock.store.requests_words import ReadWords, Words
from penstock.store.words import storable

BUSY_S = 5.0
_SCHEMA = (
    WORDS_SCHEMA
    + postings.SCHEMA
    + f"""
CREATE TABLE IF NOT EXISTS facts ({", ".join(COLUMNS)}, tag INTEGER NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS facts_at ON facts (at, tag);
"""
)
_INSERT = (
    f"INSERT INTO facts ({', '.join(COLUMNS)}, tag) VALUES ({', '.join('?' * (len(COLUMNS) + 1))})"  # noqa: S608 - ours
    " ON CONFLICT DO NOTHING"
)
_SELECT = f"SELECT {', '.join(COLUMNS)} FROM facts"  # noqa: S608 - ours
_PLACES = "SELECT rowid, at, request_id FROM facts"
_ORDER = " ORDER BY at DESC, request_id DESC"
_UNINDEXED = " ORDER BY +at DESC, request_id DESC"
_FEW, _MANY = 64, 1024
# Who writes comes back to the newest pages only.
_CACHE_KIB = 512
_HIGHEST = (1 << 63) - 1


def opened(path: Path, schema: str) -> sqlite3.Connection:
    """For the one who writes; the file is made when it is not there, readable by its owner alone. What is deleted is
    overwritten. Where the machine dies, not the process, the last rows may be lost, as they may in the spool."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA secure_delete=ON")
    connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
    connection.executescript(f"BEGIN IMMEDIATE; {schema} COMMIT;")
    return connection


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """One snapshot of a file that is there. Raises ``sqlite3.OperationalError`` where it is not."""
    uri = f"{path.absolute().as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("BEGIN")
        yield connection
    finally:
        connection.close()


@contextlib.contextmanager
def writing(connection: sqlite3.Connection) -> Iterator[None]:
    """A transaction."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


class FactsWriter:
    """The only one who writes this file. Not for two threads at once. After an error it must be opened anew."""

    def __init__(self, path: Path) -> None:
        self._connection = opened(path, _SCHEMA)
        self._words = Words(self._connection, "words")
        self._subjects = Words(self._connection, "subjects")

    def append(self, records: Sequence[RequestRecord]) -> int:
        """Writes those that are not there yet; how many were new."""
        row_of = Rows(self._words.__getitem__, self._subjects.__getitem__).of
        with writing(self._connection):
            rows = [(*(row := row_of(record)), tag(row[1])) for record in records]
            new = self._connection.executemany(_INSERT, rows).rowcount
            self._words.flush()
            self._subjects.flush()
            postings.note_full_runs(self._connection)
        return new

    def erase(self, subject: str, project: str | None) -> Sequence[tuple[float, str]]:
        """Takes the subject's name off its requests: their places."""
        with writing(self._connection):
            reader = FactsReader(self._connection)
            numbered = list(reader.numbered(RequestQuery(subject=subject, project=project)))
            self._connection.executemany(
                "UPDATE facts SET subject = '' WHERE rowid = ?", [(number,) for number, _ in numbered]
            )
            found = reader.subjects.find(subject)
            if not self._connection.execute("SELECT 1 FROM facts WHERE subject = ? LIMIT 1", (found,)).fetchone():
                self._connection.execute("DELETE FROM subjects WHERE word = ?", (storable(subject),))
                self._subjects.pop(storable(subject), None)
        self.flush()
        return [place for _, place in numbered]

    def flush(self) -> None:
        """Brings everything from the log of changes into the file, and empties that."""
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        self._connection.close()


class FactsReader:
    """What is in the file, by a connection that holds one snapshot."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.words = ReadWords(connection, "words")
        self.subjects = ReadWords(connection, "subjects")

    def rows(self, query: RequestQuery, before: Place | None) -> Iterator[RequestRecord]:
        """What the query leaves, newest first."""
        listed = postings.listed(query, self.words, self.subjects)
        filters = Filters(query, before, self.words, self.subjects)
        if not listed:
            yield from self._read(_SELECT + filters.where() + _ORDER, filters.values)
            return
        until = filters.until
        full = postings.full_runs(self._connection)
        runs = self._connection.execute(
            "SELECT run, last_at FROM runs WHERE last_at >= ? AND first_at <= ?", (query.since, until)
        ).fetchall()
        sources = [Source(min(last, until), partial(self._run, run, listed, filters)) for run, last in runs]
        yield from merged([*sources, Source(until, partial(self._open_run, full * postings.RUN, filters))])

    def numbered(self, query: RequestQuery) -> Iterator[tuple[int, tuple[float, str]]]:
        """The rows' numbers and places, in no order."""
        filters = Filters(query, None, self.words, self.subjects)
        listed = postings.listed(query, self.words, self.subjects)
        full = postings.full_runs(self._connection)
        listed_rows = _PLACES + filters.where("rowid IN (SELECT value FROM json_each(?))")
        for run in range(full):
            places = postings.places(self._connection, run, listed)
            begin = run * postings.RUN
            wanted = range(begin, begin + postings.RUN) if places is None else places
            if wanted:
                for number, at, request_id in self._connection.execute(
                    listed_rows, (*filters.values, str(list(wanted)))
                ):
                    yield number, (at, request_id)
        open_rows = _PLACES + filters.where("rowid >= ?")
        for number, at, request_id in self._connection.execute(open_rows, (*filters.values, full * postings.RUN)):
            yield number, (at, request_id)

    def _run(self, run: int, wanted: Sequence[Listed], filters: Filters) -> Iterator[RequestRecord]:
        begin = run * postings.RUN
        numbers = postings.places(self._connection, run, wanted)
        if numbers is None:
            where = filters.where("rowid >= ? AND rowid < ?")
            yield from self._read(_SELECT + where + _ORDER, (*filters.values, begin, begin + postings.RUN))
            return
        where = filters.where("rowid IN (SELECT value FROM json_each(?))")
        at, size = 0, _FEW
        while at < len(numbers):
            chosen = str(numbers[at : at + size])
            rows = self._connection.execute(_SELECT + where, (*filters.values, chosen)).fetchall()
            yield from newest_first(self._records(rows))
            at, size = at + size, min(size * 2, _MANY)

    def _open_run(self, begin: int, filters: Filters) -> Iterator[RequestRecord]:
        # Without the plus SQLite would go through the whole day by its index of times.
        yield from self._read(_SELECT + filters.where("rowid >= ?") + _UNINDEXED, (*filters.values, begin))

    def _read(self, asked: str, values: Sequence[object]) -> Iterator[RequestRecord]:
        rows, size = self._connection.execute(asked, values), _FEW
        while found := rows.fetchmany(size):
            yield from self._records(found)
            size = min(size * 2, _MANY)

    def _records(self, rows: Sequence[Row]) -> Sequence[RequestRecord]:
        needed = [words_of(row) for row in rows]
        words = self.words.load(word for found, _ in needed for word in found)
        subjects = self.subjects.load(subject for _, subject in needed)
        return [record_of(row, words.__getitem__, subjects.__getitem__) for row in rows]


class Filters:
    """A query as conditions of SQL, all of them."""

    def __init__(self, query: RequestQuery, before: Place | None, words: ReadWords, subjects: ReadWords) -> None:
        self.until = min(math.inf if query.until is None else query.until, math.inf if before is None else before.at)
        self._parts = ["at >= ?"]
        self.values: list[object] = [query.since]
        if query.until is not None:
            self._add("at < ?", query.until)
        if before is not None:
            self._add("at <= ?", before.at)
            self._add("(at, request_id) < (?, ?)", before.at, storable(before.request_id))
        for name in WORDS:
            if (wanted := getattr(query, name)) is not None:
                reader = subjects if name == "subject" else words
                self._add(f"{postings.COLUMN[name]} = ?", reader.find(wanted))
        self._add_numbers(query)
        if query.request_id is not None:
            found = storable(query.request_id)
            self._add("tag = ? AND request_id = ?", tag(found), found)
        if query.purpose:
            self._add("purpose = ?", words.find(query.purpose))
        if query.stream is not None:
            self._add("stream = ?", query.stream)
        if query.trace is not None:
            self._add("trace = ? AND trace <> x''", trace_bytes(query.trace))
        if query.text is not None:
            self._add("content NOT IN ('', ?)", words.find("none"))

    def _add_numbers(self, query: RequestQuery) -> None:
        if query.status is not None:
            self._add("status BETWEEN ? AND ?", *(statuses(query.status) or (1, 0)))
        if query.min_cost_nano is not None:
            self._add("cost_nano >= ?", min(query.min_cost_nano, _HIGHEST))
        # As it is read: the quotient is that of Python.
        if query.min_s is not None:
            self._add("duration_us / 1e6 >= ?", query.min_s)
        if query.max_s is not None:
            self._add("duration_us / 1e6 <= ?", query.max_s)
        if query.min_first_s is not None:
            self._add("first_us / 1e6 >= ?", query.min_first_s)

    def _add(self, part: str, *values: object) -> None:
        self._parts.append(part)
        self.values += values

    def where(self, extra: str = "") -> str:
        """The words of SQL; the values of ``extra`` come after ``values``."""
        return " WHERE " + " AND ".join([*self._parts, extra] if extra else self._parts)
