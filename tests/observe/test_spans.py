"""A record is a trace, and a waterfall that shows the same."""

from __future__ import annotations

import json
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.requests import Marks, RequestContent
from penstock.observe.spans import Bar, spans, waterfall
from tests.observe.records import PARENT, SPAN, TRACE, fell_back, refused


def test_the_waterfall_has_every_room_and_each_attempt_below_the_one_that_made_it() -> None:
    assert waterfall(fell_back()) == (
        Bar("chat", 0.0, 2.0, 0, "complete 200"),
        Bar("admit", 0.0, 0.001, 1),
        Bar("assign", 0.001, 0.001, 1),
        Bar("prepare", 0.001, 0.002, 1),
        Bar("reserve", 0.002, 0.003, 1),
        Bar("dispatch", 0.003, 0.5, 1),
        Bar("first", 0.003, 0.2, 2, "first-0", "upstream_failed", "it said 500"),
        Bar("second", 0.2, 2.0, 2, "second-0"),
        Bar("reply", 0.5, 2.0, 1),
    )


def test_the_room_that_a_request_did_not_leave_has_its_fault() -> None:
    assert waterfall(refused())[1:] == (
        Bar("admit", 0.0, 0.001, 1),
        Bar("assign", 0.001, 0.002, 1),
        Bar("prepare", 0.002, 0.003, 1),
        Bar("reserve", 0.003, 0.004, 1, error="rate_limited"),
    )


@pytest.mark.parametrize(
    ("code", "placed", "attempts", "room"),
    [
        ("queue_timeout", 1.0, False, "place"),
        ("no_replica_ready", 1.0, False, "dispatch"),
        ("upstream_failed", None, True, "dispatch"),
        ("deadline_exceeded", 1.0, True, "dispatch"),
        ("limit_exceeded", None, False, "place"),
    ],
)
def test_a_fault_is_shown_where_it_happened(code: str, placed: float | None, attempts: bool, room: str) -> None:
    record = msgspec.structs.replace(
        fell_back(),
        ending="failed",
        code=code,
        marks=Marks(0.1, 0.2, 0.3, 0.4, placed, None, 2.0),
        attempts=fell_back().attempts[:1] if attempts else (),
    )
    assert [bar.name for bar in waterfall(record)[1:] if bar.error and bar.depth == 1] == [room]


TIMES = st.none() | st.floats(0.0, 10.0)


@given(st.tuples(*[TIMES] * 6), st.floats(0.0, 10.0))
def test_rooms_follow_one_another_whatever_the_marks(marks: tuple[float | None, ...], closed: float) -> None:
    record = msgspec.structs.replace(fell_back(), marks=Marks(*marks, closed), attempts=())
    rooms = waterfall(record)[1:]
    assert rooms
    assert rooms[0].begin == 0.0
    assert all(room.begin <= room.end for room in rooms)
    assert all(before.end == after.begin for before, after in pairwise(rooms))


def test_the_trace_is_a_tree_with_the_words_of_the_conventions() -> None:
    root, *rest = spans(fell_back(), {"first": "openai", "second": "llamacpp"}.__getitem__)
    assert (root.trace, root.id, root.parent, root.kind, root.name) == (TRACE, SPAN, PARENT, "server", "chat chat")
    assert (root.begin, root.end) == (1_800_000_000_250_000_000, 1_800_000_002_250_000_000)
    assert root.attributes["gen_ai.operation.name"] == "chat"
    assert root.attributes["gen_ai.provider.name"] == "llamacpp"
    assert root.attributes["gen_ai.request.model"] == "chat"
    assert root.attributes["gen_ai.response.model"] == "second"
    assert root.attributes["gen_ai.usage.input_tokens"] == 11
    assert root.attributes["gen_ai.usage.output_tokens"] == 5
    assert root.attributes["gen_ai.usage.cache_read.input_tokens"] == 3
    assert root.attributes["penstock.cost.usd"] == pytest.approx(0.0025)
    assert root.attributes["http.route"] == "/v1/chat/completions"
    assert root.error is None
    ids = {each.id for each in (root, *rest)}
    assert len(ids) == len(rest) + 1
    assert all(each.parent in ids and each.trace == TRACE for each in rest)
    lost, won = [each for each in rest if each.kind == "client"]
    assert (lost.id, lost.error, lost.attributes["error.type"]) == (b"12345678", "it said 500", "upstream_failed")
    assert lost.attributes["gen_ai.provider.name"] == "openai"
    assert [(event.name, event.attributes["exception.type"]) for event in lost.events] == [
        ("exception", "upstream_failed")
    ]
    assert (won.id, won.error, won.events) == (b"abcdefgh", None, ())
    assert won.attributes["gen_ai.response.time_to_first_chunk"] == pytest.approx(0.3)
    assert spans(fell_back(), str) == spans(fell_back(), str)


def test_only_faults_of_ours_or_an_upstream_make_the_request_an_error() -> None:
    root, *_, reserve = spans(refused(), lambda model: "")
    assert root.error is None
    assert root.attributes["error.type"] == "rate_limited"
    assert "gen_ai.provider.name" not in root.attributes
    assert (reserve.name, reserve.error) == ("penstock.reserve", "rate_limited")
    failed = msgspec.structs.replace(refused(), status=502, code="upstream_failed")
    assert spans(failed, str)[0].error == "upstream_failed"


def test_nobody_learns_of_the_person_or_of_what_was_said_unless_it_is_given() -> None:
    told = repr(spans(fell_back(), str))
    assert "person@example" not in told
    assert "messages" not in told


def test_what_was_said_is_written_as_messages_of_parts() -> None:
    content = RequestContent(
        request_id="r1",
        at=1.0,
        project="shop",
        service="chat",
        request=b'{"model":"chat","messages":[{"role":"user","content":"hi"},{"role":"user","content":'
        b'[{"type":"text","text":"see"},{"type":"image_url","image_url":{"url":"data:x"}}]},'
        b'{"role":"tool","tool_call_id":"t","content":"42"}]}',
        reply=b'{"reply":[{"index":0,"content":{"bytes":2,"sha256":"00","text":"yo"},'
        b'"tool_calls":[{"id":"c","name":"f","arguments":{"bytes":2,"sha256":"0","text":"{}"}}],'
        b'"finish_reason":"stop"}]}',
    )
    attributes = spans(fell_back(), str, content)[0].attributes
    assert json.loads(str(attributes["gen_ai.input.messages"])) == [
        {"role": "user", "parts": [{"type": "text", "content": "hi"}]},
        {"role": "user", "parts": [{"type": "text", "content": "see"}, {"type": "image_url"}]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "t", "response": "42"}]},
    ]
    assert json.loads(str(attributes["gen_ai.output.messages"])) == [
        {
            "role": "assistant",
            "parts": [
                {"type": "text", "content": "yo"},
                {"type": "tool_call", "id": "c", "name": "f", "arguments": "{}"},
            ],
            "finish_reason": "stop",
        }
    ]
    torn = msgspec.structs.replace(content, request=b'{"messages":', reply=b"")
    assert "gen_ai.input.messages" not in spans(fell_back(), str, torn)[0].attributes
