"""The admin key is made once, and follows what its owner says."""

from __future__ import annotations

import pytest

from penstock.access.keyring import Keyring
from penstock.access.keys import digest
from penstock.access.peppers import Pepper, named
from penstock.assembly.admin import Admin, ensure
from penstock.core.accounts import EVERYWHERE, Change
from penstock.core.errors import CANNOT_START, STORE_CONFLICT, PenstockError
from penstock.core.usage import Act
from penstock.store.forgetful import ForgetfulStore

NEW, OLD = named(b"n" * 32), named(b"o" * 32)
NOW = 1_800_000_000.0


class Store(ForgetfulStore):
    """Remembers what the audit got."""

    def __init__(self) -> None:
        self.acts: list[Act] = []
        super().__init__(lambda: NOW, self.acts.append)


@pytest.fixture
def store() -> Store:
    return Store()


def made(
    store: ForgetfulStore,
    *,
    chosen: str | None = None,
    kept: str | None = None,
    peppers: tuple[Pepper, ...] = (NEW,),
    id: str = "admin",
    now: float = NOW,
) -> Admin:
    return ensure(store, peppers, id, now, chosen=chosen, kept=kept)


def opens(store: ForgetfulStore, key: str) -> bool:
    """Whether it is an owner's of everything."""
    try:
        found = Keyring(store.directory(), (NEW, OLD), lambda: NOW, lambda _: None).find(key)
    except PenstockError:
        return False
    return found.everywhere and found.role == "owner"


def test_the_first_key_is_made_and_only_its_hash_is_stored(store: Store) -> None:
    admin = made(store)
    assert admin.key.startswith("pk-admin-")
    assert admin.note == ""
    assert opens(store, admin.key)
    (record,) = store.directory().keys
    assert (record.digest, record.pepper) == (digest(NEW.secret, admin.key), NEW.name)
    assert (record.id, record.project, record.role, record.created_at) == ("admin", EVERYWHERE, "owner", NOW)
    assert admin.key not in repr(admin)
    (act,) = store.acts
    assert (act.at, act.actor, act.action, act.target) == (NOW, "gateway", "keys.create", "admin")
    assert admin.key not in repr(act)


def test_a_kept_key_stays(store: Store) -> None:
    first = made(store)
    version = store.version()
    assert made(store, chosen="", kept=first.key, now=NOW + 5) == first
    assert store.version() == version


@pytest.mark.parametrize("kept", [None, "pk-admin-something-else"])
def test_when_the_credentials_are_lost_a_new_one_replaces_it_and_that_is_said(store: Store, kept: str | None) -> None:
    first = made(store)
    second = made(store, kept=kept, now=NOW + 5)
    assert second.key != first.key
    assert "no longer works" in second.note
    assert opens(store, second.key)
    assert not opens(store, first.key)
    assert [record.created_at for record in store.directory().keys] == [NOW]


@pytest.mark.parametrize("chosen", ["x", "two words", "ключ", "naïve 🔑", " around ", "pk-looks-real"])
def test_a_chosen_key_may_be_any_text_and_replaces_the_one_before(store: Store, chosen: str) -> None:
    first = made(store)
    assert made(store, chosen=chosen, kept=first.key).key == chosen.strip()
    assert opens(store, chosen)
    assert not opens(store, first.key)
    assert made(store, kept=chosen.strip()).key == chosen.strip()


@pytest.mark.parametrize("chosen", [" ", "line\nbreak", "nul\0"])
def test_a_chosen_key_that_no_client_could_present_is_refused(store: Store, chosen: str) -> None:
    with pytest.raises(PenstockError, match="PENSTOCK_ADMIN_KEY cannot be used") as caught:
        made(store, chosen=chosen)
    assert caught.value.fault is CANNOT_START
    assert store.directory().keys == ()


def test_a_kept_key_moves_to_the_new_pepper_and_stays_the_same(store: Store) -> None:
    first = made(store, peppers=(OLD,))
    assert made(store, kept=first.key, peppers=(NEW, OLD)) == first
    assert [record.pepper for record in store.directory().keys] == [NEW.name]
    assert made(store, kept=first.key, peppers=(NEW,)) == first


def test_gateways_of_one_store_have_keys_of_their_own_and_may_share_a_chosen_one(store: Store) -> None:
    one, two = made(store, id="admin-g1"), made(store, id="admin-g2")
    assert opens(store, one.key)
    assert opens(store, two.key)
    for id in ("admin-g1", "admin-g2"):
        made(store, id=id, chosen="one for both")
    assert opens(store, "one for both")
    # The other's record opens for both; its own key, no longer of any use, is still that gateway's.
    assert not opens(store, one.key)
    assert len({record.digest for record in store.directory().keys}) == 2


class Contended(Store):
    """Somebody else changes something before every one of the first ``times`` changes."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def change(self, change: Change) -> int:
        if self.times:
            self.times -= 1
            super().change(Change(version=self.version()))
        return super().change(change)


def test_somebody_elses_change_at_the_same_moment_is_no_reason_to_fail() -> None:
    store = Contended(5)
    assert opens(store, made(store).key)
    with pytest.raises(PenstockError) as caught:
        made(Contended(1000))
    assert caught.value.fault is STORE_CONFLICT
