"""Scores and decisions in a database."""

from __future__ import annotations

import itertools
import operator
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sql

from penstock.core.releases import Decision, Score, belongs, giver
from penstock.store import LATE_S, ScoreSum
from penstock.store.database import Database
from penstock.store.ledger_table import LEDGER, RUNS
from penstock.store.release_tables import DECISIONS, SCORES
from penstock.store.words import storable

FORGET = 10_000
"""Scores dropped in one transaction, so that others get their turn."""
PATIENCE_S = 300.0
"""How long a statement may take: adding up, and waiting for other gateways that append."""

_LOOKED_UP = 500
"""Requests in one statement."""
_LOCK = int.from_bytes(b"PENSCORE", "big")
_COLUMNS = Score.__struct_fields__
_NAMES = ", ".join(_COLUMNS)
_TEXTS = tuple(each.name for each in msgspec.structs.fields(Score) if each.type is str)
_texts = operator.attrgetter(*_TEXTS)
# As the ledger does it, and for the same reason.
_INSERT = (
    f"INSERT INTO scores ({_NAMES}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608 - our own names
    " ON CONFLICT DO NOTHING"
)
_INSERT_JSON = sql.text(
    f"INSERT INTO scores ({_NAMES}) SELECT {_NAMES}"  # noqa: S608 - our own names
    " FROM json_populate_recordset(NULL::scores, CAST(:rows AS json)) ON CONFLICT DO NOTHING"
)
_T = TypeVar("_T")


class Assigned(msgspec.Struct, frozen=True):
    """What is known of a request whose score does not say. ``project`` is empty while the ledger does not have it."""

    service: str
    release: str
    rollout: str = ""
    unit: str = ""
    project: str = ""


