"""Keys are found by digest, however they travelled."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.access.keys import Keyring, digest, mint, unpresentable
from penstock.core.identity import Principal
from penstock.core.serving import KeyRecord

PEPPER = b"p" * 32


def record(key: str, services: tuple[str, ...] | None = None) -> KeyRecord:
    return KeyRecord("admin", digest(PEPPER, key), "default", "admin", services)


def test_a_minted_key_says_its_public_id_and_is_never_the_same() -> None:
    prefix, public, secret = mint("admin").split("-", 2)
    assert (prefix, public) == ("pk", "admin")
    assert len(secret) >= 43
    assert len({mint() for _ in range(100)}) == 100
    assert mint().isascii()


def test_the_digest_is_an_hmac_under_the_pepper() -> None:
    assert digest(PEPPER, "pk-a-b") == hmac.new(PEPPER, b"pk-a-b", hashlib.sha256).digest()
    assert digest(b"q" * 32, "pk-a-b") != digest(PEPPER, "pk-a-b")


def test_a_keyring_finds_its_keys_and_no_others() -> None:
    keyring = Keyring((record("right", ("chat",)),), PEPPER)
    assert keyring.find("right") == Principal("admin", "default", "admin", frozenset({"chat"}))
    assert keyring.find("wrong") is None
    assert keyring.find("") is None
    assert Keyring((record("right"),), PEPPER).find("right") == Principal("admin", "default", "admin", None)
    assert Keyring((record("right"),), b"q" * 32).find("right") is None


@given(st.text(min_size=1).filter(lambda key: unpresentable(key) is None))
def test_any_key_is_found_however_its_header_was_written_and_read(key: str) -> None:
    keyring = Keyring((record(key),), PEPPER)
    assert keyring.find(key) is not None
    assert keyring.find(f"  {key}\t") is not None
    assert keyring.find(key.strip(" \t\r\n").encode("utf-8").decode("latin-1")) is not None


def test_a_key_that_came_from_a_broken_environment_is_found() -> None:
    from_environment = b"k\xff\xfe".decode("utf-8", "surrogateescape")
    assert Keyring((record(from_environment),), PEPPER).find("k\xff\xfe") is not None


def test_a_latin_1_client_is_understood() -> None:
    assert Keyring((record("clé"),), PEPPER).find(b"cl\xe9".decode("latin-1")) is not None


@pytest.mark.parametrize("key", ["", " ", "\t\n", "a\nb", "a\0b", "a\x7fb"])
def test_what_no_header_can_carry_is_said(key: str) -> None:
    assert unpresentable(key)


@pytest.mark.parametrize("key", ["x", "two words", "ключ", "with trailing newline\n", "🔑", '"quoted"'])
def test_any_other_text_may_be_a_key(key: str) -> None:
    assert unpresentable(key) is None
