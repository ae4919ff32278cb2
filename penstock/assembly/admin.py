"""The admin key: made once, kept hashed in the store, plain only in its owner's credentials."""

from __future__ import annotations

import hmac

import msgspec

from penstock.access.keys import digest, mint, unpresentable
from penstock.core.errors import CANNOT_START, PenstockError
from penstock.core.serving import KeyRecord
from penstock.store.sqlite import SqliteStore

ADMIN = "admin"
PROJECT = "default"


class Admin(msgspec.Struct, frozen=True):
    """``key`` is plain; ``note`` is what its owner should hear, or empty."""

    key: str
    note: str = ""

    def __repr__(self) -> str:
        return "Admin()"


def ensure(store: SqliteStore, pepper: bytes, *, chosen: str | None, kept: str | None) -> Admin:
    """The admin key, with its record in the store.

    ``chosen`` is what the operator set, None or empty: nothing; ``kept`` is what the credentials hold. A chosen key
    replaces the one before; a kept one that is still right stays; otherwise one is made. Raises ``PenstockError``
    for a chosen key that no client could present.
    """
    records = store.keys()
    known = next((record for record in records if record.id == ADMIN), None)
    if chosen:
        if why := unpresentable(chosen):
            raise PenstockError(CANNOT_START, f"PENSTOCK_ADMIN_KEY cannot be used: {why}. Choose another.")
        _put(store, known, digest(pepper, chosen))
        return Admin(chosen.strip())
    if kept and known and hmac.compare_digest(known.digest, digest(pepper, kept)):
        return Admin(kept)
    key = mint(ADMIN)
    _put(store, known, digest(pepper, key))
    note = "The credentials held no valid admin key, so a new one was made; the one before no longer works."
    return Admin(key, note if known else "")


def _put(store: SqliteStore, known: KeyRecord | None, hashed: bytes) -> None:
    if known is None or known.digest != hashed:
        store.put_key(KeyRecord(id=ADMIN, digest=hashed, project=PROJECT, role=ADMIN))
