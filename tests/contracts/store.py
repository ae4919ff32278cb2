"""What every store promises. An adapter's tests subclass ``StoreContract`` and say how one is made."""

from __future__ import annotations

import pytest

from penstock.core.errors import STORE_UNAVAILABLE, PenstockError
from penstock.core.serving import KeyRecord
from penstock.store.sqlite import SqliteStore as StateStore

MADE_AT = 1_700_000_000.9


def record(name: str, digest: bytes = b"", services: tuple[str, ...] | None = None) -> KeyRecord:
    return KeyRecord(name, digest or name.encode() * 4, "default", "admin", services)


class StoreContract:
    def make(self) -> StateStore:
        """A new, empty store made at ``MADE_AT``."""
        raise NotImplementedError

    @pytest.fixture
    def store(self):
        store = self.make()
        yield store
        store.close()

    def test_a_new_store_is_empty_and_knows_its_age(self, store: StateStore) -> None:
        assert list(store.keys()) == []
        assert store.created_at() == 1_700_000_000

    def test_keys_come_back_whole_in_the_order_of_their_ids(self, store: StateStore) -> None:
        records = [record("b"), record("a", b"\x00\xff" * 16, ()), record("c", services=("chat", "*", "日本"))]
        for each in records:
            store.put_key(each)
        assert list(store.keys()) == sorted(records, key=lambda r: r.id)

    def test_a_key_with_the_same_id_is_replaced(self, store: StateStore) -> None:
        store.put_key(record("a", b"1" * 32))
        store.put_key(record("b"))
        store.put_key(record("a", b"2" * 32, ("chat",)))
        assert list(store.keys()) == [record("a", b"2" * 32, ("chat",)), record("b")]

    def test_two_keys_never_share_a_digest(self, store: StateStore) -> None:
        store.put_key(record("a", b"1" * 32))
        with pytest.raises(PenstockError, match="same as another key") as caught:
            store.put_key(record("b", b"1" * 32))
        assert caught.value.fault is STORE_UNAVAILABLE
        assert list(store.keys()) == [record("a", b"1" * 32)]
        store.put_key(record("a", b"1" * 32))

    def test_closing_twice_is_well_and_a_closed_store_says_so(self, store: StateStore) -> None:
        store.close()
        store.close()
        for call in (store.keys, store.created_at, lambda: store.put_key(record("a"))):
            with pytest.raises(PenstockError, match="closed") as caught:
                call()
            assert caught.value.fault is STORE_UNAVAILABLE
