"""What a browser keeps of somebody who is signed in: sealed, bounded in time, and for one purpose each."""

from __future__ import annotations

import base64

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from penstock.access.keyring import Keyring
from penstock.access.keys import digest
from penstock.access.sessions import LASTS_S, Errand, Identity, Seals, Session, begun, derived
from penstock.core.accounts import EVERYWHERE, KeyRecord, Scopes
from penstock.core.errors import INVALID_API_KEY, KEY_EXPIRED, KEY_REVOKED, Fault, PenstockError
from penstock.core.usage import Used
from tests.access.people import NEW, NOW, OLD, Hand, directory, key, user

SECRET = "pk-app-a-secret"


def refused(seals: Seals, text: str, now: float = NOW) -> Fault:
    with pytest.raises(PenstockError) as caught:
        seals.opened(text, now)
    return caught.value.fault


def test_the_key_of_a_purpose_is_that_of_rfc_5869() -> None:
    theirs = HKDF(hashes.SHA256(), 32, None, b"a purpose").derive(NEW.secret)
    assert derived(NEW.secret, b"a purpose") == theirs


def test_a_session_comes_back_as_it_was_until_it_is_over() -> None:
    seals, session = Seals((NEW,)), begun(NOW, key_id="app", mark=b"m" * 16)
    text = seals.session(session)
    assert seals.opened(text, NOW) == session
    assert seals.opened(text, NOW + LASTS_S - 0.001) == session
    assert refused(seals, text, NOW + LASTS_S) is KEY_EXPIRED
    assert session.expires - session.issued == 12 * 3600


def test_an_older_pepper_is_known_and_a_strange_one_is_not() -> None:
    session = begun(NOW, key_id="app")
    text = Seals((OLD,)).session(session)
    assert Seals((NEW, OLD)).opened(text, NOW) == session
    assert refused(Seals((NEW,)), text) is INVALID_API_KEY


@given(place=st.integers(0, 10_000), by=st.integers(1, 255))
def test_whatever_is_changed_is_noticed(place: int, by: int) -> None:
    seals = Seals((NEW,))
    text = seals.session(Session(b"i" * 16, NOW, NOW + 10, "app", b"m" * 16))
    at = place % len(text)
    changed = text[:at] + chr((ord(text[at]) + by) % 256) + text[at + 1 :]
    # The last character of base64 has bits that say nothing.
    if (
        base64.urlsafe_b64decode(text.split(".")[1] + "=") != _decoded(changed)
        or changed.split(".")[0] != text.split(".")[0]
    ):
        assert refused(seals, changed) is INVALID_API_KEY


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text.partition(".")[2] + "=", altchars=b"-_", validate=True)
    except ValueError:
        return b""


@given(st.text(max_size=200))
def test_any_text_is_refused(text: str) -> None:
    assert refused(Seals((NEW,)), text) is INVALID_API_KEY


def test_what_is_sealed_for_one_purpose_is_nothing_for_another() -> None:
    seals = Seals((NEW,))
    errand = Errand("state", "nonce", "verifier", 0, "/console", NOW + 600)
    text = seals.errand(errand)
    assert seals.errand_of(text, NOW) == errand
    assert seals.errand_of(text, NOW + 600) is None
    assert refused(seals, text) is INVALID_API_KEY
    assert seals.errand_of(seals.session(begun(NOW, key_id="app")), NOW) is None


def test_a_form_belongs_to_its_session() -> None:
    seals, one, other = Seals((NEW, OLD)), begun(NOW, key_id="app"), begun(NOW, key_id="app")
    assert seals.is_token(one, seals.token(one))
    assert seals.is_token(one, Seals((OLD,)).token(one))
    assert not seals.is_token(one, seals.token(other))
    assert not seals.is_token(one, "")
    assert not seals.is_token(one, "\u2028\ud800")


def test_what_no_browser_would_keep_is_refused() -> None:
    identity = Identity("https://id.example", "penstock", b"x" * 4000)
    with pytest.raises(PenstockError, match="too long"):
        Seals((NEW,)).session(begun(NOW, identity=identity))


# -- the directory behind it -------------------------------------------------------------------------------------


def ring(record: KeyRecord, hand: Hand | None = None, used: list[Used] | None = None) -> Keyring:
    people = (user("ann"), user("eve", disabled_at=NOW - 1))
    return Keyring(
        directory(record, users=people), (NEW, OLD), hand or Hand(), (used if used is not None else []).append
    )


def turned_away(keyring: Keyring, mark: bytes, id: str = "app") -> Fault:
    with pytest.raises(PenstockError) as caught:
        keyring.find_id(id, mark)
    return caught.value.fault


def test_a_session_may_what_its_key_may_now() -> None:
    record = key(SECRET, project=EVERYWHERE, role="owner", scopes=Scopes(networks=("10.0.0.0/8",)))
    keyring = ring(record)
    assert keyring.find_id("app", keyring.mark_of(SECRET)) == keyring.find(SECRET)
    lower = ring(msgspec.structs.replace(record, role="viewer"))
    assert lower.find_id("app", keyring.mark_of(SECRET)).role == "viewer"


def test_whatever_ends_a_key_ends_its_sessions() -> None:
    record = key(SECRET)
    mark = ring(record).mark_of(SECRET)
    change = msgspec.structs.replace
    assert turned_away(ring(change(record, revoked_at=NOW)), mark) is KEY_REVOKED
    assert turned_away(ring(change(record, project="gone")), mark) is KEY_REVOKED
    assert turned_away(ring(change(record, user="eve")), mark) is KEY_REVOKED
    assert turned_away(ring(change(record, expires_at=NOW)), mark) is KEY_EXPIRED
    assert turned_away(ring(record), mark, "another") is INVALID_API_KEY


def test_a_new_secret_ends_sessions_at_once_though_the_old_one_has_grace() -> None:
    record = key(SECRET)
    mark = ring(record).mark_of(SECRET)
    rotated = msgspec.structs.replace(
        record, digest=b"n" * 32, previous_digest=record.digest, previous_until=NOW + 3600
    )
    keyring = ring(rotated)
    assert keyring.find(SECRET).key_id == "app"
    assert turned_away(keyring, mark) is KEY_REVOKED


def test_a_key_that_moves_to_a_new_pepper_keeps_its_sessions() -> None:
    record = key(SECRET, under=OLD)
    before = ring(record)
    mark = before.mark_of(SECRET)
    assert before.find_id("app", mark).key_id == "app"
    moved = msgspec.structs.replace(record, digest=digest(NEW.secret, SECRET), pepper=NEW.name)
    assert ring(moved).find_id("app", mark).key_id == "app"
    assert turned_away(ring(moved), b"") is KEY_REVOKED
    assert turned_away(ring(moved), mark[:15]) is KEY_REVOKED


def test_a_session_counts_as_a_use_of_its_key_once_a_minute() -> None:
    used: list[Used] = []
    hand = Hand()
    keyring = ring(key(SECRET), hand, used)
    mark = keyring.mark_of(SECRET)
    for _ in range(3):
        keyring.find_id("app", mark)
    hand.at += 61
    keyring.find_id("app", mark)
    assert [each.key_id for each in used] == ["app", "app"]
