"""What a database's errors mean, in words that name the fault and the mend and never a password."""

from __future__ import annotations

import re
import sqlite3
from typing import Literal

import msgspec
from sqlalchemy.exc import IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from penstock.core.errors import STORE_CONFLICT, STORE_UNAVAILABLE, PenstockError


class Place(msgspec.Struct, frozen=True):
    """Where a database is. ``hidden`` are texts that no message may hold."""

    kind: Literal["sqlite", "postgresql"]
    name: str
    user: str
    patience_s: float
    hidden: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Place({self.name!r})"


def explained(place: Place, error: BaseException) -> PenstockError:
    """The error of a driver, of SQLAlchemy, of the file system, or of a decoder, as one of ours."""
    if isinstance(error, sqlite3.IntegrityError | IntegrityError) or _state(error)[:2] == "23":
        return PenstockError(STORE_CONFLICT, "Somebody else took the same name or value just now. Try again.")
    if _state(error) in ("40001", "40P01"):
        return PenstockError(STORE_CONFLICT, "Somebody else changed the same thing at the same moment. Try again.")
    if isinstance(error, msgspec.DecodeError):
        return PenstockError(STORE_UNAVAILABLE, _damaged(place, str(error)))
    if isinstance(error, PoolTimeout):
        return PenstockError(
            STORE_UNAVAILABLE,
            f"The store {place.name} is busy: no connection to it became free within {place.patience_s:g} seconds. "
            "Try again.",
        )
    words = _sqlite(place, error) if place.kind == "sqlite" else _postgresql(place, error)
    return PenstockError(STORE_UNAVAILABLE, words)


def _damaged(place: Place, why: str) -> str:
    return (
        f"The store {place.name} is damaged ({why}). Put back a copy of it, or move it away to start anew; "
        "the keys in it are then gone."
    )


def _sqlite(place: Place, error: BaseException) -> str:
    code = getattr(error, "sqlite_errorcode", None)
    primary = code & 0xFF if code is not None else None
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return (
            f"The store {place.name} is held by another process. Stop that one first, or set PENSTOCK_HOME to "
            "another home."
        )
    if primary in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return _damaged(place, str(error))
    if primary == sqlite3.SQLITE_FULL:
        return f"The store {place.name} cannot be written: the disk is full. Make room on it."
    return (
        f"The store {place.name} cannot be opened or written ({error}). Give this user the right to write there, "
        "or set PENSTOCK_HOME to a directory where it may."
    )


# Of PostgreSQL's error codes (its manual, appendix A), those that somebody can do something about.
_MENDS = {
    "28000": "refuses the user {user!r}. Give it the right to connect (pg_hba.conf), or use another one.",
    "28P01": "refuses the password of the user {user!r}. Correct it in the store's URL.",
    "3D000": "does not exist on its server. Create it (CREATE DATABASE), or correct the store's URL.",
    "42501": "does not let the user {user!r} do this ({why}). Make it the owner of the database.",
    "53100": "cannot be written: its disk is full. Make room on it.",
    "53300": "takes no more connections. Raise max_connections on its server, or close others.",
    "57014": "did not answer within {patience:g} seconds. Look at what its server is busy with, and try again.",
    "55P03": "did not answer within {patience:g} seconds, because somebody holds a lock in it. Find out who: "
    "select * from pg_stat_activity.",
    "25006": "can only be read: its server is a standby. Name the primary in the store's URL.",
}
# Errors while connecting come as text alone.
_TEXTS = {
    "password authentication failed": "28P01",
    "no password supplied": "28P01",
    "no pg_hba.conf entry": "28000",
    "role ": "28000",
    "database ": "3D000",
    "session is read-only": "25006",
    "too many clients": "53300",
    "remaining connection slots": "53300",
}


def _postgresql(place: Place, error: BaseException) -> str:
    why = _primary(place, error)
    state = _state(error)
    if not state:
        told = why.rpartition("FATAL:  ")[2]
        state = next((code for text, code in _TEXTS.items() if told.startswith(text) or text in told[:200]), "")
    if state in _MENDS:
        return f"The store {place.name} " + _MENDS[state].format(user=place.user, why=why, patience=place.patience_s)
    if state[:2] in ("42", "XX"):
        return f"The store {place.name} is not as Penstock left it ({why}). Put back a backup of it."
    return (
        f"The store {place.name} cannot be reached ({why}). See that its URL is right, that its server runs "
        "and that this machine may connect to it."
    )


def _state(error: BaseException) -> str:
    state = getattr(error, "sqlstate", None)
    return state if isinstance(state, str) else ""


def _primary(place: Place, error: BaseException) -> str:
    # The whole text of an error may quote the values of a statement; its primary message does not.
    said = getattr(getattr(error, "diag", None), "message_primary", None) or str(error)
    for text in filter(None, place.hidden):
        said = re.sub(rf"(?<!\w){re.escape(text)}(?!\w)", "***", said)
    return " ".join(str(said).split())[:300]
