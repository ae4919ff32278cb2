"""All stores of who may call keep the contract."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sql

from penstock.core.releases import Decision
from penstock.core.usage import Act
from penstock.store import StateStore
from penstock.store.database import Database, open_database, sqlite_url
from penstock.store.forgetful import ForgetfulStore
from penstock.store.migrations import migrate
from penstock.store.scores import SqlScores
from penstock.store.sql import SqlStore
from tests.contracts.releases import RELEASED
from tests.contracts.store import EVERYTHING, MADE_AT, StoreContract, Wall
from tests.postgres import postgres, postgres_url

__all__ = ["postgres", "postgres_url"]


class Notes:
    """An audit in a table of its own, so that what is rolled back is seen to be."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._table = sql.Table(
            "notes", sql.MetaData(), sql.Column("id", sql.Text), sql.Column("act", sql.LargeBinary)
        )
        with database.begin() as connection:
            self._table.create(connection, checkfirst=True)

    def append_in(self, connection: sql.Connection, acts: Sequence[tuple[str, Act]]) -> int:
        rows = [{"id": id, "act": msgspec.json.encode(act)} for id, act in acts]
        connection.execute(sql.insert(self._table), rows)
        return len(acts)

    def acts(self) -> list[Act]:
        with self._database.read() as connection:
            return [
                msgspec.json.decode(each, type=Act)
                for each in connection.execute(sql.select(self._table.c.act)).scalars()
            ]


class TestForgetful(StoreContract):
    def make(self, wall: Wall) -> StateStore:
        self._acts: list[Act] = []
        return ForgetfulStore(wall, self._acts.append)

    def acts(self) -> Sequence[Act]:
        return self._acts

    def decided(self, store: StateStore, rollout: str) -> Sequence[Decision]:
        assert isinstance(store, ForgetfulStore)
        return store.decisions(rollout)


class InDatabase(StoreContract):
    url: str

    def make(self, wall: Wall) -> StateStore:
        database = open_database(self.url)
        migrate(database, now=MADE_AT)
        self._notes = Notes(database)
        self._database = database
        return SqlStore(database, self._notes, wall)

    def decided(self, store: StateStore, rollout: str) -> Sequence[Decision]:
        return SqlScores(self._database).decisions(rollout)

    def acts(self) -> Sequence[Act]:
        return self._notes.acts()

    def test_it_outlives_the_process(self, store: StateStore, wall: Wall) -> None:
        self.put(store, *EVERYTHING, *RELEASED)
        other = self.make(wall)
        assert other.directory() == store.directory()
        assert other.created_at() == int(MADE_AT)
        other.close()


class TestSqlite(InDatabase):
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.url = sqlite_url(tmp_path / "home" / "state.db")


class TestPostgres(InDatabase):
    @pytest.fixture(autouse=True)
    def _place(self, postgres_url: str) -> None:
        self.url = postgres_url
