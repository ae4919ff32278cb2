"""The upstream client by itself: CPU of a whole reply on a pooled connection, ours beside aiohttp, interleaved."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

import aiohttp
import uvloop

from penstock.engines.http import Http
from tests.e2e.running import free_port

ROUNDS = 7
REQUESTS = 2000
_BODY = b'{"model":"mock","messages":[{"role":"user","content":"' + b"hello " * 33 + b'"}]}'


async def _cpu_us(ask: Callable[[], Awaitable[None]]) -> float:
    began = time.process_time()
    for _ in range(REQUESTS):
        await ask()
    return (time.process_time() - began) / REQUESTS * 1e6


async def _measured(port: int) -> dict[str, list[float]]:
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    headers = {"Authorization": "Bearer some-key", "X-Request-Id": "req_0123456789abcdef"}
    ours = Http(connect_timeout_s=5, read_timeout_s=60)
    async with aiohttp.ClientSession(headers={"Content-Type": "application/json"}) as session:

        async def by_ours() -> None:
            response = await ours.post(url, _BODY, headers)
            assert response.status == 200
            await response.read_all(1 << 20)

        async def by_aiohttp() -> None:
            async with session.post(url, data=_BODY, headers=headers) as response:
                assert response.status == 200
                await response.read()

        costs: dict[str, list[float]] = {"ours": [], "aiohttp": []}
        for _ in range(ROUNDS):
            costs["ours"].append(await _cpu_us(by_ours))
            costs["aiohttp"].append(await _cpu_us(by_aiohttp))
    await ours.aclose()
    return costs


def main() -> None:
    port = free_port()
    mock = subprocess.Popen([sys.executable, "-m", "benchmarks.upstream", str(port)])
    try:
        time.sleep(1.0)
        costs = uvloop.run(_measured(port))
    finally:
        mock.terminate()
        mock.wait()
    print(f"upstream client: CPU of one whole reply in us, median of {ROUNDS} interleaved rounds of {REQUESTS}")
    medians = {name: statistics.median(rounds) for name, rounds in costs.items()}
    for name, median in medians.items():
        print(f"{name:>8}  {median:6.1f}  {median / medians['ours']:5.2f} x")


if __name__ == "__main__":
    main()
