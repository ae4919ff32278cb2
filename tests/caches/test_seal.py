"""A seal opens for its own key and whole, or not at all."""

from __future__ import annotations

import zlib

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from penstock.caches.seal import DEFLATED, PLAIN, Damaged, Opened, opened, seal

KEYS = st.binary(min_size=1, max_size=24)
VALUES = st.binary(max_size=300) | st.binary(min_size=1, max_size=4).map(lambda part: part * 500)
TIMES = st.floats(0, 1e11)


@settings(deadline=None)
@given(KEYS, VALUES, TIMES, st.sampled_from([0, 64, 1 << 20]))
def test_what_is_sealed_opens(key: bytes, value: bytes, until: float, compress_from: int) -> None:
    assert opened(key, seal(key, value, until, compress_from=compress_from)) == Opened(value, until)


@settings(deadline=None)
@given(KEYS, KEYS, VALUES)
def test_not_for_another_key(key: bytes, other: bytes, value: bytes) -> None:
    if key != other:
        with pytest.raises(Damaged):
            opened(other, seal(key, value, 1.0, compress_from=64))


@settings(deadline=None)
@given(VALUES, st.data())
def test_no_bit_may_differ_and_none_be_missing(value: bytes, data: st.DataObject) -> None:
    sealed = seal(b"k", value, 1.0, compress_from=64)
    at = data.draw(st.integers(0, len(sealed) - 1))
    flipped = bytearray(sealed)
    flipped[at] ^= 1 << data.draw(st.integers(0, 7))
    for bad in (bytes(flipped), sealed[:at], sealed + b"\0"):
        with pytest.raises(Damaged):
            opened(b"k", bad)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_strangers_bytes_are_damaged(bad: bytes) -> None:
    with pytest.raises(Damaged):
        opened(b"k", bad)


def test_it_is_smaller_where_that_helps() -> None:
    text = b"the same words again and again " * 100
    assert len(seal(b"k", text, 1.0, compress_from=1024)) < len(text) / 5
    assert seal(b"k", text, 1.0, compress_from=1024)[0] == DEFLATED
    noise = zlib.compress(text) * 20
    assert seal(b"k", noise[:60], 1.0, compress_from=0)[0] == PLAIN
