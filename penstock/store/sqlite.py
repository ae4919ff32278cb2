"""State in one SQLite file: a write-ahead log, every commit on disk before it returns, numbered migrations."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from penstock.core.errors import STORE_UNAVAILABLE, PenstockError
from penstock.core.serving import KeyRecord

# Entry n takes a store from version n to n + 1. An entry that has been released is never changed.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT",
        """CREATE TABLE keys (
            id TEXT PRIMARY KEY,
            digest BLOB NOT NULL UNIQUE,
            project TEXT NOT NULL,
            role TEXT NOT NULL,
            services TEXT
        ) STRICT""",
    ),
)

_services = msgspec.json.Decoder(tuple[str, ...] | None)


class SqliteStore:
    """The state in the file at ``path``, made when it is not there, readable by its owner alone.

    ``now`` is in seconds since 1970-01-01 UTC and dates a new store. Raises ``PenstockError(STORE_UNAVAILABLE)``,
    with the mend, when the file is damaged, not writable, of a newer Penstock, or held by another process for more
    than ``patience_s`` seconds.
    """

    def __init__(self, path: Path, now: float, patience_s: float = 5.0) -> None:
        self._path = path
        with self._said():
            _make_private(path)
            self._db = sqlite3.connect(path, timeout=patience_s, isolation_level=None, check_same_thread=False)
            try:
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=FULL")
                self._migrate(now)
            except BaseException:
                self._db.close()
                raise

    def keys(self) -> Sequence[KeyRecord]:
        with self._said():
            rows = self._db.execute("SELECT id, digest, project, role, services FROM keys ORDER BY id").fetchall()
            return tuple(
                KeyRecord(id_, digest, project, role, _services.decode(services or "null"))
                for id_, digest, project, role, services in rows
            )

    def put_key(self, record: KeyRecord) -> None:
        services = None if record.services is None else msgspec.json.encode(record.services).decode()
        try:
            with self._said(), self._transaction():
                self._db.execute(
                    "INSERT INTO keys (id, digest, project, role, services) VALUES (?, ?, ?, ?, ?)"
                    " ON CONFLICT (id) DO UPDATE SET digest = excluded.digest, project = excluded.project,"
                    " role = excluded.role, services = excluded.services",
                    (record.id, record.digest, record.project, record.role, services),
                )
        except sqlite3.IntegrityError:
            raise PenstockError(
                STORE_UNAVAILABLE, f"Key {record.id!r} is the same as another key; choose another."
            ) from None

    def created_at(self) -> int:
        with self._said():
            (value,) = self._db.execute("SELECT value FROM settings WHERE name = 'created_at'").fetchone()
            return int(value)

    def close(self) -> None:
        self._db.close()

    def _migrate(self, now: float) -> None:
        with self._transaction():
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version > len(MIGRATIONS):
                raise PenstockError(
                    STORE_UNAVAILABLE,
                    f"The store {self._path} was written by a newer Penstock (version {version}, this one knows "
                    f"{len(MIGRATIONS)}). Upgrade Penstock, or put back a copy of the file from before.",
                )
            for statements in MIGRATIONS[version:]:
                for statement in statements:
                    self._db.execute(statement)
            if version == 0:
                self._db.execute("INSERT INTO settings VALUES ('created_at', ?)", (str(int(now)),))
            self._db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    @contextlib.contextmanager
    def _said(self) -> Iterator[None]:
        """SQLite's errors in words that name the mend; only a violated constraint is left as it is."""
        try:
            yield
        except sqlite3.IntegrityError:
            raise
        except (sqlite3.Error, OSError, msgspec.DecodeError) as error:
            raise PenstockError(STORE_UNAVAILABLE, _explained(self._path, error)) from error


def _explained(path: Path, error: Exception) -> str:
    code = getattr(error, "sqlite_errorcode", None)
    primary = code & 0xFF if code is not None else None
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return (
            f"The store {path} is held by another process. Stop that one first, or set PENSTOCK_HOME to another home."
        )
    if primary in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT) or isinstance(error, msgspec.DecodeError):
        return (
            f"The store {path} is damaged ({error}). Put back a copy of it, or move it away to start anew; "
            "the keys in it are then gone."
        )
    if primary == sqlite3.SQLITE_FULL:
        return f"The store {path} cannot be written: the disk is full. Make room on it."
    if isinstance(error, sqlite3.ProgrammingError):
        return f"The store {path} is closed."
    return (
        f"The store {path} cannot be opened or written ({error}). Give this user the right to write there, "
        "or set PENSTOCK_HOME to a directory where it may."
    )


def _make_private(path: Path) -> None:
    # SQLite gives its log files the mode of the database, so the mode must be right before it first opens it.
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
