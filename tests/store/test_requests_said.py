"""What was said comes back as it was, packed or not."""

from __future__ import annotations

import zlib

import msgspec
import pytest

from penstock.core.requests import RequestContent
from penstock.store.requests_said import content_of, said_of


def content(request: bytes, reply: bytes) -> RequestContent:
    return RequestContent(request_id="r", at=1.0, project="p", service="s", request=request, reply=reply)


@pytest.mark.parametrize("size", [0, 1, 14, 15, 16, 500, 1000, 1010, 1015, 1020, 1024, 5000, 70_000, 1 << 20])
def test_of_any_length(size: int) -> None:
    said = content(b"a word " * (size // 7) + b"a" * (size % 7), bytes(size))
    row = said_of(said)
    assert content_of(row) == said
    assert len(row[-1]) < 1100 + size // 50


def test_what_is_short_was_packed_once() -> None:
    said = content(b"{}", b"[]")
    row = (*said_of(said)[:-1], zlib.compress(msgspec.msgpack.encode((said.request, said.reply)), 1))
    assert content_of(row) == said
