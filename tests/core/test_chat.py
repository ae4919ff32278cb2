"""Looking inside a chunk."""

from __future__ import annotations

import pytest

from penstock.core.chat import chunk_view


@pytest.mark.parametrize("text", [b"null", b'{"content":[]}', b'{"tokens":["a"]}'])
def test_logprobs_are_kept_as_they_came(text: bytes) -> None:
    choice = chunk_view(b'{"choices":[{"index":0,"delta":{},"logprobs":%b}]}' % text).choices[0]
    assert bytes(choice.logprobs) == text
    assert bytes(chunk_view(b'{"choices":[{}]}').choices[0].logprobs) == b"null"
