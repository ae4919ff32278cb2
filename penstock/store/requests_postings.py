"""Where in a run of rows a value may be: short lists in place of one index for each column.

The rows of a file are numbered in order of arrival; ``RUN`` of them are a run. Once it is full, each column that is
searched gets lists of places in the run, newest first, by bucket of the value: two bytes a row and column, where an
index takes thirty and changes a page for each row. What a list has is looked at in the row itself. A bucket that has
almost the whole run has an empty list: look at each row.
"""

from __future__ import annotations

import operator
import sqlite3
import zlib
from collections.abc import Callable, Sequence
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
# What buckets are made of, in order.
_COLUMNS = {
    **COLUMN,
    "status": "status",
    "request_id": "tag",
    "trace": "trace",
    "cost": "cost_nano",
    "duration": "duration_us",
    "first": "first_us",
    "said": "content",
}
_FIELDS = {name: number for number, name in enumerate(_COLUMNS)}
_RUN_ROWS = (
    f"SELECT at, request_id, rowid, {', '.join(_COLUMNS.values())} FROM facts"  # noqa: S608 - our own names
    " WHERE rowid >= ? AND rowid < ?"
)
_place = operator.itemgetter(0, 1)


def tag(text: str) -> int:
    """A number for a text, the same everywhere."""
    return zlib.crc32(text.encode())


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
    # They are nearly in order, which SQLite would make nothing of.
    rows.sort(key=_place, reverse=True)
    times, _, numbers, *columns = zip(*rows, strict=True)
    newest_first = (np.array(numbers, np.int64) - begin).astype(np.uint16).tobytes()
    connection.execute("INSERT INTO runs VALUES (?, ?, ?, ?)", (run, times[-1], times[0], newest_first))
    unsaid = connection.execute("SELECT id FROM words WHERE word = 'none'").fetchone() or ("none",)
    lists: list[tuple[int, int, int, bytes]] = []
    for field, (name, values) in enumerate(zip(_FIELDS, columns, strict=True)):
        buckets = _buckets(name, values, unsaid[0])
        order = np.argsort(buckets, kind="stable")
        ordered = buckets[order]
        begins = [0, *(np.flatnonzero(ordered[1:] != ordered[:-1]) + 1).tolist()]
        listed = order.astype(np.uint16).tobytes()
        lists += [
            (run, field, int(ordered[at]), b"" if end - at > DENSE else listed[2 * at : 2 * end])
            for at, end in zip(begins, [*begins[1:], len(rows)], strict=True)
            if ordered[at] >= 0
        ]
    connection.executemany("INSERT INTO postings VALUES (?, ?, ?, ?)", lists)


def _buckets(name: str, values: Sequence[Any], unsaid: Word) -> NDArray[np.int16]:
    """Below 0 for what no list has. ``unsaid`` is the word of those of which nothing that was said is kept."""
    if name in COLUMN:
        return _mapped(values, lambda word: -1 if word == "" else _bucket(word))
    match name:
        case "said":
            return _mapped(values, lambda word: -1 if word in ("", unsaid) else 0)
        case "trace":
            return np.array([_trace_bucket(trace) if trace else -1 for trace in values], np.int16)
        case "cost" | "duration" | "first":
            return _sizes([value if value is not None and value > 0 else 0 for value in values])
        case _:
            return (np.array(values, np.int64) & (BUCKETS - 1)).astype(np.int16)


def _mapped(values: Sequence[Word], bucket: Callable[[Word], int]) -> NDArray[np.int16]:
    # There are few of them, again and again.
    found = {value: bucket(value) for value in set(values)}
    if len(found) == 1:
        return np.full(len(values), found[values[0]], np.int16)
    return np.fromiter(map(found.__getitem__, values), np.int16, len(values))


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
