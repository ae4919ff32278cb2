"""The store that forgets: the fake of the room, for tests and for servers that keep nothing."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.core.errors import STORE_UNAVAILABLE, PenstockError
from penstock.core.serving import KeyRecord


class MemoryStore:
    """State that lives as long as the object. ``now`` is in seconds since 1970-01-01 UTC."""

    def __init__(self, now: float) -> None:
        self._created_at = int(now)
        self._keys: dict[str, KeyRecord] | None = {}

    def _open(self) -> dict[str, KeyRecord]:
        if self._keys is None:
            raise PenstockError(STORE_UNAVAILABLE, "The store is closed.")
        return self._keys

    def keys(self) -> Sequence[KeyRecord]:
        return tuple(sorted(self._open().values(), key=lambda record: record.id))

    def put_key(self, record: KeyRecord) -> None:
        keys = self._open()
        if any(other.digest == record.digest for other in keys.values() if other.id != record.id):
            raise PenstockError(STORE_UNAVAILABLE, f"Key {record.id!r} is the same as another key; choose another.")
        keys[record.id] = record

    def created_at(self) -> int:
        self._open()
        return self._created_at

    def close(self) -> None:
        self._keys = None
