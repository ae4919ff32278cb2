"""The ledger in SQL."""

from __future__ import annotations

import datetime
import operator
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sql

from penstock.core.accounts import SubjectKind
from penstock.core.usage import Entry, GroupBy, UsageQuery, UsageSum
from penstock.store.database import Database
from penstock.store.ledger_rows import COLUMNS, entry_of, rows_of, tokens_of
from penstock.store.ledger_table import LEDGER, RUN, RUNS, TOKENS
from penstock.store.words import storable

FORGET = 10_000
"""Rows dropped in one transaction, so that others get their turn."""
PATIENCE_S = 300.0
"""How long adding up may take: a month of a busy gateway is many rows, and budgets wait for it."""

_HOUR = 3600
_DAY = 86400
_GROUPS: Mapping[GroupBy, sql.Column[str]] = {
    "project": LEDGER.c.project,
    "team": LEDGER.c.team,
    "user": LEDGER.c.user_id,
    "key": LEDGER.c.key_id,
    "service": LEDGER.c.service,
    "model": LEDGER.c.model,
    "release": LEDGER.c.release,
}
_SUBJECTS: Mapping[SubjectKind, sql.Column[str]] = {
    "key": LEDGER.c.key_id,
    "user": LEDGER.c.user_id,
    "team": LEDGER.c.team,
    "project": LEDGER.c.project,
    "service": LEDGER.c.service,
}
# One text in place of 28 parameters a row: ten times as fast as psycopg fills those in.
_INSERT_JSON = sql.text(
    "INSERT INTO ledger SELECT * FROM json_populate_recordset(NULL::ledger, CAST(:rows AS json))"
    " ON CONFLICT DO NOTHING"
)
# As the driver takes it: SQLAlchemy would look at each value of each row.
_INSERT = (
    f"INSERT INTO ledger ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608 - our own names
    " ON CONFLICT DO NOTHING"
)
_LAST_RUN = "SELECT run, size FROM ledger_runs ORDER BY run DESC LIMIT 1"
_NOTE_RUN = (
    "INSERT INTO ledger_runs (run, size, first_at, last_at) VALUES (?, ?, ?, ?) ON CONFLICT (run) DO UPDATE SET"
    " size = size + excluded.size, first_at = min(first_at, excluded.first_at),"
    " last_at = max(last_at, excluded.last_at)"
)
_PLACE = (LEDGER.c.received_at, LEDGER.c.request_id, LEDGER.c.attempt)


# Clients choose the ids of requests, and may choose the same twice.
_REQUEST = sql.cast(LEDGER.c.received_at, sql.Text).concat(LEDGER.c.request_id)
_MADE = LEDGER.c.cache == ""


