"""What is kept of a request, by itself: bounded however much is said, and without a key of ours."""

from __future__ import annotations

import contextlib
import json
from collections import defaultdict
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.access.keys import mint
from penstock.core.chat import Call
from penstock.core.splice import members
from penstock.gateway.capture import KEPT_BYTES, MOST_CALLS, MOST_CHOICES, Transcript
from tests.gateway.doubles import call
from tests.gateway.test_capture import sha256


def content(transcript: Transcript, asked: Call | None = None) -> Any:
    return json.loads(transcript.content(asked or call()))


def delta(index: int = 0, **said: object) -> bytes:
    return json.dumps({"choices": [{"index": index, "delta": said}]}).encode()


@given(st.lists(st.tuples(st.integers(0, 1), st.text(max_size=5)), max_size=12), st.integers(0, 20))
def test_what_is_beyond_the_bound_is_cut_and_its_hash_is_of_all_of_it(
    pieces: list[tuple[int, str]], most: int
) -> None:
    transcript, whole = Transcript(True, most), defaultdict[int, str](str)
    for index, text in pieces:
        transcript.take([delta(index, content=text)])
        whole[index] += text
    found = {each["index"]: each["content"] for each in content(transcript)["reply"] if "content" in each}
    assert set(found) == {index for index, text in whole.items() if text}
    assert sum(len(each["text"].encode()) for each in found.values()) <= most
    for index, each in found.items():
        assert whole[index].startswith(each["text"])
        assert each.get("cut", False) is (each["text"] != whole[index])
        assert (each["sha256"], each["bytes"]) == (sha256(whole[index]), len(whole[index].encode()))


def test_a_long_prompt_is_cut_and_its_hash_is_of_all_of_it() -> None:
    body = json.dumps({"model": "chat", "messages": [{"role": "user", "content": "é" * KEPT_BYTES}]}).encode()
    asked = msgspec.structs.replace(call(), fields=members(body))
    request = content(Transcript(True), asked)["request"]
    sent = b'{"model":"chat","messages":' + bytes(asked.fields["messages"]) + b"}"
    assert (request["bytes"], request["sha256"]) == (len(sent), sha256(sent))
    assert "json" not in request
    assert sent.decode().startswith(request["beginning"])
    assert KEPT_BYTES - 4 < len(request["beginning"].encode()) <= KEPT_BYTES


@pytest.mark.parametrize("more", [0, 1])
def test_a_prompt_that_just_fits_is_whole(more: int) -> None:
    frame = b'{"input":""}'
    body = b'{"input":"' + b"x" * (KEPT_BYTES - len(frame) + more) + b'"}'
    request = content(Transcript(True), msgspec.structs.replace(call(), fields=members(body)))["request"]
    assert ("json" in request) is (more == 0)
    assert request["sha256"] == sha256(body)


def test_an_engine_cannot_make_it_grow() -> None:
    transcript = Transcript(True)
    transcript.take([delta(index, content="x") for index in range(MOST_CHOICES + 5)])
    calls = [{"index": i, "id": "i" * 9999, "function": {"name": "n" * 9999, "arguments": "x"}} for i in range(3000)]
    transcript.take([delta(0, tool_calls=calls), delta(1, tool_calls=calls)])
    said = content(transcript)
    assert said["more"] is True
    assert len(said["reply"]) == MOST_CHOICES
    assert sum(len(choice.get("tool_calls", ())) for choice in said["reply"]) == MOST_CALLS
    assert len(json.dumps(said)) < 4 << 20


def test_tool_calls_that_come_in_pieces_are_put_together() -> None:
    transcript = Transcript(True)
    transcript.take([
        delta(tool_calls=[{"index": 1, "id": "b", "function": {"name": "g", "arguments": ""}}]),
        delta(tool_calls=[{"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x"'}}]),
        delta(tool_calls=[{"index": 0, "function": {"arguments": ":1}"}}]),
    ])  # fmt: skip
    calls = content(transcript)["reply"][0]["tool_calls"]
    assert [(each["id"], each["name"], each["arguments"].get("text")) for each in calls] == [
        ("a", "f", '{"x":1}'),
        ("b", "g", ""),
    ]


@given(st.binary(max_size=40))
def test_no_chunk_can_break_it_and_what_is_not_understood_is_kept_as_it_came(junk: bytes) -> None:
    transcript = Transcript(True)
    transcript.take([junk, delta(content="after")])
    said = content(transcript)
    assert said["reply"][0]["content"]["text"] == "after"
    with contextlib.suppress(KeyError):
        assert said["unread"]["sha256"] == sha256(junk)


def test_a_form_that_is_not_known_here_is_kept_as_it_came() -> None:
    odd = delta(content=[{"type": "text", "text": "in parts"}])
    transcript = Transcript(True)
    transcript.take([odd])
    assert content(transcript)["unread"]["text"].encode() == odd


@pytest.mark.parametrize("id_", [None, "admin", "admin-g1234"])
def test_keys_of_ours_are_left_out_wherever_they_stand(id_: str | None) -> None:
    key = mint(id_)
    secret = key.removeprefix(f"pk-{id_}-") if id_ else key.split("-", 2)[2]
    body = json.dumps({"messages": [{"role": "user", "content": f"why is {key} refused?"}], "api_key": key})
    transcript = Transcript(True)
    transcript.take([delta(content=letter) for letter in f"Because {key}, is"])
    found = transcript.content(msgspec.structs.replace(call(), fields=members(body.encode())))
    assert secret.encode() not in found
    assert found.count(b"***") == 3
    assert json.loads(found)["reply"][0]["content"]["sha256"] == sha256(f"Because {key}, is")
