"""The admin key is made once, and follows what its owner says."""

from __future__ import annotations

import pytest

from penstock.access.keys import Keyring, digest
from penstock.assembly.admin import ensure
from penstock.core.errors import CANNOT_START, PenstockError
from penstock.store.memory import MemoryStore

PEPPER = b"p" * 32


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(0.0)


def opens(store: MemoryStore, key: str) -> bool:
    return Keyring(store.keys(), PEPPER).find(key) is not None


def test_the_first_key_is_made_and_only_its_hash_is_stored(store: MemoryStore) -> None:
    made = ensure(store, PEPPER, chosen=None, kept=None)
    assert made.key.startswith("pk-admin-")
    assert made.note == ""
    assert opens(store, made.key)
    (record,) = store.keys()
    assert record.digest == digest(PEPPER, made.key)
    assert (record.id, record.project, record.role, record.services) == ("admin", "default", "admin", None)
    assert made.key not in repr(made)


def test_a_kept_key_stays(store: MemoryStore) -> None:
    first = ensure(store, PEPPER, chosen=None, kept=None)
    assert ensure(store, PEPPER, chosen="", kept=first.key) == first


@pytest.mark.parametrize("kept", [None, "pk-admin-something-else"])
def test_when_the_credentials_are_lost_a_new_one_replaces_it_and_that_is_said(
    store: MemoryStore, kept: str | None
) -> None:
    first = ensure(store, PEPPER, chosen=None, kept=None)
    second = ensure(store, PEPPER, chosen=None, kept=kept)
    assert second.key != first.key
    assert "no longer works" in second.note
    assert opens(store, second.key)
    assert not opens(store, first.key)


@pytest.mark.parametrize("chosen", ["x", "two words", "ключ", "naïve 🔑", " around ", "pk-looks-real"])
def test_a_chosen_key_may_be_any_text_and_replaces_the_one_before(store: MemoryStore, chosen: str) -> None:
    first = ensure(store, PEPPER, chosen=None, kept=None)
    assert ensure(store, PEPPER, chosen=chosen, kept=first.key).key == chosen.strip()
    assert opens(store, chosen)
    assert not opens(store, first.key)
    assert ensure(store, PEPPER, chosen=None, kept=chosen.strip()).key == chosen.strip()


@pytest.mark.parametrize("chosen", [" ", "line\nbreak", "nul\0"])
def test_a_chosen_key_that_no_client_could_present_is_refused(store: MemoryStore, chosen: str) -> None:
    with pytest.raises(PenstockError, match="PENSTOCK_ADMIN_KEY cannot be used") as caught:
        ensure(store, PEPPER, chosen=chosen, kept=None)
    assert caught.value.fault is CANNOT_START
    assert list(store.keys()) == []