class SqlLedger:
    """``LedgerStore`` in a database whose migrations have run. Rows of several projects may share a request id, where
    clients chose the same: whoever asks for one looks at the project."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, entries: Sequence[Entry]) -> int:
        if not entries:
            return 0
        with self._database.begin(PATIENCE_S) as connection:
            if self._database.kind == "sqlite":
                return _append_run(connection, entries)
            # In one order everywhere: two that write some of the same rows then wait for one another only one way.
            ordered = sorted(entries, key=operator.attrgetter("received_at", "request_id", "attempt"))
            rows = [dict(zip(COLUMNS, row, strict=True)) for row in rows_of(ordered, 0)]
            return connection.execute(_INSERT_JSON, {"rows": msgspec.json.encode(rows).decode()}).rowcount

    def request(self, request_id: str, near: float | None = None) -> Sequence[Entry]:
        query = sql.select(LEDGER).where(LEDGER.c.request_id == storable(request_id), self._runs(0.0, None))
        if near is not None:
            query = query.where(LEDGER.c.received_at.between(near - 1.0, near + 1.0))
        with self._database.read() as connection:
            return [
                entry_of(row) for row in connection.execute(query.order_by(LEDGER.c.attempt, LEDGER.c.received_at))
            ]

    def sums(self, query: UsageQuery, by: Sequence[GroupBy]) -> Sequence[UsageSum]:
        groups = [self._group(each).label(f"group_{at}") for at, each in enumerate(by)]
        counted = (
            sql.func.count(_REQUEST.distinct()),
            sql.func.count(sql.case((_MADE, 1))),
            sql.func.count(sql.case((sql.and_(_MADE, LEDGER.c.estimated), 1))),
            sql.func.count(sql.case((~_MADE, _REQUEST)).distinct()),
        )
        money = [_sum(LEDGER.c.cost_nano), _sum(LEDGER.c.saved_nano)]
        made = [_sum(sql.case((_MADE, LEDGER.c[name]))) for name in TOKENS]
        cached = [_sum(sql.case((~_MADE, LEDGER.c[name]))) for name in TOKENS]
        asked = sql.select(*groups, *counted, *money, *made, *cached).where(*self._wanted(query))
        with self._database.read(PATIENCE_S) as connection:
            rows = connection.execute(asked.group_by(*(each.name for each in groups))).all()
        sums = []
        for row in rows:
            numbers = [int(value) for value in tuple(row)[len(by) :]]
            sums.append(
                UsageSum(
                    group=tuple(_named(each, value) for each, value in zip(by, row, strict=False)),
                    requests=numbers[0],
                    rows=numbers[1],
                    estimated_rows=numbers[2],
                    cached_requests=numbers[3],
                    cost_nano=numbers[4],
                    saved_nano=numbers[5],
                    tokens=tokens_of(numbers[6 : 6 + len(TOKENS)]),
                    cached_tokens=tokens_of(numbers[6 + len(TOKENS) :]),
                )
            )
        return sorted(sums, key=lambda each: each.group)

    def entries(self, query: UsageQuery, after: tuple[float, str, int] | None, most: int) -> Sequence[Entry]:
        if after is not None:
            query = msgspec.structs.replace(query, since=max(query.since, after[0]))
        found: list[Entry] = []
        with self._database.read(PATIENCE_S) as connection:
            for part in self._parts(connection, query):
                asked = sql.select(LEDGER).where(*self._wanted(part))
                if after is not None:
                    asked = asked.where(sql.tuple_(*_PLACE) > sql.tuple_(*after))
                page = connection.execute(asked.order_by(*_PLACE).limit(most - len(found)))
                found += map(entry_of, page)
                if len(found) == most:
                    break
        return found

    def spent(self, kind: SubjectKind, service: str, since: float) -> Mapping[str, int]:
        subject = _subject(kind).label("subject")
        asked = sql.select(subject, sql.func.sum(LEDGER.c.cost_nano)).where(*_of(kind, service, since))
        with self._database.read(PATIENCE_S) as connection:
            return {
                name: int(cost) for name, cost in connection.execute(asked.group_by("subject")) if cost is not None
            }

    def counted(
        self, kind: SubjectKind, service: str, since: float, step_s: float
    ) -> Iterator[tuple[str, float, int, int, int]]:
        subject = _subject(kind).label("subject")
        step = self._floor((LEDGER.c.received_at - since) / step_s).label("step")
        asked = sql.select(
            subject,
            step,
            sql.func.count(_REQUEST.distinct()),
            _sum(sql.case((_MADE, LEDGER.c.input_tokens))),
            _sum(sql.case((_MADE, LEDGER.c.output_tokens))),
        )
        asked = asked.where(*_of(kind, service, since)).group_by("subject", "step").order_by("step", "subject")
        with self._database.read(PATIENCE_S) as connection:
            for name, at, requests, taken, given in connection.execution_options(yield_per=1000).execute(asked):
                if name is not None and at is not None:
                    yield name, since + at * step_s, int(requests), int(taken), int(given)

    def forget(self, before: float) -> int:
        dropped = 0
        received = LEDGER.c.received_at
        old = sql.select(received).where(received < before).order_by(received)
        while True:
            with self._database.begin(PATIENCE_S) as connection:
                last = connection.scalar(old.offset(FORGET - 1).limit(1))
                some = received < before if last is None else received <= last
                dropped += connection.execute(sql.delete(LEDGER).where(some)).rowcount
                if last is None:
                    connection.execute(sql.delete(RUNS).where(RUNS.c.last_at < before))
                    return dropped

    def _parts(self, connection: sql.Connection, query: UsageQuery) -> Iterator[UsageQuery]:
        """The query, cut into times by the runs: what an index finds in one of its parts is not in order, and a page
        is no reason to sort all that there is."""
        if self._database.kind == "postgresql" or not _narrow(query):
            yield query
            return
        first, runs = RUNS.c.first_at, 1
        while True:
            later = sql.select(first).where(first > query.since).order_by(first).offset(runs - 1).limit(1)
            end = connection.scalar(later)
            if end is None or (query.until is not None and end >= query.until):
                yield query
                return
            yield msgspec.structs.replace(query, until=end)
            query = msgspec.structs.replace(query, since=end)
            runs *= 2

    def _wanted(self, query: UsageQuery) -> list[sql.ColumnElement[bool]]:
        wanted = _wanted(query)
        return [*wanted, self._runs(query.since, query.until)] if _narrow(query) else wanted

    def _runs(self, since: float, until: float | None) -> sql.ColumnElement[bool]:
        """By which the indexes find rows that were received in this time."""
        if self._database.kind == "postgresql":
            return LEDGER.c.run == 0
        runs = sql.select(RUNS.c.run).where(RUNS.c.last_at >= since)
        return LEDGER.c.run.in_(runs if until is None else runs.where(RUNS.c.first_at < until))

    def _group(self, by: GroupBy) -> sql.ColumnElement[str] | sql.ColumnElement[int]:
        if by in ("day", "hour"):
            # Whole seconds first: a division of the time itself could round the last microsecond into the next day.
            return self._floor(LEDGER.c.received_at) // (_DAY if by == "day" else _HOUR)
        return _GROUPS[by]

    def _floor(self, value: sql.ColumnElement[Any]) -> sql.ColumnElement[int]:
        # A cast rounds in PostgreSQL and cuts in SQLite, whose floor() not every build has.
        whole = value if self._database.kind == "sqlite" else sql.func.floor(value)
        return sql.cast(whole, sql.BigInteger)


def _append_run(connection: sql.Connection, entries: Sequence[Entry]) -> int:
    driver = connection.connection.driver_connection
    if not isinstance(driver, sqlite3.Connection):
        raise TypeError(f"{type(driver).__name__} is not SQLite's")
    last = driver.execute(_LAST_RUN).fetchone()
    run, size = last or (1, 0)
    if size >= RUN:
        run += 1
    new = driver.executemany(_INSERT, rows_of(entries, run)).rowcount
    times = [entry.received_at for entry in entries]
    driver.execute(_NOTE_RUN, (run, new, min(times), max(times)))
    return new


def _narrow(query: UsageQuery) -> bool:
    """Whether an index finds it."""
    return query.project is not None or query.key_id is not None


def _wanted(query: UsageQuery) -> list[sql.ColumnElement[bool]]:
    table = LEDGER.c
    wanted = [table.received_at >= query.since]
    if query.until is not None:
        wanted.append(table.received_at < query.until)
    asked = {
        table.project: query.project,
        table.team: query.team,
        table.user_id: query.user,
        table.key_id: query.key_id,
        table.service: query.service,
        table.model: query.model,
        table.release: query.release,
        table.purpose: query.purpose or None,
    }
    return [*wanted, *(column == storable(value) for column, value in asked.items() if value is not None)]


def _sum(counts: sql.ColumnElement[int]) -> sql.ColumnElement[int]:
    return sql.func.coalesce(sql.func.sum(counts), 0)


def _subject(kind: SubjectKind) -> sql.ColumnElement[str]:
    return sql.literal_column("''", sql.Text) if kind == "global" else _SUBJECTS[kind]


def _of(kind: SubjectKind, service: str, since: float) -> list[sql.ColumnElement[bool]]:
    # What the gateway asked for itself is in nobody's limits and budgets.
    wanted = [LEDGER.c.received_at >= since, LEDGER.c.purpose == "client"]
    if service:
        wanted.append(LEDGER.c.service == storable(service))
    if kind in ("user", "team"):
        wanted.append(_SUBJECTS[kind] != "")
    return wanted


def _named(by: GroupBy, value: str | int) -> str:
    if by not in ("day", "hour"):
        return str(value)
    begin = datetime.datetime.fromtimestamp(int(value) * (_DAY if by == "day" else _HOUR), datetime.UTC)
    return begin.strftime("%Y-%m-%d" if by == "day" else "%Y-%m-%dT%H")
