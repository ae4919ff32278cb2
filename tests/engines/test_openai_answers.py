"""What replies and events mean, whatever their bytes are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.chat import Kind
from penstock.core.errors import PenstockError
from penstock.engines.faults import Origin
from penstock.engines.openai_answers import Events, whole, whole_as_chunks

ORIGIN = Origin("mine", "theirs")
REPLIES = (
    b'{"id":"x","choices":[{"index":0,"message":{"content":"h\\u00e9"},"finish_reason":"stop"}],"usage":{"a":1}}',
    b'{"error":{"message":"no"}}',
    b'{"data":[]}',
    b'{"\xff\xfe":1,"choices":[]}',
    b'{"choices":[{"\xff":{"content":"\xff"}}]}',
)


@pytest.mark.parametrize("convert", [whole, whole_as_chunks])
@given(
    body=st.sampled_from(REPLIES),
    mangled=st.lists(st.tuples(st.integers(0, 99), st.integers(0, 255)), max_size=4),
    kind=st.sampled_from(Kind),
)
def test_any_body_is_a_reply_or_our_error(
    convert: Callable[[Kind, Origin, bytes], Sequence[bytes]], body: bytes, mangled: list[tuple[int, int]], kind: Kind
) -> None:
    bent = bytearray(body)
    for place, byte in mangled:
        bent[place % len(bent)] = byte
    try:
        chunks = convert(kind, ORIGIN, bytes(bent))
    except PenstockError:
        return
    assert chunks


@given(
    event=st.sampled_from((*REPLIES, b'{"er\xffror":1,"error":{"\xff":1}}', b'{"a":\n1,"\xff":2}')),
    mangled=st.lists(st.tuples(st.integers(0, 99), st.integers(0, 255)), max_size=4),
)
def test_any_event_is_one_line_or_our_error(event: bytes, mangled: list[tuple[int, int]]) -> None:
    bent = bytearray(event)
    for place, byte in mangled:
        bent[place % len(bent)] = byte
    chunks: list[bytes] = []
    try:
        Events(1, ORIGIN).take(b"", bytes(bent), chunks)
    except PenstockError:
        return
    assert not any(b"\n" in chunk for chunk in chunks)


def test_a_whole_reply_is_its_own_bytes() -> None:
    assert whole(Kind.CHAT, ORIGIN, REPLIES[0]) == (REPLIES[0],)
    assert whole(Kind.EMBEDDING, ORIGIN, REPLIES[2]) == (REPLIES[2],)
