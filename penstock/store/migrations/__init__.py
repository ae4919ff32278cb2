"""Migrations: numbered steps between the shapes that a store had, each of them forward and back.

A step is a file ``versions/NNNN_what.py`` with ``upgrade`` and ``downgrade``, by Alembic. It spells out what it makes
and imports nothing of Penstock, because it must do the same for ever; one that has been released is never changed.
"""

from __future__ import annotations

import importlib
import logging
import threading
from pathlib import Path

import sqlalchemy as sql

from penstock.core.errors import STORE_UNAVAILABLE, PenstockError
from penstock.store.database import Database

SCRIPTS = Path(__file__).parent
PATIENCE_S = 300.0
"""How long one statement may take, or another gateway's migration of the same store."""

_ALEMBIC = ("alembic.config", "alembic.command")
_LOCK = int.from_bytes(b"PENSTOCK", "big")
# Alembic hands a step its database in a global.
_one_at_a_time = threading.Lock()
_log = logging.getLogger(__name__)


def revisions() -> tuple[str, ...]:
    """All that this Penstock knows, oldest first."""
    return tuple(sorted(script.name[:4] for script in (SCRIPTS / "versions").glob("[0-9]*_*.py")))


def migrate(database: Database, *, now: float, to: str = "head") -> str:
    """Brings a store, or an empty database, to the revision ``to``, and returns that.

    All of it happens or nothing. Of several gateways that start at once one does it and the others wait for it.
    ``now``, in seconds since the epoch, dates a new store. Going back keeps every row that the older shape can hold
    (each step's ``downgrade`` says what that is). Raises ``PenstockError(STORE_UNAVAILABLE)`` when the store was
    written by a newer Penstock, or cannot be migrated.
    """
    known = revisions()
    wanted = known[-1] if to == "head" else to
    if wanted not in known:
        raise ValueError(f"there is no revision {to!r}; there are {', '.join(known)}")
    with database.read() as connection:
        found = _found(connection, database.kind)
    _check(database, found, known)
    if found == wanted:
        return wanted
    with _one_at_a_time, database.begin(PATIENCE_S) as connection:
        if database.kind == "postgresql":
            connection.execute(sql.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        # Another may have been here while the lock was waited for.
        found = _found(connection, database.kind)
        _check(database, found, known)
        if found != wanted:
            _run(connection, database.kind, found, wanted, now)
            _log.info("the store %s was brought from revision %s to %s", database.name, found or "none", wanted)
    return wanted


def _found(connection: sql.Connection, kind: str) -> str:
    """The revision that a store has, empty for none."""
    if sql.inspect(connection).has_table("alembic_version"):
        return str(connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() or "")
    # Before there was Alembic there was SQLite only, which has a place for a number.
    old = connection.exec_driver_sql("PRAGMA user_version").scalar_one() if kind == "sqlite" else 0
    return f"{old:04d}" if old else ""


def _check(database: Database, found: str, known: tuple[str, ...]) -> None:
    if found and found not in known:
        raise PenstockError(
            STORE_UNAVAILABLE,
            f"The store {database.name} was written by a newer Penstock (revision {found}, this one knows "
            f"{known[-1]}). Upgrade Penstock, or put back a copy of the store from before.",
        )


def _run(connection: sql.Connection, kind: str, found: str, wanted: str, now: float) -> None:
    # By name: a store that is as it should be is opened without loading Alembic.
    configuration, command = map(importlib.import_module, _ALEMBIC)
    config = configuration.Config(attributes={"connection": connection, "now": now})
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    if found and not sql.inspect(connection).has_table("alembic_version"):
        command.stamp(config, found)
    if found < wanted:
        command.upgrade(config, wanted)
    else:
        command.downgrade(config, wanted)
    if kind == "sqlite":
        # What a Penstock from before Alembic looks at, to leave a newer store alone.
        connection.exec_driver_sql(f"PRAGMA user_version = {int(wanted)}")
