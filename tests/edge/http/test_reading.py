"""Laws of reading: whatever the bytes, a dialect gives a call or a 4xx that says what to mend."""

from __future__ import annotations

import json
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.control.accounts.operations import OPERATIONS
from penstock.core.chat import Call
from penstock.core.errors import PenstockError
from penstock.core.splice import joined
from penstock.edge.http import openapi
from penstock.edge.http.body import MAX_DEPTH, parsed
from penstock.edge.http.dialects import Asked, Read, chat, completions, embeddings, responses
from penstock.edge.http.dialects.embeddings import pack, unpack

DIALECTS: dict[str, Read] = {
    "chat": chat.read,
    "completions": completions.read,
    "embeddings": embeddings.read,
    "responses": responses.read,
}
every = pytest.mark.parametrize("read", DIALECTS.values(), ids=DIALECTS)

NAMES = [
    "model",
    "messages",
    "input",
    "prompt",
    "stream",
    "n",
    "tools",
    "text",
    "content",
    "role",
    "type",
    "max_tokens",
]
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(
        ["user", "message", "function_call", "function_call_output", "input_text", "input_image", "json_schema"]
    )
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | st.text(), inner, max_size=5)
    ),
    max_leaves=20,
)


def outcome(read: Callable[[str, bytes], Asked], body: bytes) -> Call | None:
    """The call, or None when it was refused, in the way that refusals must have."""
    try:
        return read("req-1", body).call
    except PenstockError as error:
        refusal = error
    assert 400 <= refusal.fault.status < 500
    assert refusal.message.endswith(".")
    return None


@every
@given(body=st.binary(max_size=200))
def test_any_bytes(read: Read, body: bytes) -> None:
    outcome(read, body)


@every
@given(fields=st.dictionaries(st.sampled_from(NAMES), values), salt=st.binary(max_size=3), place=st.floats(0, 1))
def test_nearly_a_request(read: Read, fields: dict[str, object], salt: bytes, place: float) -> None:
    good = {"model": "m", "messages": [{"role": "user", "content": "x"}], "input": "x", "prompt": "x"}
    text = json.dumps(good | fields).encode("utf-8", "surrogatepass")
    at = int(len(text) * place)
    outcome(read, text)
    outcome(read, text[:at] + salt + text[at:])
    outcome(read, text[:at])


@given(messages=st.lists(st.fixed_dictionaries({"role": st.just("user"), "content": st.text()}), min_size=1))
def test_a_good_chat_is_read_whole(messages: list[dict[str, str]]) -> None:
    body = json.dumps({"model": "m", "messages": messages, "x": [1.50]}, ensure_ascii=False).encode()
    call = outcome(chat.read, body)
    assert call is not None
    assert json.loads(joined(call.fields)) == json.loads(body)


@given(depth=st.integers(1, 400), text=st.sampled_from(["", "[[[", '\\"[', "\\\\"]), wide=st.integers(0, 50))
def test_depth_is_counted_outside_strings_only(depth: int, text: str, wide: int) -> None:
    nested = "[" * (depth - 1) + f'"{text}"' + "]" * (depth - 1)
    body = f'{{"pad":[{",".join(["[]"] * wide * 10)}],"a":{nested}}}'.encode()
    if depth <= MAX_DEPTH:
        parsed(body)
    else:
        with pytest.raises(PenstockError, match="nested too deeply"):
            parsed(body)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=50))
def test_vectors_survive_both_ways(vector: list[float]) -> None:
    text = msgspec.json.encode(vector)
    assert msgspec.json.decode(unpack(pack(text))) == vector
    assert pack(pack(text)) == pack(text)
    assert unpack(text) == text


def test_the_description_covers_every_route_and_every_reference() -> None:
    described = json.loads(openapi.document())
    text = openapi.document().decode()
    for name in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert name in described["components"]["schemas"], name
    assert set(described["paths"]) == {
        *("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/models"),
        *("/v1/feedback", "/v1/models/{id}", "/healthz", "/readyz", "/metrics", "/openapi.json"),
        *(operation.path for operation in OPERATIONS),
    }
