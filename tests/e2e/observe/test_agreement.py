"""What the charts say is what clients saw, by the clients' own count."""

from __future__ import annotations

import asyncio
import json
import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp
import httpx
import pytest
import yaml

from tests.e2e.observe.upstream import scripted
from tests.e2e.running import Penstock, running, wait_until

STEP_S = 10
PER_S = 40.0
TOLD_WITHIN_S = 15.0


@dataclass(frozen=True)
class Seen:
    """One request, as its client saw it. Times in milliseconds."""

    status: int
    tokens: int
    first_ms: float
    whole_ms: float
    stream: bool


async def load(server: Penstock, until: float) -> list[Seen]:
    """An open loop that ends before ``until``: nothing is under way at the boundary."""
    dice = random.Random(7)
    tasks: list[asyncio.Task[Seen]] = []
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=30)) as session:
        while time.time() < until - 3.0:
            script = {
                "first_s": min(1.2, 0.2 + dice.lognormvariate(-2.5, 0.8)),
                "rest_s": dice.uniform(0.05, 0.8),
                "tokens": dice.randint(2, 30),
                "status": 500 if dice.random() < 0.05 else 200,
            }
            tasks.append(asyncio.create_task(one(session, server, script, stream=dice.random() < 0.7)))
            await asyncio.sleep(dice.expovariate(PER_S))  # pace: an open loop
        return list(await asyncio.gather(*tasks))


async def one(session: aiohttp.ClientSession, server: Penstock, script: dict[str, float], stream: bool) -> Seen:
    body = {"model": "chat", "stream": stream, "messages": [{"role": "user", "content": json.dumps(script)}]}
    if stream:
        body["stream_options"] = {"include_usage": True}
    began = time.perf_counter()
    url = f"{server.base_url}/chat/completions"
    async with session.post(url, json=body, headers={"authorization": f"Bearer {server.key}"}) as answer:
        raw = await answer.content.readany()
        first = time.perf_counter()
        raw += await answer.read()
        whole = time.perf_counter()
    tokens = 0
    if answer.status == 200:
        said = [line[6:] for line in raw.split(b"\n") if line.startswith(b"data: {")] if stream else [raw]
        tokens = json.loads(said[-1])["usage"]["completion_tokens"]
    return Seen(answer.status, tokens, 1000 * (first - began), 1000 * (whole - began), stream)


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that so many are at most."""
    return sorted(values)[min(len(values), max(1, math.ceil(share * len(values)))) - 1]


@pytest.mark.parametrize("steps", [1, pytest.param(12, marks=pytest.mark.slow)])
def test_charts_agree_with_the_clients(steps: int) -> None:
    with scripted() as upstream:
        config = {
            "server": {"access_log": "off", "workers": 2},
            "models": {"m": {"engine": "openai", "base_url": upstream, "api_key": "none"}},
            "services": {"chat": {"model": "m", "retry": {"attempts": 1}}},
        }
        with running(yaml.safe_dump(config)) as server:
            step = steps * STEP_S
            since = math.ceil(time.time() / step) * step
            until = since + step
            wait_until(lambda: time.time() > since + 0.2, step + 1)
            seen = asyncio.run(load(server, until))
            wait_until(lambda: time.time() > until, 10)
            with httpx.Client(base_url=server.url, headers={"authorization": f"Bearer {server.key}"}) as client:

                def asked() -> dict[str, object] | None:
                    window = {"since": since, "until": until, "step": step, "service": "chat"}
                    found = client.get("/admin/v1/series", params=window)
                    assert found.status_code == 200, found.text
                    (point,) = found.json()["data"]
                    return point if point["known"] else None

                point = wait_until(asked, TOLD_WITHIN_S, server.said)
                overview = client.get("/admin/v1/overview", params={"window": "15m"}).json()
        compare(point, seen)
        assert overview["total"]["requests"] == pytest.approx(len(seen), rel=0.01)
        assert overview["stale_since"] is None


def compare(point: dict[str, object], seen: Sequence[Seen]) -> None:
    good = [each for each in seen if each.status == 200]
    streams = [each for each in good if each.stream]
    counts = {
        "requests": len(seen),
        "failed": len(seen) - len(good),
        "output_tokens": sum(each.tokens for each in good),
    }
    for name, count in counts.items():
        assert point[name] == pytest.approx(count, rel=0.01), name
    whole = [each.whole_ms for each in seen]
    for name, values in (("duration", whole), ("first_chunk", [each.first_ms for each in good])):
        told = point[name]
        assert isinstance(told, dict)
        for share in (0.5, 0.95, 0.99):
            less, own, more = (quantile(values, share + each / len(values)) for each in (-1, 0, 1))
            word = f"p{100 * share:g}"
            print(f"{name} {word}: {told[word]:.1f} ms, clients {own:.1f} ms")
            # Of a few hundred the percentile lies somewhere between neighbours.
            few = len(values) < 2000
            assert 0.98 * (less if few else own) <= told[word] <= 1.02 * (more if few else own), (name, share)
    assert len(streams) > len(seen) / 3
