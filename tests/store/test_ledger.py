"""The ledger keeps its contract in both databases, whoever writes at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import penstock.store.ledger as written
from penstock.core.usage import Entry, UsageQuery
from penstock.store.database import Database, open_database, sqlite_url
from penstock.store.ledger import SqlLedger
from penstock.store.migrations import migrate
from tests.contracts.ledger import NOON, LedgerContract, entry
from tests.postgres import postgres, postgres_url  # noqa: F401


class Kept(LedgerContract):
    database: Database

    def make(self) -> SqlLedger:
        migrate(self.database, now=0.0)
        return SqlLedger(self.database)

    def test_four_who_write_at_once_lose_nothing_and_write_nothing_twice(self) -> None:
        ledger = self.make()
        start = threading.Barrier(4)

        def write(who: int) -> int:
            start.wait(10)
            new = 0
            for turn in range(10):
                shared = [entry(f"shared{turn}-{n}") for n in range(20)]
                own = [entry(f"own{who}-{turn}-{n}") for n in range(5)]
                new += ledger.append([*own, *(shared if who % 2 else reversed(shared))])
            return new

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(write, range(4))) == 4 * 10 * 5 + 10 * 20
        (whole,) = ledger.sums(UsageQuery(), [])
        assert (whole.rows, whole.cost_nano) == (400, 400_000)

    def test_forgetting_goes_in_steps(self, monkeypatch: pytest.MonkeyPatch) -> None:
        ledger = self.make()
        monkeypatch.setattr(written, "FORGET", 7)
        ledger.append([entry(str(n), received_at=NOON + n // 10) for n in range(100)])
        assert ledger.forget(NOON + 4) == 40
        assert ledger.sums(UsageQuery(), [])[0].rows == 60

    def test_going_back_and_forth_keeps_every_row(self) -> None:
        ledger = self.make()
        rows = [
            entry(
                str(n),
                received_at=NOON + n,
                release="rel_1" if n % 2 else "",
                cache="hit" if n % 3 else "",
                saved_nano=n,
            )
            for n in range(20)
        ]
        ledger.append(rows)
        for back in ("0007", "0004", "0002", "0001", "0002"):
            migrate(self.database, now=0.0, to=back)
            migrate(self.database, now=0.0)
            assert list(ledger.entries(UsageQuery(), None, 100)) == rows
        assert ledger.append([*rows, entry("after")]) == 1


class TestSqlite(Kept):
    @pytest.fixture(autouse=True)
    def _opened(self, tmp_path: Path) -> Iterator[None]:
        self.database = open_database(sqlite_url(tmp_path / "state.db"))
        yield
        self.database.close()

    def test_pages_are_in_order_and_whole_however_the_runs_lie(self, monkeypatch: pytest.MonkeyPatch) -> None:
        ledger = self.make()
        monkeypatch.setattr(written, "RUN", 10)
        rows = [
            entry(str(n), received_at=NOON + n * 7919 % 1000 / 4, key_id=f"k{n % 3}", project=f"p{n % 2}")
            for n in range(300)
        ]
        for at in range(0, 300, 4):
            ledger.append(rows[at : at + 4])
        rows.sort(key=lambda row: (row.received_at, row.request_id, row.attempt))
        for query in (
            UsageQuery(),
            UsageQuery(key_id="k1"),
            UsageQuery(project="p1", key_id="k2", since=NOON + 50, until=NOON + 200),
            UsageQuery(project="none"),
        ):
            wanted = [row for row in rows if _matches(row, query)]
            paged: list[Entry] = []
            while page := ledger.entries(query, _place(paged), 7):
                paged += page
            assert paged == wanted
            assert ledger.sums(query, [])[0].rows == len(wanted)
        assert all(list(ledger.request(row.request_id)) == [row] for row in rows)
        assert ledger.forget(NOON + 100) == sum(row.received_at < NOON + 100 for row in rows)
        assert ledger.entries(UsageQuery(key_id="k0"), None, 1)[0].received_at >= NOON + 100

    def test_who_looks_for_little_does_not_read_all(self) -> None:
        self.make()
        with self.database.read() as connection:
            for column in ("request_id", "key_id", "project"):
                plan = connection.exec_driver_sql(
                    f"EXPLAIN QUERY PLAN SELECT * FROM ledger WHERE {column} = 'x' AND received_at >= 1"
                    " AND run IN (SELECT run FROM ledger_runs WHERE last_at >= 1) ORDER BY received_at LIMIT 10"
                ).all()
                assert any(f"ledger_{column} (run=? AND {column}=?" in str(step) for step in plan)

    def test_it_is_fast(self) -> None:
        ledger = self.make()
        rows = [entry(f"request-{n}", received_at=NOON + n / 1000) for n in range(10_000)]
        best = float("inf")
        for turn in range(3):
            began = time.perf_counter()
            assert ledger.append([*rows[turn * 3000 : turn * 3000 + 3000]]) == 3000
            best = min(best, time.perf_counter() - began)
        assert 3000 / best > 10_000


class TestPostgresql(Kept):
    @pytest.fixture(autouse=True)
    def _opened(self, postgres_url: str) -> Iterator[None]:  # noqa: F811
        self.database = open_database(postgres_url)
        yield
        self.database.close()


def _matches(row: Entry, query: UsageQuery) -> bool:
    return (
        query.since <= row.received_at < (query.until or float("inf"))
        and query.key_id in (None, row.key_id)
        and query.project in (None, row.project)
    )


def _place(rows: list[Entry]) -> tuple[float, str, int] | None:
    return (rows[-1].received_at, rows[-1].request_id, rows[-1].attempt) if rows else None
