"""Where in a run of rows a value may be: short lists in place of one index for each column.

The rows of a file are numbered in order of arrival; ``RUN`` of them are a run. Once it is full, each column that is
searched gets lists of places in the run, newest first, by bucket of the value: two bytes a row and column, where an
index takes thirty and changes a page for each row. What a list has is looked at in the row itself. A bucket that has
almost the whole run has an empty list: look at each row.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock.core.requests import RequestQuery
from penstock.store.requests_query import WORDS, statuses, trace_bytes
from penstock.store.requests_rows import Word
from penstock.store.requests_words import ReadWords

BITS = 14
RUN = 1 << BITS
BUCKETS = 1024
DENSE = RUN // 3
"""A bucket with more rows has an empty list."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    run INTEGER PRIMARY KEY, first_at REAL NOT NULL, last_at REAL NOT NULL, newest_first BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS postings (
    run INTEGER NOT NULL, field INTEGER NOT NULL, bucket INTEGER NOT NULL, places BLOB NOT NULL,
    PRIMARY KEY (run, field, bucket)) WITHOUT ROWID;
"""
COLUMN = {name: {"user": "user_id"}.get(name, name) for name in WORDS}
_BUCKETS = {
    **{
        name: f"iif(typeof({column}) = 'integer', {column} & 1023, iif({column} = '', -1, crc({column}) & 1023))"
        for name, column in COLUMN.items()
    },
    "status": "status & 1023",
    "request_id": "tag & 1023",
    # Buckets of traces and of measures are made of what is read here.
    "trace": "trace",
    "cost": "max(cost_nano, 0)",
    "duration": "max(duration_us, 0)",
    "first": "max(coalesce(first_us, 0), 0)",
    "said": "CASE content WHEN '' THEN -1 ELSE iif(content IN (SELECT id FROM words WHERE word = 'none'), -1, 0) END",
}
_FIELDS = {name: number for number, name in enumerate(_BUCKETS)}
_RUN_ROWS = (
    f"SELECT rowid, at, {', '.join(_BUCKETS.values())} FROM facts WHERE rowid >= ? AND rowid < ?"  # noqa: S608 - ours
    " ORDER BY at DESC, request_id DESC"
)


def tag(text: str) -> int:
    """A number for a text, the same everywhere."""
    return zlib.crc32(text.encode())


def prepare(connection: sqlite3.Connection) -> None:
    """Gives SQLite the function that lists are made with."""
    connection.create_function("crc", 1, tag, deterministic=True)


def note_full_runs(connection: sqlite3.Connection) -> None:
    """Makes the lists of every run that is full and has none, in the transaction that is open."""
    last = connection.execute("SELECT max(rowid) FROM facts").fetchone()[0] or 0
    for run in range(full_runs(connection), (last + 1) >> BITS):
        _note(connection, run)


def full_runs(connection: sqlite3.Connection) -> int:
    """How many runs have lists; the rows of ``full_runs() * RUN`` and above have none."""
    return int(connection.execute("SELECT coalesce(max(run) + 1, 0) FROM runs").fetchone()[0])


def _note(connection: sqlite3.Connection, run: int) -> None:
    begin = run << BITS
    rows = connection.execute(_RUN_ROWS, (begin, begin + RUN)).fetchall()
    numbers, times, *columns = zip(*rows, strict=True)
    newest_first = (np.array(numbers, np.int64) - begin).astype(np.uint16).tobytes()
    connection.execute("INSERT INTO runs VALUES (?, ?, ?, ?)", (run, times[-1], times[0], newest_first))
    lists = []
    for field, (name, values) in enumerate(zip(_FIELDS, columns, strict=True)):
        buckets = _buckets(name, values)
        order = np.argsort(buckets, kind="stable")
        found, begins = np.unique(buckets[order], return_index=True)
        listed = order.astype(np.uint16).tobytes()
        ends = [*begins[1:].tolist(), len(rows)]
        lists += [
            (run, field, bucket, b"" if end - at > DENSE else listed[2 * at : 2 * end])
            for bucket, at, end in zip(found.tolist(), begins.tolist(), ends, strict=True)
            if bucket >= 0
        ]
    connection.executemany("INSERT INTO postings VALUES (?, ?, ?, ?)", lists)


def _buckets(name: str, values: Sequence[Any]) -> NDArray[np.int16]:
    if name == "trace":
        return np.array([_trace_bucket(trace) if trace else -1 for trace in values], np.int16)
    if name in ("cost", "duration", "first"):
        return _sizes(values)
    return np.array(values, np.int16)


def _trace_bucket(trace: bytes) -> int:
    # Some who make ids begin them with the time.
    return int.from_bytes(trace[-2:], "big") & (BUCKETS - 1)


def _sizes(values: Sequence[int]) -> NDArray[np.int16]:
    """A number for how large each is: it grows four times while the value doubles. Below 0 for 0."""
    mantissa, exponent = np.frexp(np.array(values, np.float64))
    return (exponent * 4 + np.floor((mantissa - 0.5) * 8)).astype(np.int16)


@dataclass(frozen=True)
class Listed:
    """Something that a query asks for and lists are kept of: the buckets ``low`` to ``high``."""

    field: int
    low: int
    high: int


def listed(query: RequestQuery, words: ReadWords, subjects: ReadWords) -> Sequence[Listed]:
    """What lists can tell of a query."""
    found = [
        _one(name, _bucket((subjects if name == "subject" else words).find(wanted)))
        for name in WORDS
        if (wanted := getattr(query, name))
    ]
    if query.request_id is not None:
        found.append(_one("request_id", tag(query.request_id) & (BUCKETS - 1)))
    if query.trace and (trace := trace_bytes(query.trace)):
        found.append(_one("trace", _trace_bucket(trace)))
    if query.status is not None and (between := statuses(query.status)):
        found.append(Listed(_FIELDS["status"], *between))
    if query.min_cost_nano is not None and query.min_cost_nano > 0:
        found.append(_from("cost", query.min_cost_nano))
    for name, least in (("duration", query.min_s), ("first", query.min_first_s)):
        if least is not None and 0 < least < 9e12:
            # A microsecond less, as what is looked for was rounded.
            found.append(_from(name, max(int(least * 1e6) - 1, 1)))
    if query.text is not None:
        found.append(_one("said", 0))
    return found


def places(connection: sqlite3.Connection, run: int, wanted: Sequence[Listed]) -> Sequence[int] | None:
    """The numbers of rows that may be what is wanted, newest first; None: look at all of the run."""
    lists = []
    for each in wanted:
        rows = connection.execute(
            "SELECT places FROM postings WHERE run = ? AND field = ? AND bucket BETWEEN ? AND ?",
            (run, each.field, each.low, each.high),
        ).fetchall()
        if all(found for (found,) in rows):
            lists.append(np.frombuffer(b"".join(found for (found,) in rows), np.uint16))
    if not lists:
        return None
    lists.sort(key=len)
    common = np.sort(lists[0])
    for other in lists[1:]:
        if not len(common):
            return ()
        common = common[np.isin(common, other)]
    if not len(common):
        return ()
    order = connection.execute("SELECT newest_first FROM runs WHERE run = ?", (run,)).fetchone()[0]
    found: list[int] = ((run << BITS) + np.frombuffer(order, np.uint16)[common].astype(np.int64)).tolist()
    return found


def _one(name: str, bucket: int) -> Listed:
    return Listed(_FIELDS[name], bucket, bucket)


def _from(name: str, least: int) -> Listed:
    return Listed(_FIELDS[name], int(_sizes([least])[0]), BUCKETS)


def _bucket(word: Word) -> int:
    return (word if isinstance(word, int) else tag(word)) & (BUCKETS - 1)
