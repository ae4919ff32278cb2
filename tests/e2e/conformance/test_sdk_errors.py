"""Failures through the OpenAI SDK: each becomes the exception that its users catch, and says what to do."""

from __future__ import annotations

import json
from collections.abc import Iterator

import openai
import pytest
from openai import OpenAI

from tests.e2e.running import Penstock, running

FAILURES = {429: openai.RateLimitError, 500: openai.InternalServerError, 503: openai.InternalServerError}
# A model for each failure: one that fails is left alone for a while.
ILL = ("fail-429", "fail-500", "fail-503", "break")
ANSWERS = [
    *({"when": f"fail {status}", "fail_status": status} for status in FAILURES),
    {"when": "break", "text": "one two three four", "break_after": 2},
    {"text": "All is well."},
]
# No failure is one too many, nor is it tried twice.
UNMOVED = {"breaker": {"failures": 1000, "least": 1000}, "retry": {"attempts": 1}}
DEPLOYMENT = json.dumps(
    {
        "models": {name: {"engine": "fake", "answers": ANSWERS} for name in ("scripted", *ILL)},
        "services": {name: {"model": name} | UNMOVED for name in ("scripted", *ILL)},
    }
)


@pytest.fixture(scope="module")
def failing() -> Iterator[Penstock]:
    with running(DEPLOYMENT) as penstock:
        yield penstock
        assert "Traceback" not in penstock.said()


@pytest.fixture(scope="module")
def client(failing: Penstock) -> Iterator[OpenAI]:
    with OpenAI(
        base_url=failing.base_url, api_key=failing.key, max_retries=0, _strict_response_validation=True
    ) as opened:
        yield opened


def ask(client: OpenAI, text: str = "Hi", model: str = "scripted") -> str | None:
    reply = client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}])
    return reply.choices[0].message.content


def test_a_wrong_key(client: OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError) as refused:
        ask(client.with_options(api_key="sk-wrong"))
    assert refused.value.code == "invalid_api_key"
    assert "sk-wrong" not in refused.value.message


def test_an_unknown_model(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        ask(client, model="scriptd")
    assert refused.value.code == "model_not_found"
    assert refused.value.param == "model"
    assert "scripted" in refused.value.message, "the nearest name is told"


def test_an_unknown_model_is_not_retrieved(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        client.models.retrieve("nobody")
    assert refused.value.code == "model_not_found"


def test_an_unknown_path(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        client.files.list()
    assert refused.value.code == "unknown_url"


def test_a_wrong_method(client: OpenAI) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        client.models.delete("scripted")
    assert refused.value.status_code == 405


def test_a_missing_member(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.post("/chat/completions", cast_to=object, body={"model": "scripted"})
    assert refused.value.param == "messages"


@pytest.mark.parametrize("status", FAILURES)
@pytest.mark.parametrize("stream", [False, True])
def test_what_an_engine_refuses(client: OpenAI, status: int, stream: bool) -> None:
    with pytest.raises(FAILURES[status]) as refused:
        client.chat.completions.create(
            model=f"fail-{status}", messages=[{"role": "user", "content": f"fail {status}"}], stream=stream
        )
    assert isinstance(refused.value.code, str)
    assert refused.value.request_id


def test_a_break_in_mid_stream_is_an_event(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model="break", messages=[{"role": "user", "content": "break"}], stream=True
    )
    said = next(text for chunk in stream if (text := chunk.choices[0].delta.content))
    with pytest.raises(openai.APIError) as broken:
        list(stream)
    assert said.startswith("one")
    assert broken.value.code


def test_a_break_of_a_whole_reply(client: OpenAI) -> None:
    with pytest.raises(openai.InternalServerError):
        ask(client, "break", model="break")
    assert ask(client) == "All is well."
