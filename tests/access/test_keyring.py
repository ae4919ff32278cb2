"""Whose key it is, and until when, to the instant."""

from __future__ import annotations

import time

import msgspec
import pytest

from penstock.access.keyring import Keyring, is_token
from penstock.access.keys import digest
from penstock.access.roles import permissions_of
from penstock.core.accounts import EVERYWHERE, Directory, KeyRecord, Role, Scopes
from penstock.core.errors import INVALID_API_KEY, KEY_EXPIRED, KEY_REVOKED, Fault, PenstockError
from penstock.core.identity import Principal
from penstock.core.policy import Priority
from penstock.core.usage import Used
from tests.access.people import NEW, NOW, OLD, Hand, directory, key, user

SECRET = "pk-app-a-secret"


def ring(*keys: KeyRecord, hand: Hand | None = None, used: list[Used] | None = None) -> Keyring:
    return Keyring(directory(*keys), (NEW, OLD), hand or Hand(), (used if used is not None else []).append)


def refused(keyring: Keyring, presented: str = SECRET) -> Fault:
    with pytest.raises(PenstockError) as caught:
        keyring.find(presented)
    assert SECRET not in caught.value.message
    return caught.value.fault


def test_a_key_is_whose_record_has_its_digest() -> None:
    scopes = Scopes(services=("chat",), models=("m",), endpoints=("/v1/x",), tools=(), networks=("10.0.0.0/8",))
    found = ring(key(SECRET, team="ops", scopes=scopes), key("other", "another")).find(SECRET)
    assert found == Principal(
        key_id="app",
        project="red",
        role="developer",
        permissions=permissions_of("developer") or frozenset(),
        team="ops",
        services=frozenset({"chat"}),
        models=frozenset({"m"}),
        endpoints=frozenset({"/v1/x"}),
        tools=frozenset(),
        networks=("10.0.0.0/8",),
        priority=Priority.NORMAL,
    )


def test_nobodys_key_is_told_so() -> None:
    assert refused(ring(key("other"))) is INVALID_API_KEY
    assert refused(ring()) is INVALID_API_KEY
    assert refused(ring(key(SECRET)), "") is INVALID_API_KEY


@pytest.mark.parametrize(
    ("project", "asked", "given"),
    [
        ("red", "", Priority.NORMAL),
        ("red", "high", Priority.NORMAL),
        ("red", "low", Priority.LOW),
        ("vip", "", Priority.HIGH),
        ("vip", "high", Priority.HIGH),
        ("blue", "normal", Priority.LOW),
        (EVERYWHERE, "", Priority.HIGH),
        (EVERYWHERE, "low", Priority.LOW),
    ],
)
def test_a_key_claims_no_better_than_its_project_may(project: str, asked: str, given: Priority) -> None:
    assert ring(key(SECRET, project=project, priority=asked)).find(SECRET).priority is given


def test_a_key_of_everywhere_spends_under_default() -> None:
    found = ring(key(SECRET, project=EVERYWHERE, role="owner")).find(SECRET)
    assert (found.project, found.everywhere) == ("default", True)
    assert found.may("roles:write")
    assert not ring(key(SECRET)).find(SECRET).everywhere


def test_a_role_that_is_no_more_allows_nothing_and_a_custom_one_what_it_says() -> None:
    record = key(SECRET, role="caller")
    assert ring(record).find(SECRET).permissions == frozenset()
    with_role = msgspec.structs.replace(directory(record), roles=(Role(name="caller", permissions=("call",)),))
    assert Keyring(with_role, (NEW,), Hand(), [].append).find(SECRET).permissions == {"call"}


def test_expiry_is_exact_for_a_key_in_the_cache_too() -> None:
    hand = Hand(NOW)
    keyring = ring(key(SECRET, expires_at=NOW + 5), hand=hand)
    keyring.find(SECRET)
    hand.at = NOW + 4.999
    keyring.find(SECRET)
    hand.at = NOW + 5
    assert refused(keyring) is KEY_EXPIRED
    hand.at = NOW + 1
    keyring.find(SECRET)


def test_after_a_rotation_both_secrets_work_until_the_grace_ends_and_not_after() -> None:
    hand = Hand(NOW)
    record = key("pk-app-new", previous_digest=digest(OLD.secret, SECRET), previous_until=NOW + 60)
    keyring = ring(record, hand=hand)
    for at in (NOW, NOW + 59.999_999):
        hand.at = at
        assert keyring.find(SECRET) == keyring.find("pk-app-new")
    hand.at = NOW + 60
    with pytest.raises(PenstockError, match=r"was rotated.*Use the new secret") as caught:
        keyring.find(SECRET)
    assert caught.value.fault is KEY_EXPIRED
    assert keyring.find("pk-app-new").key_id == "app"


def test_a_grace_ends_with_the_key_and_one_without_an_end_is_none() -> None:
    hand = Hand(NOW)
    old = digest(NEW.secret, SECRET)
    keyring = ring(key("new", expires_at=NOW + 1, previous_digest=old, previous_until=NOW + 60), hand=hand)
    keyring.find(SECRET)
    hand.at = NOW + 1
    assert refused(keyring) is KEY_EXPIRED
    assert refused(ring(key("new", previous_digest=old))) is KEY_EXPIRED


