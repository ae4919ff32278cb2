"""Scores keep their contract in both databases, and in memory."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sql

import penstock.store.scores as written
from penstock.core.accounts import Change
from penstock.core.releases import Decision, Score
from penstock.core.usage import Act, Entry
from penstock.store import ScoreStore
from penstock.store.database import Database, open_database, sqlite_url
from penstock.store.forgetful import ForgetfulStore
from penstock.store.forgetful_scores import ForgetfulScores
from penstock.store.ledger import SqlLedger
from penstock.store.migrations import migrate
from penstock.store.scores import SqlScores
from penstock.store.sql import SqlStore
from tests.contracts.scores import ScoreContract, feedback, score
from tests.postgres import postgres, postgres_url

__all__ = ["postgres", "postgres_url"]


class NoAudit:
    def append_in(self, connection: sql.Connection, acts: Sequence[tuple[str, Act]]) -> int:
        raise AssertionError("nothing here has an act")


class TestForgetful(ScoreContract):
    def make(self) -> ScoreStore:
        self._state = ForgetfulStore(lambda: 0.0, lambda _: None)
        self._rows: list[Entry] = []
        return ForgetfulScores(
            self._state.decisions, lambda request: [row for row in self._rows if row.request_id == request]
        )

    def used(self, entries: Sequence[Entry]) -> None:
        self._rows += entries

    def decide(self, decisions: Sequence[Decision]) -> None:
        self._state.change(Change(version=self._state.version(), decisions=tuple(decisions)))


class InDatabase(ScoreContract):
    database: Database

    def make(self) -> SqlScores:
        migrate(self.database, now=0.0)
        return SqlScores(self.database)

    def used(self, entries: Sequence[Entry]) -> None:
        SqlLedger(self.database).append(entries)

    def decide(self, decisions: Sequence[Decision]) -> None:
        state = SqlStore(self.database, NoAudit(), lambda: 0.0)
        state.change(Change(version=state.version(), decisions=tuple(decisions)))

    def test_forgetting_goes_in_steps(self, monkeypatch: pytest.MonkeyPatch) -> None:
        scores = self.make()
        monkeypatch.setattr(written, "FORGET", 7)
        scores.append_scores([score(str(n), arrived_at=n // 10) for n in range(100)])
        assert scores.forget_scores(4) == 40
        assert len(scores.scores("ro1", 0, 1000)) == 60

    def test_feedback_written_twice_at_once_is_there_once(self) -> None:
        scores = self.make()
        start = threading.Barrier(4)

        def write(_: int) -> int:
            start.wait(10)
            return sum(scores.append_scores([score(str(n)), feedback(str(n))]) for n in range(10))

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(write, range(4))) == 20


class TestSqlite(InDatabase):
    @pytest.fixture(autouse=True)
    def _opened(self, tmp_path: Path) -> Iterator[None]:
        self.database = open_database(sqlite_url(tmp_path / "state.db"))
        yield
        self.database.close()

    def test_who_looks_for_little_does_not_read_all(self) -> None:
        self.make()
        asked = {
            "SELECT * FROM scores WHERE rollout = 'x' AND number > 5 ORDER BY number LIMIT 9": "scores_rollout",
            "SELECT * FROM scores WHERE request_id IN ('x', 'y') AND NOT copied ORDER BY number": "request_id=?",
            "SELECT avg(value) FROM scores WHERE service = 's' AND release = 'x' AND at >= 1": "scores_release",
            "SELECT number FROM scores WHERE arrived_at < 1 LIMIT 9": "scores_arrived_at",
            "SELECT * FROM scores WHERE release = '' AND arrived_at >= 1 ORDER BY arrived_at DESC": "scores_unknown",
            "SELECT request_id FROM ledger WHERE run IN (SELECT run FROM ledger_runs) AND purpose = 'client'"
            " AND request_id IN ('x', 'y') ORDER BY received_at": "ledger_request_id (run=? AND request_id=?",
        }
        with self.database.read() as connection:
            for statement, index in asked.items():
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}").all()
                assert any(index in str(step) for step in plan), plan
                assert not any("SCAN scores" in str(step) or "SCAN ledger " in str(step) for step in plan), plan


class TestPostgresql(InDatabase):
    @pytest.fixture(autouse=True)
    def _opened(self, postgres_url: str) -> Iterator[None]:
        self.url = postgres_url
        self.database = open_database(postgres_url)
        yield
        self.database.close()

    def test_a_later_number_is_not_seen_before_an_earlier_one(self) -> None:
        """Of two gateways that append at once the second waits, or its reader would pass by what the first has not
        committed yet."""
        scores = self.make()
        other = open_database(self.url)
        slow = Slow(other)
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(slow.append_scores, [score("first")])
            assert slow.inserted.wait(10)
            second = pool.submit(scores.append_scores, [score("second")])
            try:
                self._until_somebody_waits()
                assert list(scores.scores("ro1", 0, 10)) == []
            finally:
                slow.commit.set()
            assert first.result(10) == second.result(10) == 1
        assert [each.request_id for _, each in scores.scores("ro1", 0, 10)] == ["first", "second"]
        other.close()

    def _until_somebody_waits(self) -> None:
        waits = sql.text(
            "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database"
            " WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()"
        )
        deadline = time.monotonic() + 10
        while True:
            with self.database.read() as connection:
                if connection.execute(waits).scalar_one():
                    return
            assert time.monotonic() < deadline, "nobody waits"


class Slow(SqlScores):
    """Has inserted, and does not commit yet."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.inserted, self.commit = threading.Event(), threading.Event()

    def _insert(self, connection: sql.Connection, scores: Sequence[Score]) -> int:
        new = super()._insert(connection, scores)
        self.inserted.set()
        assert self.commit.wait(10)
        return new


def test_what_was_erased_is_in_no_file(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    database = open_database(sqlite_url(path))
    migrate(database, now=0.0)
    store = SqlScores(database)
    store.append_scores([feedback("one", note=json.dumps({"project": "red", "comment": f"call me {'Ada ' * 900}"}))])
    assert store.erase_scores([("one", 0.0, "red")]) == 1
    for each in tmp_path.iterdir():
        assert b"Ada Ada" not in each.read_bytes(), each.name
    database.close()
