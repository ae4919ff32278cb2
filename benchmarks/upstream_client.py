"""The way to an upstream by itself, on a pooled connection, interleaved: CPU of a whole reply by our client, by the
engine on top of it, and by aiohttp; and of a stream of 64 chunks, sent as fast as they can be."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import uvloop

from benchmarks.gateways import mock_engine
from penstock.core import splice
from penstock.core.chat import Call, Kind, Upstream
from penstock.core.serving import Replica
from penstock.engines import config
from penstock.engines.http import Http
from penstock.engines.openai import OpenAI

ROUNDS = 7
REQUESTS = 2000
_CHUNKS = 64
_BODY = b'{"model":"mock","messages":[{"role":"user","content":"' + b"hello " * 33 + b'"}]}'


async def _cpu_us(ask: Callable[[], Awaitable[None]], times: int) -> float:
    began = time.process_time()
    for _ in range(times):
        await ask()
    return (time.process_time() - began) / times * 1e6


def _call(body: bytes) -> Call:
    return Call("req_0123456789abcdef", Kind.CHAT, "mock", splice.members(body), stream=b'"stream":true' in body)


async def _read(upstream: Upstream) -> list[bytes]:
    chunks: list[bytes] = []
    while more := await upstream.read():
        chunks.extend(more)
    await upstream.aclose()
    return chunks


async def _measured(port: int) -> dict[str, list[float]]:
    base_url = f"http://127.0.0.1:{port}/v1"
    url = f"{base_url}/chat/completions"
    headers = {"Authorization": "Bearer some-key", "X-Request-Id": "req_0123456789abcdef"}
    ours = Http(connect_timeout_s=5, read_timeout_s=60)
    prepared = ours.prepared("POST", url, headers)
    engine = OpenAI("mock", config.OpenAI(api_key="some-key"))
    replica = Replica("mock", "mock", base_url)
    plain, streamed = _call(_BODY), _call(_BODY[:-1] + b',"stream":true,"max_tokens":%d}' % _CHUNKS)
    async with aiohttp.ClientSession(headers={"Content-Type": "application/json"}) as session:

        async def by_ours() -> None:
            response = await ours.post(prepared, _BODY)
            assert response.status == 200
            await response.read_all(1 << 20)

        async def by_aiohttp() -> None:
            async with session.post(url, data=_BODY, headers=headers) as response:
                assert response.status == 200
                await response.read()

        async def by_engine() -> None:
            assert len(await _read(await engine.start(plain, replica))) == 1

        async def by_stream() -> None:
            assert len(await _read(await engine.start(streamed, replica))) == _CHUNKS + 3

        costs: dict[str, list[float]] = {"ours": [], "engine": [], "stream": [], "aiohttp": []}
        for _ in range(ROUNDS):
            costs["ours"].append(await _cpu_us(by_ours, REQUESTS))
            costs["engine"].append(await _cpu_us(by_engine, REQUESTS))
            costs["stream"].append(await _cpu_us(by_stream, REQUESTS // _CHUNKS))
            costs["aiohttp"].append(await _cpu_us(by_aiohttp, REQUESTS))
    await ours.aclose()
    await engine.aclose()
    return costs


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder, mock_engine(Path(folder)) as port:
        costs = uvloop.run(_measured(port))
    print(f"upstream client: CPU of one answer in us, median of {ROUNDS} interleaved rounds of {REQUESTS}")
    medians = {name: statistics.median(rounds) for name, rounds in costs.items()}
    for name, median in medians.items():
        print(f"{name:>8}  {median:6.1f}  {median / medians['ours']:5.2f} x")


if __name__ == "__main__":
    main()