@pytest.mark.parametrize(
    "fields",
    [
        {"revoked_at": NOW - 1},
        {"project": "gone"},
        {"project": "never-was"},
        {"user": "ann"},
        {"user": "never-was"},
        {"revoked_at": NOW - 1, "expires_at": NOW - 2},
    ],
)
def test_a_key_goes_with_its_project_and_its_user(fields: dict[str, object]) -> None:
    people = (user("ann", disabled_at=NOW), user("bob"))
    keyring = Keyring(directory(key(SECRET, **fields), users=people), (NEW,), Hand(), [].append)
    assert refused(keyring) is KEY_REVOKED


def test_a_key_that_acts_for_somebody_says_whom() -> None:
    keyring = Keyring(directory(key(SECRET, user="bob"), users=(user("bob"),)), (NEW,), Hand(), [].append)
    assert keyring.find(SECRET).user == "bob"


def test_a_new_directory_is_a_new_keyring_and_nothing_of_the_old_is_left() -> None:
    first = ring(key(SECRET))
    assert first.find(SECRET)
    told: list[Used] = []
    second = Keyring(directory(key(SECRET, revoked_at=NOW)), (NEW,), Hand(), told.append, before=first)
    assert refused(second) is KEY_REVOKED
    third = Keyring(directory(), (NEW,), Hand(), told.append, before=second)
    assert refused(third) is INVALID_API_KEY
    assert told == []


def test_a_record_without_a_peppers_name_is_found_under_any() -> None:
    for under in (NEW, OLD):
        record = msgspec.structs.replace(key(SECRET, under=under), pepper="")
        assert ring(record).find(SECRET).key_id == "app"


def test_a_pepper_that_is_gone_takes_its_keys_along() -> None:
    assert refused(Keyring(directory(key(SECRET, under=OLD)), (NEW,), Hand(), [].append)) is INVALID_API_KEY


def test_a_key_moves_to_the_new_pepper_when_it_is_used_and_the_old_pepper_can_go() -> None:
    used: list[Used] = []
    record = key(SECRET, under=OLD)
    ring(record, used=used).find(SECRET)
    assert used == [Used("app", NOW, digest(NEW.secret, SECRET), NEW.name, record.digest)]
    moved = msgspec.structs.replace(record, digest=used[0].digest, pepper=used[0].pepper)
    assert Keyring(directory(moved), (NEW,), Hand(), used.append).find(SECRET).key_id == "app"
    assert used[1:] == [Used("app", NOW)]


def test_an_old_secret_in_its_grace_says_which_of_the_two_it_is() -> None:
    used: list[Used] = []
    before = digest(OLD.secret, SECRET)
    ring(key("new", previous_digest=before, previous_pepper=OLD.name, previous_until=NOW + 9), used=used).find(SECRET)
    assert used == [Used("app", NOW, digest(NEW.secret, SECRET), NEW.name, before)]


def test_use_is_told_once_a_minute_for_each_key_over_directories_and_secrets() -> None:
    hand, used = Hand(NOW), list[Used]()
    record = key(SECRET, previous_digest=digest(NEW.secret, "old"), previous_until=NOW + 999)
    keyring = ring(record, key("other", "other"), hand=hand, used=used)
    for presented in (SECRET, SECRET, "old", f" {SECRET} ", "other"):
        keyring.find(presented)
    assert [each.key_id for each in used] == ["app", "other"]
    hand.at = NOW + 59.9
    keyring = Keyring(directory(record), (NEW, OLD), hand, used.append, before=keyring)
    keyring.find(SECRET)
    assert len(used) == 2
    hand.at = NOW + 60
    keyring.find(SECRET)
    assert used[2:] == [Used("app", NOW + 60)]


def test_what_looks_like_a_token_is_given_to_who_checks_tokens() -> None:
    token, somebody = "eyJhbGciOiJub25lIn0.e30.", Principal(key_id="jwt:ann", project="red", role="viewer")
    seen: list[str] = []

    def verify(text: str) -> Principal:
        seen.append(text)
        return somebody

    keyring = Keyring(directory(key(SECRET)), (NEW,), Hand(), [].append, verify)
    assert keyring.find(f" {token}") is somebody
    assert keyring.find(SECRET).key_id == "app"
    assert seen == [token]


def test_without_issuers_a_key_may_look_like_a_token() -> None:
    assert is_token("eyJ.my.key")
    assert not is_token("eyJmy.key")
    assert ring(key("eyJ.my.key")).find("eyJ.my.key").key_id == "app"


def best(times: int, work: object) -> float:
    """The shortest of some runs, in seconds: what it costs when nobody else is at work."""
    assert callable(work)
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return min(taken)


def test_many_keys_are_ready_at_once_and_each_is_found_quickly() -> None:
    keys = tuple(
        KeyRecord(id=f"k{n}", digest=n.to_bytes(32, "big"), project="red", role="developer") for n in range(20_000)
    )
    whole: Directory = directory(*keys, key(SECRET))
    assert best(5, lambda: Keyring(whole, (NEW, OLD), Hand(), [].append)) < 0.15
    keyring = Keyring(whole, (NEW, OLD), time.time, [].append)

    def thousand() -> None:
        find = keyring.find
        for _ in range(1000):
            find(SECRET)

    assert best(20, thousand) < 0.003
