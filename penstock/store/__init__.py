"""The store: what outlives a process. One writer, the supervisor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from penstock.core.serving import KeyRecord


class StateStore(Protocol):
    """The port. Calls block; they are made at start and by background loops, never on the live path.

    May be used from any thread, one call at a time. Every call raises ``PenstockError(STORE_UNAVAILABLE)`` when the
    state cannot be read or written. ``tests/contracts/store.py`` is its law, and every adapter runs it.
    """

    def keys(self) -> Sequence[KeyRecord]:
        """Every key, in the order of their ids."""

    def put_key(self, record: KeyRecord) -> None:
        """Adds a key, or replaces the one with the same id; durable when it returns."""

    def created_at(self) -> int:
        """When this store was made, in seconds since 1970-01-01 UTC."""

    def close(self) -> None:
        """Lets go of the store. Idempotent."""
