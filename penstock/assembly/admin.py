"""The admin key: made once, kept hashed in the store, plain only in its owner's credentials."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

import msgspec

from penstock.access.keys import digest, mint, unpresentable
from penstock.access.peppers import Pepper
from penstock.core.accounts import EVERYWHERE, Change, KeyRecord
from penstock.core.errors import CANNOT_START, STORE_CONFLICT, PenstockError
from penstock.core.usage import Act
from penstock.store import StateStore

ADMIN = "admin"
ROLE = "owner"
_TRIES = 20


class Admin(msgspec.Struct, frozen=True):
    """``key`` is plain; ``note`` is what its owner should hear, or empty."""

    key: str
    note: str = ""

    def __repr__(self) -> str:
        return "Admin()"


def ensure(
    store: StateStore, peppers: Sequence[Pepper], id: str, now: float, *, chosen: str | None, kept: str | None
) -> Admin:
    """The admin key of one home, with its record in the store under ``id``.

    ``chosen`` is what the operator set, None or empty: nothing; ``kept`` is what the credentials hold. A chosen key
    replaces the one before; a kept one that is still right stays; otherwise one is made. ``peppers`` the current one
    first. Raises ``PenstockError`` for a chosen key that no client could present.
    """
    if chosen:
        if why := unpresentable(chosen):
            raise PenstockError(CANNOT_START, f"PENSTOCK_ADMIN_KEY cannot be used: {why}. Choose another.")
        _put(store, peppers, id, now, chosen)
        return Admin(chosen.strip())
    known = _record(store, id)
    if kept and known and any(hmac.compare_digest(known.digest, digest(each.secret, kept)) for each in peppers):
        _put(store, peppers, id, now, kept)
        return Admin(kept)
    key = mint(id)
    _put(store, peppers, id, now, key)
    note = "The credentials held no valid admin key, so a new one was made; the one before no longer works."
    return Admin(key, note if known else "")


def _record(store: StateStore, id: str) -> KeyRecord | None:
    return next((record for record in store.directory().keys if record.id == id), None)


def _put(store: StateStore, peppers: Sequence[Pepper], id: str, now: float, key: str) -> None:
    """The key opens everything from now on, by this record unless another, of a gateway of the same store, does."""
    hashed = digest(peppers[0].secret, key)
    for tries in range(_TRIES):
        directory = store.directory()
        if any(
            each.digest == hashed and each.project == EVERYWHERE and each.role == ROLE and each.revoked_at is None
            for each in directory.keys
        ):
            return
        before = next((each for each in directory.keys if each.id == id), None)
        record = KeyRecord(
            id=id,
            digest=hashed,
            pepper=peppers[0].name,
            project=EVERYWHERE,
            role=ROLE,
            name="The admin key of this gateway",
            created_at=now if before is None else before.created_at,
        )
        act = Act(at=now, actor="gateway", project=EVERYWHERE, action="keys.create", target=id)
        try:
            store.change(Change(version=directory.version, put=(record,), act=act))
        except PenstockError as error:
            if error.fault is not STORE_CONFLICT or tries == _TRIES - 1:
                raise
        else:
            return
