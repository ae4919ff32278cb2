"""Databases that are opened for a test, and closed after it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.store.database import Database, open_database, sqlite_url


class OnSqlite:
    database: Database

    @pytest.fixture(autouse=True)
    def _opened(self, tmp_path: Path) -> Iterator[None]:
        self.database = open_database(sqlite_url(tmp_path / "state.db"))
        yield
        self.database.close()


class OnPostgresql:
    """Whose module has the fixture ``postgres_url``."""

    database: Database

    @pytest.fixture(autouse=True)
    def _opened(self, postgres_url: str) -> Iterator[None]:
        self.database = open_database(postgres_url)
        yield
        self.database.close()
