"""Looking inside a chunk."""

from __future__ import annotations

import pytest

from penstock.core.chat import chunk_view


@pytest.mark.parametrize("logprobs", [b"null", b'{"content":[{"token":"a","logprob":-1}]}', b'{"tokens":["a"]}'])
def test_logprobs_are_kept_as_they_came(logprobs: bytes) -> None:
    view = chunk_view(b'{"choices":[{"index":0,"logprobs":' + logprobs + b"}]}")
    assert bytes(view.choices[0].logprobs) == logprobs


def test_a_choice_without_logprobs_has_null() -> None:
    assert bytes(chunk_view(b'{"choices":[{"index":0}]}').choices[0].logprobs) == b"null"
