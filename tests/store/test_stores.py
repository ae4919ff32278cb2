"""Both stores keep the contract; the one on disk keeps its file too."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path

import pytest

from penstock.core.errors import STORE_UNAVAILABLE, PenstockError
from penstock.store import StateStore
from penstock.store.memory import MemoryStore
from penstock.store.sqlite import MIGRATIONS, SqliteStore
from tests.contracts.store import MADE_AT, StoreContract, record


class TestMemory(StoreContract):
    def make(self) -> StateStore:
        return MemoryStore(MADE_AT)


class TestSqlite(StoreContract):
    @pytest.fixture(autouse=True)
    def _directory(self, tmp_path: Path) -> None:
        self.path = tmp_path / "home" / "state.db"

    def make(self) -> StateStore:
        return SqliteStore(self.path, MADE_AT)

    def test_it_outlives_the_process(self, store: StateStore) -> None:
        store.put_key(record("a"))
        other = SqliteStore(self.path, MADE_AT + 100)
        assert list(other.keys()) == [record("a")]
        assert other.created_at() == int(MADE_AT)
        other.close()

    def test_its_files_are_their_owners_alone(self, store: StateStore) -> None:
        store.put_key(record("a"))
        files = list(self.path.parent.iterdir())
        assert len(files) > 1
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}

    def test_it_is_durable(self, store: SqliteStore) -> None:
        assert store._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert store._db.execute("PRAGMA synchronous").fetchone() == (2,)


def refused(path: Path, **kwargs: float) -> str:
    with pytest.raises(PenstockError) as caught:
        SqliteStore(path, MADE_AT, **kwargs)
    assert caught.value.fault is STORE_UNAVAILABLE
    assert "\n" not in caught.value.message
    return caught.value.message


def test_a_file_that_is_no_store_is_said_to_be_damaged(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"not a database, but long enough to look at" * 100)
    assert "is damaged" in refused(tmp_path / "state.db")


def test_a_store_of_a_newer_penstock_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    SqliteStore(path, MADE_AT).close()
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    db.close()
    assert "newer Penstock" in refused(path)


def test_a_locked_store_is_waited_for_and_then_said_to_be_held(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    SqliteStore(path, MADE_AT).close()
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("BEGIN EXCLUSIVE")
    assert "held by another process" in refused(path, patience_s=0.05)
    db.close()


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be opened or written" in refused(tmp_path / "file" / "state.db")
    (tmp_path / "state.db").mkdir()
    assert "cannot be opened or written" in refused(tmp_path / "state.db")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_home_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "cannot be opened or written" in refused(tmp_path / "state.db")


def test_a_migration_that_fails_leaves_the_store_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.db"
    store = SqliteStore(path, MADE_AT)
    store.put_key(record("a"))
    store.close()
    with monkeypatch.context() as patched:
        broken = (*MIGRATIONS, ("CREATE TABLE extra (x)", "CREATE TABLE keys (x)"))
        patched.setattr("penstock.store.sqlite.MIGRATIONS", broken)
        refused(path)
    store = SqliteStore(path, MADE_AT)
    assert list(store.keys()) == [record("a")]
    assert store._db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'extra'").fetchone() == (0,)
    store.close()