class SqlScores:
    """``ScoreStore`` in a database whose migrations have run."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append_scores(self, scores: Sequence[Score]) -> int:
        if not scores:
            return 0
        takable = [kept(score) for score in scores]
        whole = [score for score in takable if score.release]
        partly = [score for score in takable if not score.release]
        unknown = self._unknown(max(score.arrived_at for score in takable))
        # Before the transaction that others wait for: rows of the ledger do not change.
        known = self._in_ledger({score.request_id for score in (*partly, *unknown.values())})
        with self._database.begin(PATIENCE_S) as connection:
            if self._database.kind == "postgresql":
                # A sequence gives its numbers out before they are seen. One at a time, they are seen in their order.
                connection.execute(sql.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            new = self._insert(connection, whole)
            if unknown:
                self._insert(connection, _taken_up(connection, unknown, known))
            return new + self._insert(connection, _completed(connection, partly, known)) if partly else new

    def scores(self, rollout: str, after: int, most: int) -> Sequence[tuple[int, Score]]:
        asked = sql.select(SCORES).where(SCORES.c.rollout == rollout, SCORES.c.number > after)
        with self._database.read() as connection:
            rows = connection.execute(asked.order_by(SCORES.c.number).limit(most)).all()
        return [(row[0], _score(row[1:])) for row in rows]

    def of_request(self, request_id: str) -> Sequence[Score]:
        asked = sql.select(SCORES).where(SCORES.c.request_id == storable(request_id)).order_by(SCORES.c.number)
        with self._database.read() as connection:
            return [_score(row[1:]) for row in connection.execute(asked)]

    def summary(self, service: str, release: str, since: float) -> Sequence[ScoreSum]:
        table = SCORES.c
        named = (table.metric, table.version, table.copied)
        asked = sql.select(*named, sql.func.count(), sql.func.avg(table.value))
        asked = asked.where(table.service == service, table.release == release, table.at >= since)
        with self._database.read(PATIENCE_S) as connection:
            return [
                ScoreSum(metric=metric, version=version, copied=bool(copied), count=count, mean=float(mean))
                for metric, version, copied, count, mean in connection.execute(
                    asked.group_by(*named).order_by(*named)
                )
            ]

    def worst_pairs(self, rollout: str, metric: str, most: int) -> Sequence[tuple[Score, Score]]:
        got, copy = SCORES.alias("got"), SCORES.alias("copy")
        asked = sql.select(got, copy).where(
            copy.c.rollout == rollout,
            copy.c.metric == metric,
            copy.c.copied,
            got.c.request_id == copy.c.request_id,
            got.c.rollout == copy.c.rollout,
            got.c.metric == copy.c.metric,
            got.c.version == copy.c.version,
            ~got.c.copied,
            copy.c.value < got.c.value,
        )
        asked = asked.order_by(copy.c.value - got.c.value, copy.c.number).limit(most)
        width = len(_COLUMNS) + 1
        with self._database.read(PATIENCE_S) as connection:
            return [(_score(row[1:width]), _score(row[width + 1 :])) for row in connection.execute(asked)]

    def decisions(self, rollout: str) -> Sequence[Decision]:
        found = sql.select(DECISIONS).where(DECISIONS.c.rollout == rollout).order_by(DECISIONS.c.number)
        with self._database.read() as connection:
            return [Decision(**row._mapping) for row in connection.execute(found)]

    def erase_scores(self, requests: Sequence[tuple[str, float, str]]) -> int:
        dropped = 0
        for some in _some(requests):
            named: dict[str, list[tuple[float, str]]] = {}
            for request_id, at, project in some:
                named.setdefault(storable(request_id), []).append((at, project))
            with self._database.begin(PATIENCE_S) as connection:
                if self._database.kind == "sqlite":
                    # As the audit does it: a comment is not to lie about in a page that is free.
                    connection.exec_driver_sql("PRAGMA secure_delete = ON")
                rows = connection.execute(sql.select(SCORES).where(SCORES.c.request_id.in_(named))).all()
                scores = ((row[0], _score(row[1:])) for row in rows)
                gone = [number for number, score in scores if belongs(score, named[score.request_id])]
                for numbers in _some(gone):
                    dropped += connection.execute(sql.delete(SCORES).where(SCORES.c.number.in_(numbers))).rowcount
        if dropped:
            self._database.forget()
        return dropped

    def forget_scores(self, before: float) -> int:
        dropped = 0
        old = sql.select(SCORES.c.number).where(SCORES.c.arrived_at < before).limit(FORGET)
        while True:
            with self._database.begin(PATIENCE_S) as connection:
                now = connection.execute(sql.delete(SCORES).where(SCORES.c.number.in_(old))).rowcount
            dropped += now
            if now < FORGET:
                return dropped

    def _insert(self, connection: sql.Connection, scores: Sequence[Score]) -> int:
        if not scores:
            return 0
        if self._database.kind == "postgresql":
            rows = [msgspec.structs.asdict(score) for score in scores]
            return connection.execute(_INSERT_JSON, {"rows": msgspec.json.encode(rows).decode()}).rowcount
        driver = connection.connection.driver_connection
        if not isinstance(driver, sqlite3.Connection):
            raise TypeError(f"{type(driver).__name__} is not SQLite's")
        return driver.executemany(_INSERT, map(msgspec.structs.astuple, scores)).rowcount

    def _unknown(self, at: float) -> Mapping[int, Score]:
        """The newest scores, by number, of requests that nothing was known of when they came."""
        # Not as a parameter, or SQLite would not see that the index is of these.
        nothing: sql.ColumnElement[str] = sql.literal_column("''")
        asked = sql.select(SCORES).where(SCORES.c.release == nothing, SCORES.c.arrived_at >= at - LATE_S)
        with self._database.read() as connection:
            rows = connection.execute(asked.order_by(SCORES.c.arrived_at.desc()).limit(_LOOKED_UP)).all()
        return {row[0]: _score(row[1:]) for row in rows}

    def _in_ledger(self, requests: Collection[str]) -> dict[str, Assigned]:
        """By request, the newest of each id."""
        found: dict[str, Assigned] = {}
        if not requests:
            return found
        row = LEDGER.c
        runs = row.run == 0 if self._database.kind == "postgresql" else row.run.in_(sql.select(RUNS.c.run))
        asked = sql.select(row.request_id, row.service, row.release, row.project).where(runs, row.purpose == "client")
        asked = asked.order_by(row.received_at)
        with self._database.read(PATIENCE_S) as connection:
            for some in _some(requests):
                for request, service, release, project in connection.execute(asked.where(row.request_id.in_(some))):
                    found[request] = Assigned(service, release, project=project)
        return found


def _taken_up(
    connection: sql.Connection, unknown: Mapping[int, Score], in_ledger: Mapping[str, Assigned]
) -> Sequence[Score]:
    """Those of them whose request is known now, taken out to be put in again: with the number that they have, those
    who have read on would never see them."""
    known = _known(connection, unknown.values(), in_ledger)[0]
    found = {number: _with(score, known) for number, score in unknown.items()}
    gone = {number: sql.delete(SCORES).where(SCORES.c.number == number) for number in found if found[number].release}
    taken = [found[number] for number, drop in gone.items() if connection.execute(drop).rowcount]
    return [score for score in taken if not foreign(score, known[score.request_id].project)]


def _completed(
    connection: sql.Connection, scores: Sequence[Score], in_ledger: Mapping[str, Assigned]
) -> Sequence[Score]:
    """With what is known of their requests, and without those that are there already."""
    known, there = _known(connection, scores, in_ledger)
    completed = []
    for score in scores:
        if foreign(score, known[score.request_id].project if score.request_id in known else ""):
            continue
        found = _with(score, known)
        name = (score.request_id, score.metric, score.version)
        if not there & {(*name, ""), (*name, found.release)}:
            completed.append(found)
    return completed


def _known(
    connection: sql.Connection, scores: Iterable[Score], in_ledger: Mapping[str, Assigned]
) -> tuple[Mapping[str, Assigned], Set[tuple[str, str, str, str]]]:
    """What is known of the requests of these scores, and the request, metric, version and release of those that they
    have."""
    known, there = dict(in_ledger), set()
    row = SCORES.c
    asked = sql.select(row.request_id, row.metric, row.version, row.service, row.release, row.rollout, row.unit)
    asked = asked.where(~row.copied).order_by(row.number)
    for some in _some({score.request_id for score in scores}):
        for request, metric, version, *assigned in connection.execute(asked.where(row.request_id.in_(some))):
            release = assigned[1]
            there.add((request, metric, version, release))
            if release:
                row_of = in_ledger.get(request)
                known[request] = msgspec.structs.replace(
                    Assigned(*assigned), project="" if row_of is None else row_of.project
                )
    return known, there


def _with(score: Score, known: Mapping[str, Assigned]) -> Score:
    found = known.get(score.request_id)
    if found is None:
        return score
    return msgspec.structs.replace(
        score, service=found.service, release=found.release, rollout=found.rollout, unit=found.unit
    )


def foreign(score: Score, project: str) -> bool:
    """Whether a client says something of a request that is not of its own project; ``project`` is that of the
    request, empty where nobody knows. A score whose note names no project was made here."""
    return bool(project) and giver(score) not in ("", project)


def _some(all_of_them: Iterable[_T]) -> Iterable[Sequence[_T]]:
    rest = iter(all_of_them)
    while some := list(itertools.islice(rest, _LOOKED_UP)):
        yield some


def _score(values: Iterable[Any]) -> Score:
    return Score(**dict(zip(_COLUMNS, values, strict=True)))


def kept(score: Score) -> Score:
    """With texts and a value that every store takes."""
    value = score.value
    if not 0.0 <= value <= 1.0:
        # What is no number is neither above 1 nor below.
        score = msgspec.structs.replace(score, value=1.0 if value > 1.0 else 0.0)
    texts = _texts(score)
    if "".join(texts).isprintable():
        return score
    return msgspec.structs.replace(score, **dict(zip(_TEXTS, map(storable, texts), strict=True)))
