"""The frames of the WebSocket protocol: what each one of a client makes of a socket, and how ours are written."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import UPSTREAM_FAILED, PenstockError
from penstock.core.policy import Priority
from penstock.edge.http.websocket_frames import (
    AT_ONCE,
    READS,
    Cancel,
    Refused,
    Start,
    Voice,
    events,
    heard,
    sound,
)

BODY = '{"model": "m",  "messages": [] }'
MANY = {str(number) for number in range(AT_ONCE)}


def read(text: str | bytes, *running: str, draining: bool = False) -> object:
    return heard(text.encode() if isinstance(text, str) else text, running, draining)


def test_a_request_keeps_its_body_byte_for_byte() -> None:
    start = read('{"body": ' + BODY + ', "id": "a"}')
    assert start == Start("a", "/v1/chat/completions", BODY.encode(), None, Priority.NORMAL)


def test_terms_come_with_the_frame() -> None:
    start = read('{"id": "a", "path": "/v1/responses", "body": {}, "timeout_s": 2, "priority": "high"}')
    assert isinstance(start, Start)
    terms = start.terms({b"host": b"x"})
    assert (start.path, terms.timeout_s, terms.priority) == ("/v1/responses", 2.0, Priority.HIGH)
    assert terms.headers == {b"host": b"x"}


def test_a_cancel_is_for_what_runs() -> None:
    assert read('{"id": "a", "cancel": true}', "a", "b") == Cancel("a")
    assert read('{"id": "a", "cancel": true}', "b") is None


@pytest.mark.parametrize(
    ("text", "id", "code", "param"),
    [
        ("", None, "invalid_json", None),
        ("{", None, "invalid_json", None),
        ("[" * 100_000, None, "invalid_type", None),
        ('{"a":' * 100_000, None, "invalid_json", None),
        ("[]", None, "invalid_type", None),
        ("null", None, "invalid_type", None),
        ("{}", None, "missing_required_parameter", "id"),
        ('{"id": 1, "body": {}}', None, "invalid_type", "id"),
        ('{"id": "", "body": {}}', None, "invalid_value", "id"),
        ('{"id": "%s", "body": {}}' % ("x" * 65), None, "invalid_value", "id"),
        ('{"id": "\\ud800", "body": {}}', None, "invalid_json", None),
        ('{"id": "a"}', "a", "missing_required_parameter", "body"),
        ('{"id": "a", "cancel": "yes"}', "a", "invalid_type", "cancel"),
        ('{"id": "a", "body": {}, "path": "/v1/models"}', "a", "unknown_url", "path"),
        ('{"id": "a", "body": {}, "priority": "urgent"}', "a", "invalid_value", "priority"),
        ('{"id": "a", "body": {}, "timeout_s": 0}', "a", "invalid_value", "timeout_s"),
        ('{"id": "a", "model": "m", "messages": []}', "a", "unsupported_parameter", "model"),
        ('{"id": "b", "body": {}}', None, "invalid_value", "id"),
        ('{"id": "b", "surprise": 1}', None, "unsupported_parameter", "surprise"),
    ],
)
def test_what_is_refused(text: str, id: str | None, code: str, param: str | None) -> None:
    refused = read(text, "b")
    assert isinstance(refused, Refused)
    assert (refused.id, refused.error.fault.code, refused.error.param) == (id, code, param)
    assert "request body" not in refused.error.message


def test_no_more_than_so_many_at_once() -> None:
    refused = read('{"id": "a", "body": {}}', *MANY)
    assert isinstance(refused, Refused)
    assert (refused.id, refused.error.fault.status, refused.error.fault.code) == ("a", 429, "queue_full")
    assert read('{"id": "1", "cancel": true}', *MANY) == Cancel("1")


def test_a_gateway_that_stops_takes_nothing_new() -> None:
    refused = read('{"id": "a", "body": {}}', "b", draining=True)
    assert isinstance(refused, Refused)
    assert refused.error.fault.code == "gateway_stopping"
    assert read('{"id": "b", "cancel": true}', "b", draining=True) == Cancel("b")


@given(st.binary() | st.text().map(str.encode))
def test_nonsense_is_refused_without_a_word_to_any_request(junk: bytes) -> None:
    found = heard(junk, ["b"], False)
    assert isinstance(found, Refused)
    assert found.id is None


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.sampled_from(["id", "path", "body", "timeout_s", "priority", "cancel", "more"])
VALUES = JSON | st.sampled_from(["a", "b", *READS, "low", 1.5])


@given(st.dictionaries(FIELDS, VALUES))
def test_any_object_is_understood_or_refused_by_name(fields: dict[str, object]) -> None:
    found = heard(json.dumps(fields).encode("utf-8", "surrogatepass"), ["b"], False)
    match found:
        case Start():
            assert found.id == fields["id"] != "b"
            assert msgspec.json.decode(found.body) == fields["body"]
        case Cancel():
            assert found.id == fields["id"] == "b"
            assert fields["cancel"] is True
        case Refused():
            assert found.id is None or found.id == fields["id"] != "b"
        case None:
            assert fields["cancel"] is True


@given(st.text(min_size=1, max_size=64), JSON)
def test_frames_are_json_that_holds_what_it_is_given(id: str, value: object) -> None:
    text = json.dumps(value, separators=(" ,", ": ")).encode()
    voice = Voice(id)
    for written, name in (
        (voice.chunk(text), "chunk"),
        (voice.reply(text), "reply"),
        (voice.event("", text), "chunk"),
    ):
        assert json.loads(written) == {"id": id, name: value}
        assert text in written
    assert json.loads(voice.event('a"b', text)) == {"id": id, "event": 'a"b', "chunk": value}


def test_an_error_has_the_shape_it_has_over_http_and_its_status() -> None:
    error = PenstockError(UPSTREAM_FAILED, 'It "failed".', param="x")
    inner = {"message": 'It "failed".', "type": "upstream_error", "param": "x", "code": "upstream_error"}
    assert json.loads(Voice(None).error(error)) == {"id": None, "error": inner, "status": 502}


def test_the_end_is_told_with_what_happened() -> None:
    assert json.loads(Voice("a").done({})) == {"id": "a", "done": True}
    told = {"id": "a", "done": True, "cancelled": True, "headers": {"x": "y"}}
    assert json.loads(Voice("a").done({"x": "y"}, cancelled=True)) == told


def test_events_of_a_stream_are_taken_apart() -> None:
    sent = b'event: one\ndata: {"a":1}\n\ndata: {"b":2}\n\n: ping\n\ndata: [DONE]\n\n'
    assert list(events(sent)) == [("one", b'{"a":1}'), ("", b'{"b":2}')]
    assert list(events(b"")) == []


@given(st.binary())
def test_what_goes_out_is_text(junk: bytes) -> None:
    assert sound(junk) == junk.decode("utf-8", "replace").encode()
