"""Alerts keep their contract in both databases, and in memory."""

from __future__ import annotations

from penstock.store import AlertStore
from penstock.store.alerts import SqlAlerts
from penstock.store.database import Database
from penstock.store.forgetful_series import ForgetfulAlerts
from penstock.store.migrations import migrate
from tests.contracts.alerts import AlertContract
from tests.postgres import postgres, postgres_url
from tests.store.databases import OnPostgresql, OnSqlite

__all__ = ["postgres", "postgres_url"]


class TestForgetful(AlertContract):
    def make(self) -> AlertStore:
        return ForgetfulAlerts()


class InDatabase(AlertContract):
    database: Database

    def make(self) -> AlertStore:
        migrate(self.database, now=0.0)
        return SqlAlerts(self.database)


class TestSqlite(OnSqlite, InDatabase):
    pass


class TestPostgresql(OnPostgresql, InDatabase):
    pass
