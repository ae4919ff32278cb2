"""The ledger in SQL."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sql
from sqlalchemy.dialects import sqlite

from penstock.core.accounts import SubjectKind
from penstock.core.usage import Entry, GroupBy, Tokens, UsageQuery, UsageSum
from penstock.store.database import Database
from penstock.store.ledger_table import LEDGER, TOKENS
from penstock.store.words import storable

LARGEST = 10**15
"""The largest count, or cost in nano, that is written for one attempt: a million dollars. An upstream that tells more
is not believed; one absurd number must neither stop the ledger nor overflow its sums."""
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
}
_SUBJECTS: Mapping[SubjectKind, sql.Column[str]] = {
    "key": LEDGER.c.key_id,
    "user": LEDGER.c.user_id,
    "team": LEDGER.c.team,
    "project": LEDGER.c.project,
    "service": LEDGER.c.service,
}
# One text in place of 26 parameters a row: ten times as fast as psycopg fills those in.
_INSERT_JSON = sql.text(
    "INSERT INTO ledger SELECT * FROM json_populate_recordset(NULL::ledger, CAST(:rows AS json))"
    " ON CONFLICT DO NOTHING"
)
_PLACE = (LEDGER.c.received_at, LEDGER.c.request_id, LEDGER.c.attempt)


class SqlLedger:
    """``LedgerStore`` in a database whose migrations have run. Rows of several projects may share a request id, where
    clients chose the same: whoever asks for one looks at the project."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, entries: Sequence[Entry]) -> int:
        if not entries:
            return 0
        # In one order everywhere: two that write some of the same rows then wait for one another only one way round.
        rows = sorted(map(_row, entries), key=lambda row: (row["received_at"], row["request_id"], row["attempt"]))
        with self._database.begin(PATIENCE_S) as connection:
            if self._database.kind == "sqlite":
                return connection.execute(sqlite.insert(LEDGER).on_conflict_do_nothing(), rows).rowcount
            return connection.execute(_INSERT_JSON, {"rows": msgspec.json.encode(rows).decode()}).rowcount

    def request(self, request_id: str) -> Sequence[Entry]:
        query = sql.select(LEDGER).where(LEDGER.c.request_id == storable(request_id))
        with self._database.read() as connection:
            return [_entry(row) for row in connection.execute(query.order_by(LEDGER.c.attempt, LEDGER.c.received_at))]

    def sums(self, query: UsageQuery, by: Sequence[GroupBy]) -> Sequence[UsageSum]:
        groups = [self._group(each).label(f"group_{at}") for at, each in enumerate(by)]
        added = [sql.func.coalesce(sql.func.sum(LEDGER.c[name]), 0) for name in (*TOKENS, "cost_nano")]
        estimated = sql.func.count(sql.case((LEDGER.c.estimated, 1)))
        requests = sql.func.count(LEDGER.c.request_id.distinct())
        asked = sql.select(*groups, requests, sql.func.count(), estimated, *added).where(*_wanted(query))
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
                    tokens=_tokens(numbers[3:-1]),
                    cost_nano=numbers[-1],
                )
            )
        return sorted(sums, key=lambda each: each.group)

    def entries(self, query: UsageQuery, after: tuple[float, str, int] | None, most: int) -> Sequence[Entry]:
        asked = sql.select(LEDGER).where(*_wanted(query))
        if after is not None:
            asked = asked.where(sql.tuple_(*_PLACE) > sql.tuple_(*after))
        with self._database.read(PATIENCE_S) as connection:
            return [_entry(row) for row in connection.execute(asked.order_by(*_PLACE).limit(most))]

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
            sql.func.count(LEDGER.c.request_id.distinct()),
            sql.func.sum(LEDGER.c.input_tokens),
            sql.func.sum(LEDGER.c.output_tokens),
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
                return dropped

    def _group(self, by: GroupBy) -> sql.ColumnElement[str] | sql.ColumnElement[int]:
        if by in ("day", "hour"):
            # Whole seconds first: a division of the time itself could round the last microsecond into the next day.
            return self._floor(LEDGER.c.received_at) // (_DAY if by == "day" else _HOUR)
        return _GROUPS[by]

    def _floor(self, value: sql.ColumnElement[Any]) -> sql.ColumnElement[int]:
        # A cast rounds in PostgreSQL and cuts in SQLite, whose floor() not every build has.
        whole = value if self._database.kind == "sqlite" else sql.func.floor(value)
        return sql.cast(whole, sql.BigInteger)


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
        table.purpose: query.purpose or None,
    }
    return [*wanted, *(column == storable(value) for column, value in asked.items() if value is not None)]


def _subject(kind: SubjectKind) -> sql.ColumnElement[str]:
    return sql.literal_column("''", sql.Text) if kind == "global" else _SUBJECTS[kind]


def _of(kind: SubjectKind, service: str, since: float) -> list[sql.ColumnElement[bool]]:
    wanted = [LEDGER.c.received_at >= since]
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


def _tokens(counts: Sequence[int]) -> Tokens:
    return Tokens(**dict(zip(Tokens.__struct_fields__, counts, strict=True)))


def _row(entry: Entry) -> dict[str, str | int | float]:
    tokens = entry.tokens
    return {
        "received_at": entry.received_at,
        "request_id": storable(entry.request_id),
        "attempt": entry.attempt,
        "gateway": storable(entry.gateway),
        "settled_at": entry.settled_at,
        "project": storable(entry.project),
        "key_id": storable(entry.key_id),
        "user_id": storable(entry.user),
        "team": storable(entry.team),
        "service": storable(entry.service),
        "model": storable(entry.model),
        "kind": storable(entry.kind),
        "purpose": entry.purpose,
        "ending": storable(entry.ending),
        "status": entry.status,
        "input_tokens": min(tokens.input, LARGEST),
        "cached_read_tokens": min(tokens.cached_read, LARGEST),
        "cached_write_tokens": min(tokens.cached_write, LARGEST),
        "output_tokens": min(tokens.output, LARGEST),
        "reasoning_tokens": min(tokens.reasoning, LARGEST),
        "audio_input_tokens": min(tokens.audio_input, LARGEST),
        "audio_output_tokens": min(tokens.audio_output, LARGEST),
        "images": min(tokens.images, LARGEST),
        "estimated": entry.estimated,
        "cost_nano": min(entry.cost_nano, LARGEST),
        "price": storable(entry.price),
    }


def _entry(row: sql.Row[tuple[object, ...]]) -> Entry:
    kept = row._mapping
    return Entry(
        request_id=kept["request_id"],
        attempt=kept["attempt"],
        gateway=kept["gateway"],
        received_at=kept["received_at"],
        settled_at=kept["settled_at"],
        project=kept["project"],
        key_id=kept["key_id"],
        user=kept["user_id"],
        team=kept["team"],
        service=kept["service"],
        model=kept["model"],
        kind=kept["kind"],
        purpose=kept["purpose"],
        ending=kept["ending"],
        status=kept["status"],
        tokens=_tokens([kept[name] for name in TOKENS]),
        estimated=kept["estimated"],
        cost_nano=kept["cost_nano"],
        price=kept["price"],
    )
