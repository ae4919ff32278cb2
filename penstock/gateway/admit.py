"""Admit: who calls, by the key they present."""

from __future__ import annotations

from penstock.core.errors import INVALID_API_KEY, PenstockError
from penstock.gateway.snapshot import Admission, Snapshot


def admit(presented: str | None, snapshot: Snapshot) -> Admission:
    """Raises ``PenstockError(INVALID_API_KEY)`` for no key or a wrong one; the key itself is never repeated."""
    if not presented:
        raise PenstockError(
            INVALID_API_KEY,
            "No API key was sent. Put it in the header 'Authorization: Bearer YOUR_KEY'.",
        )
    principal = snapshot.keyring.find(presented)
    if principal is None:
        raise PenstockError(
            INVALID_API_KEY,
            "The API key is not valid here. The admin key of this gateway is in the file 'credentials' "
            "of its home folder ($PENSTOCK_HOME).",
        )
    return Admission(snapshot, principal)
