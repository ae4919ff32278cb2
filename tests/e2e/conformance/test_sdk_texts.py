"""Completions, embeddings and models through the OpenAI SDK, validated strictly."""

from __future__ import annotations

import base64
import math
import struct

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.e2e.conformance.conftest import ADMIN_KEY
from tests.e2e.running import Penstock

generators = pytest.mark.parametrize("service", ["scripted", "assistant"])
embedders = pytest.mark.parametrize("service", ["scripted", "embed"])


@generators
def test_completion(client: OpenAI, service: str) -> None:
    reply = client.completions.create(model=service, prompt="Once upon a time", max_tokens=6, temperature=0)
    assert reply.model == service
    assert reply.choices[0].text
    assert reply.usage is not None
    assert 0 < reply.usage.completion_tokens <= 6


@generators
@pytest.mark.parametrize("usage", [True, False])
def test_completion_streamed(client: OpenAI, service: str, usage: bool) -> None:
    """Not strictly: the SDK's type wants a ``finish_reason`` on every piece, and its own API sends null until the last."""
    loose = OpenAI(base_url=client.base_url, api_key=client.api_key, max_retries=0)
    chunks = list(
        loose.completions.create(
            model=service,
            prompt="Once upon a time",
            max_tokens=6,
            stream=True,
            stream_options={"include_usage": usage},
        )
    )
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices)
    assert {chunk.object for chunk in chunks} == {"text_completion"}
    assert {chunk.model for chunk in chunks} == {service}
    assert sum(bool(choice.finish_reason) for chunk in chunks for choice in chunk.choices) == 1
    assert [chunk.usage is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [usage]


@generators
def test_completion_choices(client: OpenAI, service: str) -> None:
    reply = client.completions.create(model=service, prompt="Once upon a time", max_tokens=4, n=2)
    assert [choice.index for choice in reply.choices] == [0, 1]


@embedders
def test_embeddings_agree_in_both_encodings(client: OpenAI, server: Penstock, service: str) -> None:
    """Without an encoding the SDK asks for base64, which its strict mode then refuses: that call is a loose one."""
    texts = ["A cat sat on the mat.", "On a mat there sat a cat.", "How do I file my taxes?"]
    floats = client.embeddings.create(model=service, input=texts, encoding_format="float")
    with OpenAI(base_url=server.base_url, api_key=ADMIN_KEY, max_retries=0) as loose:
        packed = loose.embeddings.create(model=service, input=texts)
    assert [datum.index for datum in floats.data] == [0, 1, 2]
    assert floats.usage.prompt_tokens > 0
    for one, other in zip(floats.data, packed.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)


def test_base64_is_little_endian_floats(client: OpenAI) -> None:
    asked = {"model": "embed", "input": "A cat sat on the mat."}
    raw = client.embeddings.with_raw_response.create(**asked, encoding_format="base64").http_response.json()
    packed = base64.b64decode(raw["data"][0]["embedding"])
    floats = client.embeddings.create(**asked, encoding_format="float").data[0].embedding
    assert struct.unpack(f"<{len(packed) // 4}f", packed) == pytest.approx(floats, abs=1e-6)


def test_embeddings_mean_something(client: OpenAI) -> None:
    texts = ["How old are you?", "What is your age?", "The train to Bergen leaves at noon."]
    vectors = [
        datum.embedding
        for datum in client.embeddings.create(model="embed", input=texts, encoding_format="float").data
    ]

    def cosine(one: list[float], other: list[float]) -> float:
        dot = sum(a * b for a, b in zip(one, other, strict=True))
        return dot / (math.hypot(*one) * math.hypot(*other))

    assert cosine(vectors[0], vectors[1]) > 0.7
    assert cosine(vectors[0], vectors[2]) < 0.3


def test_chat_of_an_embedding_model_is_refused(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="embed", messages=[{"role": "user", "content": "Hello"}])
    assert refused.value.code


def test_models_list(client: OpenAI) -> None:
    listed = {model.id: model for model in client.models.list()}
    assert {"scripted", "assistant", "embed"} <= set(listed)
    assert "*" not in listed
    assert all(model.created > 0 and model.owned_by for model in listed.values())


@pytest.mark.parametrize(
    "name", ["assistant", "scripted-latest", "team/scripted", "gpt-4o", "ft:gpt-4o-mini:acemeco:suffix:abc123"]
)
def test_models_retrieve(client: OpenAI, name: str) -> None:
    assert client.models.retrieve(name).id in (name, "scripted")


@pytest.mark.parametrize("name", ["scripted-latest", "team/scripted", "anything-at-all"])
def test_aliases_and_the_star_serve(client: OpenAI, name: str) -> None:
    reply = client.chat.completions.create(model=name, messages=[{"role": "user", "content": "Hi"}])
    assert reply.choices[0].message.content


async def test_async_client(server: Penstock) -> None:
    async with AsyncOpenAI(
        base_url=server.base_url, api_key=ADMIN_KEY, max_retries=0, _strict_response_validation=True
    ) as client:
        assert (await client.completions.create(model="scripted", prompt="Hi")).choices[0].text
        assert (await client.embeddings.create(model="embed", input="Hi", encoding_format="float")).data[0].embedding
        assert [model async for model in client.models.list()]
