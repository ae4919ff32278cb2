"""Admit: who calls, by the key they present."""

from __future__ import annotations

from penstock.access.scopes import check_network
from penstock.core.errors import INVALID_API_KEY, PenstockError
from penstock.gateway.snapshot import Admission, Snapshot


def admit(presented: str | None, address: str, snapshot: Snapshot) -> Admission:
    """Raises ``PenstockError(INVALID_API_KEY)`` for no key, what the keyring says of one that may not be used, and
    NETWORK_FORBIDDEN; the key itself is never repeated."""
    if not presented:
        raise PenstockError(
            INVALID_API_KEY,
            "No API key was sent. Put it in the header 'Authorization: Bearer YOUR_KEY'.",
        )
    principal = snapshot.keyring.find(presented)
    check_network(principal, address)
    return Admission(snapshot, principal, address)
