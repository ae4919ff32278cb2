"""Splicing changes the members we own and no byte of the others."""

from __future__ import annotations

import json
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.chat import chunk_view
from penstock.core.splice import joined, members

_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), _values, max_size=6), st.text(), st.booleans())
def test_owned_members_change_and_the_rest_keeps_its_bytes(
    fields: dict[str, object], model: str, pretty: bool
) -> None:
    text = json.dumps(fields, indent=2 if pretty else None, ensure_ascii=pretty).encode()
    spliced = joined(members(text), model=model)
    assert json.loads(spliced) == {**fields, "model": model}
    for name, raw in members(text).items():
        if name != "model":
            assert bytes(raw) in spliced


def test_numbers_that_python_cannot_hold_go_through_untouched() -> None:
    text = b'{"model":"a","big":123456789012345678901234567890,"small":1e-400,"x":1.10}'
    assert joined(members(text), model="b") == text.replace(b'"a"', b'"b"')


def test_none_removes_a_member() -> None:
    assert joined(members(b'{"a":1,"b":2}'), a=None, c=None) == b'{"b":2}'


def test_a_name_given_twice_keeps_its_last_value() -> None:
    assert joined(members(b'{"a":1,"a":2}')) == b'{"a":2}'


@pytest.mark.parametrize("text", [b"", b"[]", b"1", b'{"a":}', b'{"a":1', b"\xff", b'{"\xff":1}'])
def test_what_is_not_an_object_is_refused(text: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        members(text)


@pytest.mark.parametrize("read", [members, chunk_view])
def test_what_is_nested_too_deep_is_refused_like_all_that_cannot_be_read(read: Callable[[bytes], object]) -> None:
    with pytest.raises(msgspec.DecodeError, match="too deep"):
        read(b'{"more":' + b"[" * 5000 + b"]" * 5000 + b"}")
