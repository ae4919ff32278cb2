"""A database, SQLite or PostgreSQL, and its transactions: the one place where their ways differ."""

from __future__ import annotations

import contextlib
import importlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec
import sqlalchemy as sql
from sqlalchemy.exc import ArgumentError, DBAPIError, PendingRollbackError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from penstock.core.errors import STORE_UNAVAILABLE, PenstockError
from penstock.store.faults import Place, explained

CONNECTIONS = 5
_POSTGRESQL = "penstock.store.postgresql"


class Database:
    """May be used from any thread. Every transaction raises ``PenstockError``: ``STORE_CONFLICT`` where it loses
    against another (a unique value that is taken, a deadlock), ``STORE_UNAVAILABLE`` with the mend for everything
    else that a database may say, within a few seconds even when it says nothing at all. A database that comes back
    is used again without opening it anew.
    """

    def __init__(self, engine: sql.Engine, place: Place, patience_s: float) -> None:
        self._engine = engine
        self._place = place
        self._patience_s = patience_s
        self._writer = threading.Lock()
        self._closed = False

    @property
    def kind(self) -> Literal["sqlite", "postgresql"]:
        """Which of the two it is."""
        return self._place.kind

    @property
    def name(self) -> str:
        """For people: the file's path, or host, port and name, without user and password."""
        return self._place.name

    @contextlib.contextmanager
    def begin(self, patience_s: float | None = None) -> Iterator[sql.Connection]:
        """A transaction that writes: committed, durably, when the block ends, rolled back when it raises.

        In SQLite it is the only one at a time; in PostgreSQL it reads what others have committed when each statement
        begins. ``patience_s`` is how long one statement of it may take, where that is more than usual.
        """
        with self._said(), self._alone(), self._engine.connect() as connection:
            connection = connection.execution_options(writes=True)
            with connection.begin():
                self._allow(connection, patience_s)
                yield connection

    @contextlib.contextmanager
    def read(self, patience_s: float | None = None) -> Iterator[sql.Connection]:
        """A transaction that reads one snapshot: what others commit meanwhile is not seen. ``patience_s`` as in
        ``begin``."""
        with self._said(), self._engine.connect() as connection:
            if self.kind == "postgresql":
                connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with connection.begin() as transaction:
                self._allow(connection, patience_s)
                yield connection
                transaction.rollback()

    def forget(self) -> None:
        """Empties the log of changes, which else holds what was deleted until it is written over; what somebody
        reads from just now stays. Nothing in PostgreSQL, whose log is its own affair."""
        if self.kind == "postgresql":
            return
        with self._said(), self._alone(), self._engine.connect() as connection:
            # Not within a transaction.
            driver = connection.connection.driver_connection
            if isinstance(driver, sqlite3.Connection):
                driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Ends every connection that is not in use, and refuses new transactions. Idempotent."""
        self._closed = True
        self._engine.dispose()

    def _allow(self, connection: sql.Connection, patience_s: float | None) -> None:
        if patience_s is not None and self.kind == "postgresql":
            importlib.import_module(_POSTGRESQL).allow(connection, patience_s)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        # SQLite lets one transaction write and makes the others poll; in a queue they are served in turn.
        if self.kind == "postgresql":
            yield
            return
        if not self._writer.acquire(timeout=self._patience_s):
            raise PenstockError(
                STORE_UNAVAILABLE,
                f"The store {self.name} has been busy for {self._patience_s:g} seconds. Try again, or move it to a "
                "faster disk.",
            )
        try:
            yield
        finally:
            self._writer.release()

    @contextlib.contextmanager
    def _said(self) -> Iterator[None]:
        if self._closed:
            raise PenstockError(STORE_UNAVAILABLE, f"The store {self.name} is closed.")
        try:
            yield
        except DBAPIError as error:
            raise explained(self._place, error.orig or error) from error
        except (PoolTimeout, PendingRollbackError, sqlite3.Error, msgspec.DecodeError) as error:
            raise explained(self._place, error) from error


def open_database(url: str, *, patience_s: float = 5.0) -> Database:
    """The database at ``sqlite:///PATH`` (``sqlite_url``), whose file is made when it is not there, readable by its
    owner alone; or at ``postgresql://USER:PASSWORD@HOST/NAME``, by psycopg, with libpq's parameters in the query.

    Nothing is asked of it yet but, of SQLite, whether its file can be opened. ``patience_s`` is how long a lock, a
    connection or the answer to one statement is waited for. Raises ``PenstockError(STORE_UNAVAILABLE)``.
    """
    parsed = _parsed(url)
    if parsed.drivername == "sqlite":
        return _open_sqlite(Path(parsed.database or ""), patience_s)
    try:
        engine = importlib.import_module(_POSTGRESQL).connect(parsed, patience_s, CONNECTIONS)
    except ModuleNotFoundError as error:
        if str(error.name).startswith("penstock"):
            raise
        raise PenstockError(
            STORE_UNAVAILABLE,
            "A store in PostgreSQL needs the package psycopg, which is not installed. "
            "Install it: pip install 'penstock[postgres]'",
        ) from error
    where = f"{parsed.host or 'localhost'}:{parsed.port or 5432}/{parsed.database or ''}"
    hidden = tuple(value for value in (parsed.password, parsed.query.get("password")) if isinstance(value, str))
    return Database(engine, Place("postgresql", where, parsed.username or "", patience_s, hidden), patience_s)


def sqlite_url(path: Path) -> str:
    """The URL of an SQLite file."""
    return sql.URL.create("sqlite", database=str(path.absolute())).render_as_string()


def _parsed(url: str) -> sql.URL:
    try:
        parsed = sql.make_url(url)
    except (ArgumentError, ValueError):
        # Without the cause: its message has the URL, and in it the password.
        raise _unreadable() from None
    if parsed.drivername == "sqlite" and parsed.database and parsed.database != ":memory:":
        return parsed
    if parsed.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return parsed.set(drivername="postgresql+psycopg")
    raise _unreadable()


def _unreadable() -> PenstockError:
    return PenstockError(
        STORE_UNAVAILABLE,
        "The store's URL is not one. Write postgresql://USER:PASSWORD@HOST/NAME or sqlite:///PATH; special "
        "characters in the password as %XX.",
    )


def _open_sqlite(path: Path, patience_s: float) -> Database:
    place = Place("sqlite", str(path), "", patience_s)
    engine = sql.create_engine(
        sql.URL.create("sqlite", database=str(path)),
        poolclass=QueuePool,
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=patience_s,
        connect_args={"timeout": patience_s, "check_same_thread": False},
        hide_parameters=True,
    )

    @sql.event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
        # None: the driver begins no transaction by itself, so that ours hold table changes too.
        connection.isolation_level = None
        _log_ahead(connection, patience_s)
        connection.execute("PRAGMA synchronous=FULL")

    @sql.event.listens_for(engine, "begin")
    def begin(connection: sql.Connection) -> None:
        writes = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    database = Database(engine, place, patience_s)
    try:
        _make_private(path)
        with database.read() as connection:
            connection.exec_driver_sql("SELECT count(*) FROM sqlite_schema")
    except OSError as error:
        raise explained(place, error) from error
    except PenstockError:
        database.close()
        raise
    return database


def _log_ahead(connection: sqlite3.Connection, patience_s: float) -> None:
    # For this one lock SQLite does not wait by itself: two that open a new file at once would collide.
    end = time.monotonic() + patience_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(0.005)


def _make_private(path: Path) -> None:
    # SQLite gives its log files the mode of the database, so the mode must be right before it first opens it.
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
