"""Continuous batching: tokens per second of one llama.cpp replica on one thread, at 1 client and at 8.

Each client streams 64 tokens at temperature 0 through a running gateway. Rounds are interleaved, because the machine
is shared; what counts is the ratio of their medians.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time

import aiohttp

from tests.e2e.running import running
from tests.models import chat_weights

TOKENS = 64
ROUNDS = 5
CLIENTS = (1, 8)
WANTED = 1.5


async def _answer(session: aiohttp.ClientSession, number: int) -> int:
    """The tokens of one streamed answer, as the engine counted them."""
    body = {
        "model": "assistant",
        "messages": [{"role": "user", "content": f"Tell me story number {number} about a river."}],
        "max_tokens": TOKENS,
        "ignore_eos": True,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    tokens = 0
    async with session.post("chat/completions", json=body) as reply:
        reply.raise_for_status()
        async for line in reply.content:
            if line.startswith(b"data: {") and (usage := json.loads(line[6:]).get("usage")):
                tokens = usage["completion_tokens"]
    return tokens


async def _rate(session: aiohttp.ClientSession, clients: int) -> float:
    began = time.perf_counter()
    tokens = sum(await asyncio.gather(*(_answer(session, number) for number in range(clients))))
    return tokens / (time.perf_counter() - began)


async def _measured(base_url: str, key: str) -> dict[int, list[float]]:
    rates: dict[int, list[float]] = {clients: [] for clients in CLIENTS}
    headers = {"authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(base_url + "/", headers=headers) as session:
        await _rate(session, max(CLIENTS))
        for _ in range(ROUNDS):
            for clients in CLIENTS:
                rates[clients].append(await _rate(session, clients))
    return rates


def main() -> None:
    """Prints the table; says so when the ratio falls short."""
    model = {"engine": "llamacpp", "weights": f"file:{chat_weights()}", "threads": 1}
    deployment = {"models": {"small": model}, "services": {"assistant": {"model": "small"}}}
    with running(json.dumps(deployment)) as penstock:
        rates = asyncio.run(_measured(penstock.base_url, penstock.key))
    medians = {clients: statistics.median(rates[clients]) for clients in CLIENTS}
    print(f"continuous batching: {TOKENS} tokens each, one thread, median of {ROUNDS} interleaved rounds")
    print(f"{'clients':>8} {'tokens/s':>9} {'lowest':>7} {'highest':>8} {'ratio':>6}")
    for clients in CLIENTS:
        low, high = min(rates[clients]), max(rates[clients])
        ratio = medians[clients] / medians[CLIENTS[0]]
        print(f"{clients:>8} {medians[clients]:>9.1f} {low:>7.1f} {high:>8.1f} {ratio:>6.2f}")
    if medians[CLIENTS[-1]] < WANTED * medians[CLIENTS[0]]:
        print(f"below the {WANTED} that batching should give")


if __name__ == "__main__":
    main()
