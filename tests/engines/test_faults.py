"""The table from an upstream's refusals to ours, over recorded bodies."""

from __future__ import annotations

import pytest

from penstock.core import errors
from penstock.core.errors import Fault
from penstock.engines.faults import Complaint, Origin, complaint, event_error, http_error, retry_after
from tests.engines.recorded import recorded, refusals

KEY = "key-that-nobody-may-read"
ORIGIN = Origin("mine", "gpt-9", (KEY,))

OPENAI: dict[str, Fault] = {
    "400-context-openai": errors.CONTEXT_LENGTH_EXCEEDED,
    "400-context-vllm": errors.CONTEXT_LENGTH_EXCEEDED,
    "400-context-vllm-decoder": errors.CONTEXT_LENGTH_EXCEEDED,
    "400-context-llamacpp": errors.CONTEXT_LENGTH_EXCEEDED,
    "400-context-mistral": errors.CONTEXT_LENGTH_EXCEEDED,
    "400-context-groq": errors.CONTEXT_LENGTH_EXCEEDED,
    "422-context-together": errors.CONTEXT_LENGTH_EXCEEDED,
    "422-context-tgi": errors.CONTEXT_LENGTH_EXCEEDED,
    "400-context-sglang": errors.CONTEXT_LENGTH_EXCEEDED,
    "400-context-gemini": errors.CONTEXT_LENGTH_EXCEEDED,
    "400-image-openai": errors.UNSUPPORTED_CONTENT,
    "400-image-vllm": errors.UNSUPPORTED_CONTENT,
    "500-image-llamacpp": errors.UNSUPPORTED_CONTENT,
    "404-image-openrouter": errors.UNSUPPORTED_CONTENT,
    "400-value-openai": errors.BAD_REQUEST,
    "400-filter-azure": errors.CONTENT_REFUSED,
    "401-key-openai": errors.UPSTREAM_REFUSED_KEY,
    "403-country-openai": errors.UPSTREAM_REFUSED_KEY,
    "402-credit-openrouter": errors.UPSTREAM_REFUSED_KEY,
    "400-key-gemini": errors.UPSTREAM_REFUSED_KEY,
    "404-model-openai": errors.UPSTREAM_MODEL_UNKNOWN,
    "404-url-fastapi": errors.UPSTREAM_MODEL_UNKNOWN,
    "413-large": errors.BODY_TOO_LARGE,
    "413-rate-groq": errors.UPSTREAM_RATE_LIMITED,
    "422-mistral": errors.BAD_REQUEST,
    "422-fastapi": errors.BAD_REQUEST,
    "429-rate-openai": errors.UPSTREAM_RATE_LIMITED,
    "429-quota-openai": errors.UPSTREAM_RATE_LIMITED,
    "500-openai": errors.UPSTREAM_FAILED,
    "502-nginx": errors.UPSTREAM_FAILED,
    "503-overloaded-openai": errors.UPSTREAM_OVERLOADED,
    "504-nginx": errors.UPSTREAM_TIMEOUT,
    "424-tgi": errors.UPSTREAM_FAILED,
}


def test_every_recorded_refusal_is_in_the_table() -> None:
    assert set(refusals("openai")) == set(OPENAI)


@pytest.mark.parametrize("name", OPENAI)
def test_a_refusal_becomes_ours(name: str) -> None:
    status, body = refusals("openai")[name]
    error = http_error(status, {}, body, ORIGIN, 0.0)
    assert error.fault is OPENAI[name], error.message
    assert KEY not in error.message
    assert "org-" not in error.message
    assert "org_" not in error.message
    assert "<html" not in error.message


@pytest.mark.parametrize("name", [name for name, fault in OPENAI.items() if fault.code in ("bad_request",)])
def test_a_clients_slip_is_told_as_the_upstream_told_it_and_not_tried_again(name: str) -> None:
    status, body = refusals("openai")[name]
    error = http_error(status, {}, body, ORIGIN, 0.0)
    assert not error.fault.retry
    assert error.fault.status == 400
    assert error.param in {"temperature", "logit_bias", "messages"}
    assert error.message


def test_what_the_deployment_must_mend_is_named() -> None:
    error = http_error(401, {}, recorded("openai", "401-key-openai.json"), ORIGIN, 0.0)
    assert "api_key of model 'mine'" in error.message
    error = http_error(404, {}, recorded("openai", "404-model-openai.json"), ORIGIN, 0.0)
    assert "'gpt-9'" in error.message
    assert "model 'mine'" in error.message


def test_a_secret_in_any_message_is_taken_out() -> None:
    body = f'{{"error": {{"message": "no route for {KEY} and sk-abcdef123"}}}}'.encode()
    for status in (400, 404, 418, 429, 500, 503):
        message = http_error(status, {}, body, ORIGIN, 0.0).message
        assert KEY not in message
        assert "sk-" not in message


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"error": 5}', b'{"error": {}}'])
def test_any_status_with_any_body_is_some_fault(body: bytes) -> None:
    for status in range(300, 600):
        error = http_error(status, {}, body, ORIGIN, 0.0)
        assert error.message
        assert 400 <= error.fault.status < 600
        assert error.fault.retry or status < 500


def test_a_long_message_is_cut() -> None:
    assert len(http_error(400, {}, b"x" * 100_000, ORIGIN, 0.0).message) < 1100


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b'{"error":{"message":"m","type":"server_error"}}', errors.UPSTREAM_FAILED),
        (b'{"error":{"message":"m","code":502}}', errors.UPSTREAM_FAILED),
        (b'{"error":{"message":"m","code":429}}', errors.UPSTREAM_RATE_LIMITED),
        (b'{"error":{"message":"m","type":"overloaded_error"}}', errors.UPSTREAM_OVERLOADED),
        (b'{"error":{"message":"m","type":"invalid_request_error"}}', errors.BAD_REQUEST),
        (b'{"error":{"message":"maximum context length is 5"}}', errors.CONTEXT_LENGTH_EXCEEDED),
        (b'{"error":"it broke"}', errors.UPSTREAM_FAILED),
    ],
)
def test_an_error_inside_a_good_answer(body: bytes, fault: Fault) -> None:
    assert event_error(body, ORIGIN).fault is fault


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "-7"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT"}, 60.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:01 GMT"}, 0.0),
        ({"x-ratelimit-reset-requests": "1h2m3.5s"}, 3723.5),
        ({"x-ratelimit-reset-tokens": "20ms"}, 0.02),
        ({"x-ratelimit-reset-tokens": "6m0s", "x-ratelimit-reset-requests": "1s"}, 1.0),
        (
            {
                "x-ratelimit-reset-tokens": "6m0s",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-requests": "1s",
            },
            360.0,
        ),
        ({"x-ratelimit-reset-tokens": "12"}, 12.0),
        ({"x-ratelimit-reset-tokens": "junk"}, None),
    ],
)
def test_when_to_come_back(headers: dict[str, str], expected: float | None) -> None:
    assert retry_after(headers, 40.0) == expected


def test_shapes_of_error_bodies() -> None:
    assert complaint(b'{"detail": "Not Found"}').message == "Not Found"
    assert complaint(b'{"message": "m", "code": 3}') == Complaint("m", code="3")
    assert complaint(b"<html>") == Complaint()
    assert complaint(b"plain words") == Complaint("plain words")
