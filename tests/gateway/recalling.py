"""A gateway that keeps answers, and what is asked of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import msgspec

from penstock.caches.answers import Answers
from penstock.caches.chain import Chain
from penstock.caches.tier_memory import MemoryTier
from penstock.core.caching import CachePolicy, Exact
from penstock.core.chat import Call, Kind
from penstock.core.clock import Clock
from penstock.core.errors import (
    PenstockError,
)
from penstock.core.identity import Principal
from penstock.core.money import Price, Rates
from penstock.core.policy import Policy, Retry, Terms
from penstock.core.serving import Service
from penstock.core.splice import members
from penstock.gateway.prepare import Preparing
from penstock.gateway.recall import Recall
from penstock.gateway.reply import Reply
from tests.caches.doubles import Sums
from tests.gateway.doubles import ScriptedEngine, Step
from tests.gateway.releasing import OnePrice, Street

EXACT = Exact(ttl_s=60, stale_s=30)
PRICE = OnePrice(Price(model="main", rates=Rates(input=1_000_000, output=2_000_000)))
COST = 7 * 1000 + 10 * 2000
"""Of one answer, in nano-dollars."""
RED = Principal(key_id="k1", project="red", role="developer", permissions=frozenset({"call"}))


def chat_service(cache: CachePolicy, **more: object) -> Service:
    policy = Policy(retry=Retry(attempts=1), cache=cache)
    return Service("chat", ("main",), policy=policy, **more)  # type: ignore[arg-type]


def street(
    *answers: Sequence[Step] | PenstockError | asyncio.Event,
    cache: CachePolicy | None = None,
    services: Sequence[Service] = (),
    **engines: ScriptedEngine,
) -> Street:
    def recall(clock: Clock, prepare: Preparing) -> Recall:
        chain = Chain(MemoryTier(1 << 20, clock), clock=clock, meter=Sums())
        found.append(Answers(chain, clock=clock))
        return Recall(found[0], clock, prepare)

    found: list[Answers] = []
    made = Street(
        services or [chat_service(cache or CachePolicy(exact=EXACT))],
        {"main": ScriptedEngine(*answers), **engines},
        prices=PRICE,
        recall=recall,
    )
    made.answers = found[0]  # type: ignore[attr-defined]
    return made


def asked(id: str = "req-1", stream: bool = True, **fields: Any) -> Call:
    body = {"model": "chat", "messages": [{"role": "user", "content": "hi"}], "temperature": 0, **fields}
    return Call(id, Kind.CHAT, "chat", members(json.dumps(body).encode()), stream=stream)


def terms(control: str = "", **headers: str) -> Terms:
    said = {"cache-control": control} if control else {}
    return Terms(headers={name.encode(): value.encode() for name, value in {**said, **headers}.items()})


async def heard(of: Street, call: Call | None = None, on: Terms | None = None) -> tuple[Reply, list[bytes]]:
    reply = await of.door.chat(call or asked(), of.admission, on or Terms())
    chunks: list[bytes] = []
    try:
        while more := await reply.read():
            chunks.extend(more)
    finally:
        await reply.aclose()
    assert of.recall is not None
    await of.recall.idle()
    return reply, chunks


def text(chunks: Sequence[bytes]) -> str:
    return "".join(
        choice.get("delta", choice.get("message", {})).get("content") or ""
        for chunk in chunks
        for choice in msgspec.json.decode(chunk)["choices"]
    )
