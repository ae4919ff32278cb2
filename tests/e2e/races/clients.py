"""Many clients that want more than they may have, while workers are killed under them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import aiohttp

from tests.e2e.running import Penstock

CLIENTS = 32
MAX_TOKENS = 20
PATIENCE_S = 30.0
CANCELLED = 0.05


@dataclass
class Seen:
    """What the clients saw. ``statuses`` counts answers, 0 where there was none; ``whole``, ``broken`` and ``left``
    are request ids: answered to the end, broken off by the gateway, left by the client. ``codes`` counts errors;
    ``strange`` are those that nobody should see."""

    statuses: Counter[int] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    whole: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    left: set[str] = field(default_factory=set)
    strange: list[str] = field(default_factory=list)
    kills: int = 0

    @classmethod
    def of(cls, parts: Sequence[Seen]) -> Seen:
        """All of them as one."""
        whole = cls()
        for part in parts:
            whole.statuses += part.statuses
            whole.codes += part.codes
            whole.whole |= part.whole
            whole.broken |= part.broken
            whole.left |= part.left
            whole.strange += part.strange
            whole.kills += part.kills
        return whole


async def hammer(
    gateways: Sequence[Penstock], key: str, name: str, seconds: float, kill_every_s: float | None
) -> Seen:
    """All clients at once, each asking again as soon as it has its answer, for so long. ``name`` is the beginning of
    their request ids."""
    seen, numbers = Seen(), (f"{name}-{number}" for number in itertools.count())
    until = time.monotonic() + seconds
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=PATIENCE_S)) as session:
        killing = None if kill_every_s is None else asyncio.create_task(_kill(gateways, kill_every_s, until, seen))
        await asyncio.gather(*(_client(session, gateways, key, until, numbers, seen) for _ in range(CLIENTS)))
        if killing is not None:
            await killing
    return seen


async def _kill(gateways: Sequence[Penstock], every_s: float, until: float, seen: Seen) -> None:
    while time.monotonic() + every_s + 1 < until:
        await asyncio.sleep(every_s)  # pace: a worker dies so often
        workers = [
            each.pid for one in gateways for each in one.family() if "penstock.assembly.worker" in each.command
        ]
        with contextlib.suppress(ProcessLookupError, IndexError):
            os.kill(random.choice(workers), signal.SIGKILL)
            seen.kills += 1


async def _client(
    session: aiohttp.ClientSession,
    gateways: Sequence[Penstock],
    key: str,
    until: float,
    numbers: Iterator[str],
    seen: Seen,
) -> None:
    while time.monotonic() < until:
        id = next(numbers)
        gateway = random.choice(gateways)
        stream = random.random() < 0.5
        body: dict[str, object] = {
            "model": "mock",
            "messages": [{"role": "user", "content": f"{id} " + "word " * random.randint(1, 30)}],
            "max_tokens": MAX_TOKENS,
            "stream": stream,
        }
        headers = {"authorization": f"Bearer {key}", "x-request-id": id}
        try:
            await _one(session, gateway, id, body, headers, stream, seen)
        except (aiohttp.ClientError, ConnectionError, TimeoutError):
            seen.broken.add(id)
            seen.statuses[0] += 1
            await asyncio.sleep(0.05)  # pace: a client that was cut off takes a breath


async def _one(
    session: aiohttp.ClientSession,
    gateway: Penstock,
    id: str,
    body: dict[str, object],
    headers: dict[str, str],
    stream: bool,
    seen: Seen,
) -> None:
    async with session.post(f"{gateway.base_url}/chat/completions", json=body, headers=headers) as response:
        seen.statuses[response.status] += 1
        if response.status != 200:
            error = (await response.json())["error"]
            seen.codes[error["code"]] += 1
            if response.status >= 500:
                seen.strange.append(f"{response.status} {error}")
            await asyncio.sleep(0.02)  # pace: a client that is refused does not spin
            return
        if stream and random.random() < CANCELLED:
            await response.content.readany()
            seen.left.add(id)
            response.close()
            return
        text = await response.read()
        if stream and b"[DONE]" not in text:
            seen.broken.add(id)
        else:
            seen.whole.add(id)
