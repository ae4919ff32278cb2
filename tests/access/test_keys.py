"""What a key looks like, and that it has one digest however it travelled."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.access.keys import digest, mint, unpresentable

PEPPER = b"p" * 32


def test_a_minted_key_says_its_public_id_and_is_never_the_same() -> None:
    prefix, public, secret = mint("admin").split("-", 2)
    assert (prefix, public) == ("pk", "admin")
    assert len(secret) >= 43
    assert len({mint() for _ in range(100)}) == 100
    assert mint().isascii()


def test_the_digest_is_an_hmac_under_the_pepper() -> None:
    assert digest(PEPPER, "pk-a-b") == hmac.new(PEPPER, b"pk-a-b", hashlib.sha256).digest()
    assert digest(b"q" * 32, "pk-a-b") != digest(PEPPER, "pk-a-b")
    assert digest(PEPPER, "pk-a-c") != digest(PEPPER, "pk-a-b")


@given(st.text(min_size=1).filter(lambda key: unpresentable(key) is None))
def test_any_key_has_one_digest_however_its_header_was_written_and_read(key: str) -> None:
    kept = digest(PEPPER, key)
    assert digest(PEPPER, f"  {key}\t") == kept
    assert digest(PEPPER, key.strip(" \t\r\n").encode("utf-8").decode("latin-1")) == kept


def test_a_key_that_came_from_a_broken_environment_is_the_same() -> None:
    from_environment = b"k\xff\xfe".decode("utf-8", "surrogateescape")
    assert digest(PEPPER, from_environment) == digest(PEPPER, "k\xff\xfe")


def test_a_latin_1_client_is_understood() -> None:
    assert digest(PEPPER, "clé") == digest(PEPPER, b"cl\xe9".decode("latin-1"))


@pytest.mark.parametrize("key", ["", " ", "\t\n", "a\nb", "a\0b", "a\x7fb"])
def test_what_no_header_can_carry_is_said(key: str) -> None:
    assert unpresentable(key)


@pytest.mark.parametrize("key", ["x", "two words", "ключ", "with trailing newline\n", "🔑", '"quoted"'])
def test_any_other_text_may_be_a_key(key: str) -> None:
    assert unpresentable(key) is None
