"""Embeddings against a real gateway with OpenAI's own client: texts that one worker has embedded no worker embeds
again, in whichever form the client wants them; and a model that truly embeds."""

from __future__ import annotations

import random
from typing import Any

import openai
import pytest
from redis import Redis

from tests.e2e.running import Penstock, running, wait_until
from tests.models import embedding_weights
from tests.redis import RedisServer

FILE = """
server: {{workers: 2, access_log: "off"}}
cache: {{redis: {{url: "{redis}", read_s: 5}}}}
models:
  m: {model}
services:
  embed: {{model: m, cache: {{exact: {{}}}}}}
"""
FAKE = "{engine: fake, dimensions: 16}"
TEXTS = [f"what is the number {n} good for" for n in range(10)]


def embeddings(penstock: Penstock) -> Any:
    return openai.OpenAI(base_url=penstock.base_url, api_key=penstock.key).embeddings.with_raw_response


def asked(client: Any, texts: list[str], **more: Any) -> tuple[str, list[list[float]], int]:
    """What caches had of it, the vectors, and the tokens that were counted."""
    reply = client.create(model="embed", input=texts, **more)
    parsed = reply.parse()
    assert [item.index for item in parsed.data] == list(range(len(texts)))
    return reply.headers["x-penstock-cache"], [item.embedding for item in parsed.data], parsed.usage.prompt_tokens


# Where nothing is said of the form, the client asks for base64 and unpacks it.
@pytest.mark.parametrize("form", [{"encoding_format": "float"}, {}], ids=["float", "base64"])
def test_only_what_nobody_embedded_before_is_embedded(form: dict[str, str]) -> None:
    with RedisServer() as redis, running(FILE.format(redis=redis.url, model=FAKE)) as penstock:
        client, kept = embeddings(penstock), Redis.from_url(redis.url)
        _, seven, counted = asked(client, TEXTS[3:], **form)
        assert counted > 0

        # The seven vectors and the whole answer, for the worker that has not made them.
        assert wait_until(lambda: kept.dbsize() >= 8, 10)
        picked = random.sample(range(7), 4)
        said, vectors, none = asked(client, [TEXTS[3 + n] for n in picked], **form)
        assert said.startswith("hit; source=vectors")
        assert vectors == [pytest.approx(seven[n]) for n in picked]
        assert none == 0
        said, ten, more = asked(client, TEXTS, **form)
        assert said == "miss; known=7"
        assert ten[3:] == [pytest.approx(each) for each in seven]
        assert 0 < more < counted


def test_a_model_that_embeds_gives_the_same_vectors_alone_in_a_batch_and_from_the_cache() -> None:
    model = f"{{engine: llamacpp, task: embedding, weights: 'file:{embedding_weights()}'}}"
    with RedisServer() as redis, running(FILE.format(redis=redis.url, model=model)) as penstock:
        client = embeddings(penstock)
        _, alone, _ = asked(client, TEXTS[:1])
        said, batch, _ = asked(client, TEXTS)
        assert said in ("miss; known=1", "miss")
        assert batch[0] == pytest.approx(alone[0], abs=1e-3)
        assert len(batch[0]) == 384
        again, kept, _ = asked(client, TEXTS[::-1])
        assert again.startswith(("hit; source=vectors", "miss"))
        assert kept[::-1] == [pytest.approx(each, abs=1e-3) for each in batch]
