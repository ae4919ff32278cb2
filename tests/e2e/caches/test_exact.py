"""Equal requests against a real gateway: workers, Redis, OpenAI's own client; and what is left when Redis goes away."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import functools
import json
import random
import time
from typing import Any

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletion

from tests.e2e.observe.upstream import scripted
from tests.e2e.running import Penstock, running, wait_until
from tests.redis import RedisServer

FILE = """
server: {{workers: {workers}, access_log: "off"}}
cache: {cache}
models:
  m: {{engine: openai, base_url: "{upstream}", model: mock, api_key: none}}
services:
  chat:
    model: m
    cache: {{exact: {{ttl_s: 600}}, price_percent: 20}}
"""


def body(words: int, stream: bool = False, first_s: float = 0.0) -> dict[str, object]:
    script = json.dumps({"first_s": first_s, "rest_s": 0.0, "tokens": words, "status": 200})
    return {"model": "chat", "temperature": 0, "stream": stream, "messages": [{"role": "user", "content": script}]}


def header(penstock: Penstock) -> dict[str, str]:
    return {"authorization": f"Bearer {penstock.key}"}


def verdict(reply: httpx.Response) -> str:
    return reply.headers["x-penstock-cache"].split(";")[0]


def test_with_openais_client_streams_and_whole_answers_are_one_and_outlive_the_gateway() -> None:
    with RedisServer() as redis, scripted() as upstream:
        cache = f"{{redis: {{url: '{redis.url}'}}}}"
        text = FILE.format(workers=2, cache=cache, upstream=upstream)
        for begun in range(2):
            with running(text) as penstock:
                chats: Any = openai.OpenAI(base_url=penstock.base_url, api_key=penstock.key).chat.completions
                stream = chats.with_raw_response.create(
                    **body(5, True),
                    stream_options={"include_usage": True},
                )
                chunks = list(stream.parse())
                said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
                assert said.split() == ["word"] * 5
                assert chunks[-1].usage is not None
                assert chunks[-1].usage.total_tokens == 12
                assert stream.headers["x-penstock-cache"].split(";")[0] == ("hit" if begun else "miss")
                # What was written is in Redis in a moment, for the worker that has not made it.
                whole = wait_until(functools.partial(_hit, chats), 10)
                assert whole is not None
                assert whole.choices[0].message.content is not None
                assert whole.choices[0].message.content.split() == ["word"] * 5
                assert whole.usage is not None
                assert whole.usage.total_tokens == 12
                again = chats.with_raw_response.create(
                    **body(5),
                    extra_headers={"cache-control": "no-cache"},
                )
                assert again.headers["x-penstock-cache"] == "refresh"
                with pytest.raises(openai.APIStatusError) as refused:
                    chats.create(
                        **body(6 + begun),
                        extra_headers={"cache-control": "only-if-cached"},
                    )
                assert (refused.value.status_code, refused.value.code) == (504, "not_cached")


def _hit(chats: Any) -> ChatCompletion | None:
    reply = chats.with_raw_response.create(**body(5))
    return reply.parse() if reply.headers["x-penstock-cache"].startswith("hit") else None


async def test_at_once_each_question_is_asked_for_once_by_whichever_worker() -> None:
    with scripted() as upstream, running(FILE.format(workers=2, cache="{}", upstream=upstream)) as penstock:
        async with contextlib.AsyncExitStack() as held:
            # Connections stay with the worker that took them, and a client takes turns with its own.
            clients = [
                await held.enter_async_context(httpx.AsyncClient(headers=header(penstock), timeout=30))
                for _ in range(40)
            ]
            for client in clients:
                await client.get(f"{penstock.url}/healthz")
            asks = [
                client.post(f"{penstock.base_url}/chat/completions", json=body(20 + n % 5, False, first_s=0.5))
                for n, client in enumerate(clients)
            ]
            verdicts = collections.Counter(map(verdict, await asyncio.gather(*asks)))
        assert (verdicts["miss"], verdicts["shared"] + verdicts["hit"]) == (5, 35)


async def test_fifty_at_once_are_asked_for_once_and_the_ledger_has_each() -> None:
    with scripted() as upstream, running(FILE.format(workers=1, cache="{}", upstream=upstream)) as penstock:
        async with httpx.AsyncClient(headers=header(penstock), timeout=30) as client:
            asks = [
                client.post(f"{penstock.base_url}/chat/completions", json=body(3, bool(n % 2), first_s=0.3))
                for n in range(50)
            ]
            replies = await asyncio.gather(*asks)
        assert {reply.status_code for reply in replies} == {200}
        verdicts = collections.Counter(map(verdict, replies))
        assert verdicts["miss"] == 1
        assert verdicts["shared"] + verdicts["hit"] == 49

        def used() -> Any:
            answer = httpx.get(
                f"{penstock.url}/admin/v1/usage?by=project", headers=header(penstock), timeout=10
            ).json()
            groups = answer["data"]
            return groups[0] if groups and groups[0]["requests"] == 50 else None

        row = wait_until(used, 15)
        assert (row["cached_requests"], row["tokens"]["output"], row["cached_tokens"]["output"]) == (49, 3, 147)


async def test_redis_may_be_killed_and_hang_under_load() -> None:
    """No request fails, no answer is another's, and the hits come back."""
    wrong: list[tuple[int, str]] = []
    statuses: collections.Counter[int] = collections.Counter()
    verdicts: list[tuple[float, str]] = []
    with RedisServer() as redis, scripted() as upstream:
        cache = f"{{memory: 0, redis: {{url: '{redis.url}'}}}}"
        with running(FILE.format(workers=2, cache=cache, upstream=upstream)) as penstock:
            over = asyncio.Event()

            async def ask(client: httpx.AsyncClient, seed: int) -> None:
                draw = random.Random(seed)
                while not over.is_set():
                    words = draw.randint(1, 30)
                    reply = await client.post(f"{penstock.base_url}/chat/completions", json=body(words))
                    statuses[reply.status_code] += 1
                    verdicts.append((time.monotonic(), verdict(reply)))
                    said = reply.json()["choices"][0]["message"]["content"]
                    if len(said.split()) != words:
                        wrong.append((words, said))

            async def hits(share: float, within_s: float = 15.0) -> None:
                """Returns once that share of the last second's requests were hits."""
                deadline = time.monotonic() + within_s
                while True:
                    await asyncio.sleep(0.1)
                    since = time.monotonic() - 1.0
                    late = [said for at, said in verdicts if at > since]
                    if len(late) > 20 and sum(said == "hit" for said in late) > share * len(late):
                        return
                    assert time.monotonic() < deadline, collections.Counter(late)

            async with httpx.AsyncClient(headers=header(penstock), timeout=30) as client:
                asking = [asyncio.create_task(ask(client, seed)) for seed in range(8)]
                await hits(0.9)
                await asyncio.to_thread(redis.kill)
                await asyncio.sleep(1.0)  # pace: it is away under load
                await asyncio.to_thread(redis.start)
                await hits(0.9)
                redis.pause()
                await asyncio.sleep(1.0)  # pace: it hangs under load
                redis.resume()
                await hits(0.9)
                over.set()
                await asyncio.gather(*asking)
    assert set(statuses) == {200}
    assert not wrong
    assert sum(said == "miss" for _, said in verdicts) > 30
