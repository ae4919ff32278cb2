"""The days of the request log in PostgreSQL: two tables for each UTC day, written by several gateways at once."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial

import msgspec
import sqlalchemy as sql

from penstock.core.errors import PenstockError
from penstock.core.requests import Place, RequestContent, RequestQuery, RequestRecord
from penstock.store import requests_rows, requests_said
from penstock.store.database import Database
from penstock.store.requests_live import Copying, Moved, Part, Parts, Places, by_day
from penstock.store.requests_query import DAY_S, WORDS, Source, day_of, statuses, trace_bytes
from penstock.store.requests_rows import Rows, record_of
from penstock.store.requests_said import Said, content_of, said_of
from penstock.store.requests_tables import CONTENTS, REQUESTS
from penstock.store.words import storable

PATIENCE_S = 300.0
"""How long going through a whole day may take."""

_LOCK = int.from_bytes(b"REQUESTS", "big")
_FEW, _MANY = 64, 1024
_UNNUMBERED = 1 << 30
_MISSING_TABLE = "42P01"
_INSERT = (
    "INSERT INTO {into} SELECT * FROM json_populate_recordset(NULL::{like}, CAST(:rows AS json))"
    " ON CONFLICT DO NOTHING"
)
_LIKE = {"requests": REQUESTS, "request_contents": CONTENTS}


class PostgresRequests:
    """``Live`` in the database of the store. May be used from any thread, by several gateways at once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._made: frozenset[int] = frozenset()

    def append(self, records: Sequence[RequestRecord], contents: Sequence[RequestContent]) -> int:
        # In one order everywhere: two that write some of the same rows then wait for one another only one way.
        facts = sorted(map(Rows(storable, storable).of, records), key=lambda row: row[:2])
        spoken = sorted(map(said_of, contents), key=lambda row: row[:2])
        days = {day_of(row[0]) for row in (*facts, *spoken)}
        for again in (True, False):
            self._make(days)
            try:
                return self._append(facts, spoken)
            except PenstockError as error:
                if not (again and _is_missing(error)):
                    raise
                self._made = frozenset()
        return 0

    def parts(self) -> Parts:
        return Parts(
            [Part(day, _UNNUMBERED) for day in self._days("requests")],
            [Part(day, _UNNUMBERED) for day in self._days("request_contents")],
        )

    def sources(self, parts: Parts, query: RequestQuery, before: Place | None) -> Sequence[Source]:
        until = min(math.inf if query.until is None else query.until, math.inf if before is None else before.at)
        return [
            Source((day + 1) * DAY_S, partial(self._rows, day, query, before))
            for day in (part.day for part in parts.facts)
            if day * DAY_S <= until and (day + 1) * DAY_S > query.since
        ]

    def contents(self, parts: Parts, places: Places) -> Mapping[tuple[float, str], RequestContent]:
        found: dict[tuple[float, str], RequestContent] = {}
        days = by_day(places)
        for part in parts.contents:
            if part.day in days:
                table = _table("request_contents", part.day)
                with self._reading() as connection:
                    rows = connection.execute(sql.select(table).where(_is_of(table, days[part.day])))
                    found |= {(row.at, row.request_id): content_of(row) for row in rows}
        return found

    def of_subject(self, parts: Parts, subject: str, project: str | None) -> tuple[Places, Places]:
        facts: set[tuple[float, str]] = set()
        spoken: set[tuple[float, str]] = set()
        for part in parts.facts:
            with self._reading(PATIENCE_S) as connection:
                facts |= _places(connection, "requests", part.day, subject, project)
        days = by_day(facts)
        for part in parts.contents:
            table = _table("request_contents", part.day)
            by_facts = sql.select(table.c.at, table.c.request_id).where(_is_of(table, days.get(part.day, ())))
            with self._reading(PATIENCE_S) as connection:
                spoken |= _places(connection, "request_contents", part.day, subject, project)
                spoken |= {(row.at, row.request_id) for row in connection.execute(by_facts)}
        return facts, spoken

    def erase(self, parts: Parts, subject: str, project: str | None) -> tuple[Places, Places]:
        facts, spoken = self.of_subject(parts, subject, project)
        for day, places in by_day(spoken).items():
            table = _table("request_contents", day)
            self._unless_gone(sql.delete(table).where(_is_of(table, places)))
        for day, places in by_day(facts).items():
            table = _table("requests", day)
            self._unless_gone(sql.update(table).where(_is_of(table, places)).values(subject=""))
        return facts, spoken

    def ended(self, before: float, gone: Collection[Part]) -> Sequence[Part]:
        days = {*self._days("requests"), *self._days("request_contents")}
        parts: dict[int, int] = {}
        for part in gone:
            parts[part.day] = max(parts.get(part.day, 0), part.part + 1)
        return [Part(day, parts.get(day, 0)) for day in sorted(days) if (day + 1) * DAY_S <= before]

    @contextlib.contextmanager
    def copying(self, part: Part) -> Iterator[Copying]:
        if part.day not in {*self._days("requests"), *self._days("request_contents")}:
            raise Moved
        self._make({part.day})
        with self._reading(PATIENCE_S) as connection:
            yield _Copying(connection, part.day)

    def hand_over(self, part: Part, rows: int, said: int, note: Callable[[sql.Connection], bool]) -> bool:
        tables = [_table(name, part.day) for name in _LIKE]
        names = ", ".join(table.name for table in tables)
        try:
            with self._database.begin(PATIENCE_S) as connection:
                connection.execute(sql.text(f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE"))
                counted = [sql.select(sql.func.count()).select_from(table) for table in tables]
                if [connection.execute(each).scalar() for each in counted] != [rows, said] or not note(connection):
                    return False
                connection.execute(sql.text(f"DROP TABLE {names}"))
        except PenstockError as error:
            if not _is_missing(error):
                raise
            return False
        self._made -= {part.day}
        return True

    def let_go(self, gone: Collection[Part]) -> None:
        """Nothing is ever left to do: what ``hand_over`` does is one transaction."""

    def forget(self, before: float, contents_before: float) -> int:
        dropped = 0
        for name, end in (("requests", before), ("request_contents", max(before, contents_before))):
            for day in self._days(name):
                if (day + 1) * DAY_S <= end:
                    with self._database.begin(PATIENCE_S) as connection:
                        connection.execute(sql.text(f"DROP TABLE IF EXISTS {name}_{day}"))
                    self._made -= {day}
                    dropped += 1
        return dropped

    def close(self) -> None:
        """The database is somebody else's."""

    def _unless_gone(self, change: sql.Delete | sql.Update) -> None:
        # A day that went to the archive meanwhile is written anew there.
        try:
            with self._database.begin(PATIENCE_S) as connection:
                connection.execute(change)
        except PenstockError as error:
            if not _is_missing(error):
                raise

    def _append(self, facts: Sequence[requests_rows.Row], spoken: Sequence[Said]) -> int:
        new = 0
        with self._database.begin(PATIENCE_S) as connection:
            for like, columns, rows in (
                ("request_contents", requests_said.COLUMNS, spoken),
                ("requests", requests_rows.COLUMNS, facts),
            ):
                by_day: dict[int, list[Mapping[str, object]]] = {}
                for row in rows:
                    told = (f"\\x{value.hex()}" if isinstance(value, bytes) else value for value in row)
                    by_day.setdefault(day_of(row[0]), []).append(dict(zip(columns, told, strict=True)))
                for day, of_day in sorted(by_day.items()):
                    insert = sql.text(_INSERT.format(into=f"{like}_{day}", like=like))
                    done = connection.execute(insert, {"rows": msgspec.json.encode(of_day).decode()})
                    new += done.rowcount if like == "requests" else 0
        return new

    def _make(self, days: Collection[int]) -> None:
        """Tables for days that have none."""
        with self._lock:
            for day in sorted(set(days) - self._made):
                with self._database.begin(PATIENCE_S) as connection:
                    connection.execute(sql.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
                    for like in _LIKE:
                        made = f"CREATE TABLE IF NOT EXISTS {like}_{day} (LIKE {like} INCLUDING ALL)"
                        connection.execute(sql.text(made))
                self._made |= {day}

    def _days(self, like: str) -> Sequence[int]:
        """Those that have a table, oldest first."""
        asked = sql.text(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname ~ :pattern"
            " AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = CAST(:like AS regclass))"
        )
        with self._database.read() as connection:
            names = connection.execute(asked, {"pattern": f"^{like}_[0-9]+$", "like": like}).scalars().all()
        return sorted(int(name.rpartition("_")[2]) for name in names)

    @contextlib.contextmanager
    def _reading(self, patience_s: float | None = None) -> Iterator[sql.Connection]:
        try:
            with self._database.read(patience_s) as connection:
                yield connection
        except PenstockError as error:
            if _is_missing(error):
                raise Moved from None
            raise

    def _rows(self, day: int, query: RequestQuery, before: Place | None) -> Iterator[RequestRecord]:
        table = _table("requests", day)
        newest_first = sql.select(table).order_by(table.c.at.desc(), table.c.request_id.desc())
        wanted, size = _wanted(table, query), _FEW
        while True:
            asked = newest_first.where(*wanted)
            if before is not None:
                asked = asked.where(
                    sql.tuple_(table.c.at, table.c.request_id) < (before.at, storable(before.request_id))
                )
            with self._reading(PATIENCE_S) as connection:
                page = connection.execute(asked.limit(size)).all()
            found = [record_of(row, str, str) for row in page]
            yield from found
            if len(found) < size:
                return
            before = Place(found[-1].at, found[-1].request_id)
            size = min(size * 2, _MANY)


class _Copying:
    def __init__(self, connection: sql.Connection, day: int) -> None:
        self._connection = connection.execution_options(yield_per=_MANY)
        self._day = day

    def facts(self) -> Iterator[RequestRecord]:
        table = _table("requests", self._day)
        order = (table.c.at.desc(), table.c.request_id.desc())
        for row in self._connection.execute(sql.select(table).order_by(*order)):
            yield record_of(row, str, str)

    def contents(self) -> Iterator[RequestContent]:
        table = _table("request_contents", self._day)
        for row in self._connection.execute(sql.select(table).order_by(table.c.at.desc(), table.c.request_id.desc())):
            yield content_of(row)


def _wanted(table: sql.TableClause, query: RequestQuery) -> Sequence[sql.ColumnElement[bool]]:
    of = table.c
    wanted = [of.at >= query.since]
    if query.until is not None:
        wanted.append(of.at < query.until)
    named = {"user_id" if name == "user" else name: getattr(query, name) for name in (*WORDS, "request_id")}
    wanted += [of[name] == storable(value) for name, value in named.items() if value is not None]
    if query.purpose:
        wanted.append(of.purpose == query.purpose)
    if query.stream is not None:
        wanted.append(of.stream == query.stream)
    if query.status is not None:
        low, high = statuses(query.status) or (1, 0)
        # So that the index of failures is of use.
        wanted += [of.status.between(low, high), *([of.status >= 400] if low >= 400 else [])]
    if query.trace is not None:
        wanted += [of.trace == (trace_bytes(query.trace) or b""), of.trace != sql.literal_column("''::bytea")]
    if query.min_cost_nano is not None:
        wanted.append(of.cost_nano >= query.min_cost_nano)
    # As it is read: the quotient is that of Python.
    a_second = sql.literal_column("1e6::float8", sql.Double)
    if query.min_s is not None:
        wanted.append(of.duration_us / a_second >= query.min_s)
    if query.max_s is not None:
        wanted.append(of.duration_us / a_second <= query.max_s)
    if query.min_first_s is not None:
        wanted.append(of.first_us / a_second >= query.min_first_s)
    if query.text is not None:
        wanted.append(of.content.not_in(("", "none")))
    return wanted


def _places(
    connection: sql.Connection, like: str, day: int, subject: str, project: str | None
) -> set[tuple[float, str]]:
    table = _table(like, day)
    asked = sql.select(table.c.at, table.c.request_id).where(
        table.c.subject == storable(subject), table.c.subject != ""
    )
    if project is not None:
        asked = asked.where(table.c.project == storable(project))
    return {(row.at, row.request_id) for row in connection.execute(asked)}


def _table(like: str, day: int) -> sql.TableClause:
    return sql.table(f"{like}_{day}", *(sql.column(each.name, each.type) for each in _LIKE[like].columns))


def _is_of(table: sql.TableClause, places: Places) -> sql.ColumnElement[bool]:
    wanted = sql.text(
        "(at, request_id) IN (SELECT * FROM unnest(CAST(:times AS float8[]), CAST(:ids AS text[])))"
    ).bindparams(
        sql.bindparam("times", [at for at, _ in places], sql.ARRAY(sql.Double)),
        sql.bindparam("ids", [request_id for _, request_id in places], sql.ARRAY(sql.Text)),
    )
    return wanted  # type: ignore[return-value]


def _is_missing(error: PenstockError) -> bool:
    cause = error.__cause__
    return getattr(getattr(cause, "orig", cause), "sqlstate", "") == _MISSING_TABLE
