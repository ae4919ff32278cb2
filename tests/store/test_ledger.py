"""The ledger keeps its contract in both databases, whoever writes at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import penstock.store.ledger as written
from penstock.core.usage import UsageQuery
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
        rows = [entry(str(n), received_at=NOON + n) for n in range(20)]
        ledger.append(rows)
        for back in ("0002", "0001", "0002"):
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
