"""Alerts keep their contract in both databases, and in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.store import AlertStore
from penstock.store.alerts import SqlAlerts
from penstock.store.database import Database, open_database, sqlite_url
from penstock.store.forgetful_series import ForgetfulAlerts
from penstock.store.migrations import migrate
from tests.contracts.alerts import AlertContract
from tests.postgres import postgres, postgres_url

__all__ = ["postgres", "postgres_url"]


class TestForgetful(AlertContract):
    def make(self) -> AlertStore:
        return ForgetfulAlerts()


class InDatabase(AlertContract):
    database: Database

    def make(self) -> AlertStore:
        migrate(self.database, now=0.0)
        return SqlAlerts(self.database)


class TestSqlite(InDatabase):
    @pytest.fixture(autouse=True)
    def _opened(self, tmp_path: Path) -> Iterator[None]:
        self.database = open_database(sqlite_url(tmp_path / "state.db"))
        yield
        self.database.close()


class TestPostgresql(InDatabase):
    @pytest.fixture(autouse=True)
    def _opened(self, postgres_url: str) -> Iterator[None]:
        self.database = open_database(postgres_url)
        yield
        self.database.close()
