"""What a chunk passes on its way: only what the deployment owns is changed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.access.bounds import Bound
from penstock.core.chat import Kind
from penstock.core.errors import UPSTREAM_GARBLED, PenstockError
from penstock.core.serving import Service
from penstock.gateway.tries import Try
from penstock.gateway.watch import Relabel, Tally, hide_usage, watchers
from tests.gateway.doubles import ROLE, USAGE, call, piece


def tried() -> Try:
    """An attempt, for the ledger."""
    return Try(1, "m", None, Bound(10, 10), stream=True, choices=1, slots=1, began=0.0)


def _chunk(id: object, model: object, content: str, spaced: bool = False, choices_first: bool = False) -> bytes:
    names = {"id": id, "model": model}
    choices = {"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": None}]}
    chunk = {**choices, **names} if choices_first else {**names, **choices}
    separators = None if spaced else (",", ":")
    return json.dumps({k: v for k, v in chunk.items() if v is not ...}, separators=separators).encode()


@given(
    texts=st.lists(st.text() | st.sampled_from(['"model":"theirs"', '"id":"up-1"', '{"id": "up-1"}']), min_size=1),
    ids=st.sampled_from([["up-1"], ["", "up-1"], ["up-1", "up-2"], [...]]),
    model=st.sampled_from(["theirs", "chat", "", ...]),
    spaced=st.booleans(),
    choices_first=st.booleans(),
)
def test_every_chunk_carries_our_id_and_the_services_name_and_no_text_changes(
    texts: list[str], ids: list[object], model: object, spaced: bool, choices_first: bool
) -> None:
    relabel = Relabel("chat", "chatcmpl-1")
    for place, text in enumerate(texts):
        chunk = _chunk(ids[min(place, len(ids) - 1)], model, text, spaced, choices_first)
        after = json.loads(relabel(chunk))
        assert (after["id"], after["model"]) == ("chatcmpl-1", "chat")
        assert after["choices"] == json.loads(chunk)["choices"]


def test_bytes_that_are_not_ours_stay_as_they_came() -> None:
    relabel = Relabel("chat", "mine")
    relabel(ROLE)
    chunk = piece("caf\\u00e9 1.10")
    assert relabel(chunk) == chunk.replace(b'"up-1"', b'"mine"').replace(b'"theirs"', b'"chat"')


@pytest.mark.parametrize(
    "chunk", [b"[]", b"", b'{"\xff":1}', b'{"usage":"\xff"}', b'{"usage":' + b"[" * 5000 + b"]" * 5000 + b"}"]
)
def test_what_is_not_an_object_is_the_upstreams_fault(chunk: bytes) -> None:
    with pytest.raises(PenstockError) as garbled:
        Relabel("chat", "1")(Tally(tried(), Kind.CHAT)(chunk))
    assert garbled.value.fault is UPSTREAM_GARBLED


def test_a_usage_chunk_nobody_asked_for_is_withheld_and_counted_all_the_same() -> None:
    attempt = tried()
    assert Tally(attempt, Kind.CHAT)(USAGE) == USAGE
    assert attempt.usage is not None
    assert attempt.usage.prompt == 7
    assert hide_usage(USAGE) is None


def test_usage_on_a_chunk_that_says_more_is_taken_off_it() -> None:
    chunk = piece("x")[:-1] + b',"usage":{"prompt_tokens":1}}'
    after = hide_usage(chunk)
    assert after is not None
    assert json.loads(after) == json.loads(piece("x"))


@pytest.mark.parametrize(
    ("stream", "asked", "shown"), [(True, True, True), (True, False, False), (False, False, True)]
)
def test_usage_is_shown_when_asked_for_and_on_whole_replies(stream: bool, asked: bool, shown: bool) -> None:
    passing: bytes | None = USAGE
    for watcher in watchers(
        call(stream=stream, usage_chunk=asked), Service("chat", ("m",)), tried(), lambda: 1_500_000, None
    ):
        passing = watcher(passing) if passing is not None else None
    assert (passing is not None) is shown


def test_the_star_service_answers_under_the_name_the_client_sent() -> None:
    *_, relabel = watchers(call("gpt-x"), Service("*", ("m",)), tried(), int, None)
    assert json.loads(relabel(ROLE) or b"")["model"] == "gpt-x"


def test_embeddings_keep_having_no_id() -> None:
    *_, relabel = watchers(
        call(kind=Kind.EMBEDDING, stream=False), Service("chat", ("m",)), tried(), lambda: 1_500_000, None
    )
    assert json.loads(relabel(b'{"object":"list","data":[],"model":"x"}') or b"") == {
        "object": "list",
        "data": [],
        "model": "chat",
    }
