"""Databases that are opened for a test, and closed after it."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.store.database import Database, open_database, sqlite_url
from penstock.store.migrations import migrate


def new_store(path: Path, now: float) -> Database:
    """A store in a new file, as ``migrate`` leaves it; a copy of one takes no time."""
    path.write_bytes(_migrated(now))
    return open_database(sqlite_url(path))


@functools.cache
def _migrated(now: float) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.db"
        database = open_database(sqlite_url(path))
        migrate(database, now=now)
        database.close()
        return path.read_bytes()


class OnSqlite:
    """Migrated already."""

    database: Database

    @pytest.fixture(autouse=True)
    def _opened(self, tmp_path: Path) -> Iterator[None]:
        self.database = new_store(tmp_path / "state.db", 0.0)
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
