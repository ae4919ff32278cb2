"""PostgreSQL by psycopg 3 (``pip install 'penstock[postgres]'``), with an end to every wait."""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from typing import Any, TypeVar

import psycopg
import sqlalchemy as sql
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.pool import ConnectionPoolEntry

_R = TypeVar("_R")
_BEYOND_S = 1.0
"""How much longer than the server's own limit is waited for it to say that it was reached."""


class PatientConnection(psycopg.Connection[Any]):
    """Gives up, and is closed, when the server leaves a statement unanswered for ``patience_s`` and a second.

    The server has the same limit and usually says so itself; this is for one that is stopped, or cut off without a
    word, to which TCP alone would listen for a quarter of an hour.
    """

    patience_s: float = math.inf

    def wait(self, gen: Generator[Any, Any, _R], *args: Any, **kwargs: Any) -> _R:
        return super().wait(self._bounded(gen), *args, **kwargs)

    def _bounded(self, gen: Generator[Any, Any, _R]) -> Generator[Any, Any, _R]:
        # psycopg resumes the generator when the socket is ready, and a few times a second when it is not.
        end = time.monotonic() + self.patience_s + _BEYOND_S
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready and time.monotonic() > end:
                    self.close()
                    raise psycopg.OperationalError(f"no answer within {self.patience_s:g} seconds")
                wanted = gen.send(ready)
        except StopIteration as stop:
            result: _R = stop.value
            return result


def connect(url: sql.URL, patience_s: float, connections: int) -> sql.Engine:
    """An engine that connects when it is first used, for ``postgresql+psycopg:``."""
    defaults = {
        "application_name": "penstock",
        "connect_timeout": str(max(2, math.ceil(patience_s))),
        # Of several hosts in the URL, the one that can be written.
        "target_session_attrs": "read-write",
        "tcp_user_timeout": str(int(patience_s * 1000)),
    }
    engine = sql.create_engine(
        url,
        pool_size=connections,
        max_overflow=connections,
        pool_timeout=patience_s,
        pool_pre_ping=True,
        hide_parameters=True,
        # Prepared statements outlive a transaction; a pooler like PgBouncer gives the next one another server.
        connect_args={"prepare_threshold": None},
    )

    @sql.event.listens_for(engine, "do_connect")
    def dial(_: Dialect, __: ConnectionPoolEntry, args: Any, kwargs: Any) -> PatientConnection:
        connection = PatientConnection.connect(*args, **{**defaults, **kwargs})
        connection.patience_s = patience_s
        return connection

    @sql.event.listens_for(engine, "connect")
    def limit(connection: PatientConnection, _: ConnectionPoolEntry) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT set_config('statement_timeout', %(ms)s, false), set_config('lock_timeout', %(ms)s, false),"
                " set_config('idle_in_transaction_session_timeout', %(idle)s, false)",
                {"ms": str(int(patience_s * 1000)), "idle": str(int(patience_s * 12_000))},
            )
        connection.commit()

    @sql.event.listens_for(engine, "checkout")
    def renew(connection: PatientConnection, *_: object) -> None:
        connection.patience_s = patience_s

    return engine


def allow(connection: sql.Connection, patience_s: float) -> None:
    """Lets every statement of this transaction take so long."""
    driver = connection.connection.driver_connection
    if not isinstance(driver, PatientConnection):
        raise TypeError(f"{type(driver).__name__} was not made here")
    driver.patience_s = patience_s
    connection.execute(
        sql.text("SELECT set_config('statement_timeout', :ms, true), set_config('lock_timeout', :ms, true)"),
        {"ms": str(int(patience_s * 1000))},
    )
