"""What it costs a request to be admitted by a key, held to limits and a budget, and settled: CPU in one process.

``python -m benchmarks accounting``. The prompt has 1 KB; a limit on requests and one on tokens of the key, one on
tokens of the project, and a monthly budget of the project hold for it. The journal is on disk, its sync included.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from types import MappingProxyType

import msgspec
import redis

from penstock.access.book import Book
from penstock.access.config import AccessSettings, OnFailure
from penstock.access.keyring import Keyring
from penstock.access.keys import digest, mint
from penstock.access.limits import Rules
from penstock.access.peppers import Pepper
from penstock.access.prices import PriceList
from penstock.assembly.counting import OwnCounting, RemoteCounting
from penstock.assembly.redis import counters_at
from penstock.core.accounts import Budget, Directory, KeyRecord, Limit, Project
from penstock.core.chat import Call, Usage
from penstock.core.clock import SystemClock
from penstock.core.money import NANO, Price, Rates
from penstock.core.serving import Deployment, Model, Replica, Service
from penstock.edge.http.dialects.chat import read
from penstock.gateway.admit import admit
from penstock.gateway.means import Means
from penstock.gateway.reserve import Reserving
from penstock.gateway.snapshot import Engine, Snapshot
from penstock.store.journal import Journal
from tests.redis import RedisServer

ROUNDS = 7
REQUESTS = 5_000
REDIS_REQUESTS = 3_000
_PEPPER = Pepper("bench", b"p" * 32)
_BODY = b'{"model":"chat","max_tokens":64,"messages":[{"role":"user","content":"%s"}]}' % (b"word " * 200)


def directory(key: str) -> Directory:
    """Two keys' worth of limits, and a budget."""
    return Directory(
        version=1,
        projects=(Project(id="red"),),
        keys=(
            KeyRecord(
                id="bench", digest=digest(_PEPPER.secret, key), pepper="bench", project="red", role="developer"
            ),
        ),
        limits=(
            Limit(id="a", kind="key", metric="requests", amount=10**9),
            Limit(id="b", kind="key", metric="tokens", amount=10**12),
            Limit(id="c", kind="project", metric="tokens", amount=10**12),
        ),
        budgets=(Budget(id="d", kind="project", amount_nano=10**6 * NANO),),
        prices=(Price(model="m", rates=Rates(input=400_000, output=1_600_000)),),
    )


def house(
    known: Directory, service: Service | None = None, engines: Mapping[str, Engine] = MappingProxyType({})
) -> tuple[Snapshot, Replica, Service]:
    """A snapshot with one model, ``m``, and one ``service`` of it."""
    service, model = service or Service("chat", ("m",)), Model("m", "openai", "x", b"")
    replica = Replica("m-0", "m", "http://127.0.0.1:1/v1")
    deployment = Deployment(1, {"m": model}, {"chat": service}, {"m": (replica,)})
    keyring = Keyring(known, (_PEPPER,), time.time, lambda _: None)
    return Snapshot(deployment, engines, keyring, Rules(known), PriceList(known.prices)), replica, service


async def uncounted(_: Call, __: Service) -> int | None:
    """No engine counts here."""
    return None


async def _each(
    snapshot: Snapshot, key: str, reserving: Reserving, replica: Replica, service: Service, requests: int
) -> None:
    call = read("req_1", _BODY).call
    for _ in range(requests):
        admission = admit(key, "127.0.0.1", snapshot)
        lease = await reserving.open(call, admission, service, 600.0)
        lease.held_to(call)
        tried = await lease.attempt(1, "m", replica)
        lease.headers()
        tried.usage = Usage(prompt=220, completion=30)
        lease.close(tried, "complete", 200)


def measured() -> Mapping[str, float]:
    """Microseconds of CPU a request: with limits and a budget, and with the journal alone."""
    key = mint("bench")
    found: dict[str, list[float]] = {"limits and a budget": [], "no limits": []}
    with tempfile.TemporaryDirectory() as folder:
        clock, journal = SystemClock(), Journal(Path(folder), "bench", sync_s=0.05)
        counting = OwnCounting(Book(), "bench", clock)
        means = Means(counting, journal, clock, gateway="g", on_failure=OnFailure(), cap=4096, count=uncounted)
        reserving = Reserving(means, "bench")
        full = directory(key)
        for _ in range(ROUNDS):
            for name, known in (
                ("limits and a budget", full),
                ("no limits", msgspec.structs.replace(full, limits=(), budgets=())),
            ):
                snapshot, replica, service = house(known)
                began = time.process_time()
                asyncio.run(_each(snapshot, key, reserving, replica, service, REQUESTS))
                found[name].append((time.process_time() - began) / REQUESTS * 1e6)
        journal.close()
    return {name: statistics.median(values) for name, values in found.items()}


async def _with_redis(url: str, folder: str) -> tuple[float, float, float]:
    """Round trips, milliseconds and microseconds of this process's CPU, each for one request."""
    clock, access = SystemClock(), AccessSettings(counters=url, counters_timeout_s=5.0)
    counters, epochs = counters_at(access, clock, lambda: None)
    epoch = await epochs.begin("bench")
    assert epoch is not None
    await epochs.present("bench", epoch, ())
    await epochs.open(epoch, {})
    counting = RemoteCounting(access, "bench", clock)
    journal = Journal(Path(folder), "redis", sync_s=0.05)
    key = mint("bench")
    means = Means(counting, journal, clock, gateway="g", on_failure=OnFailure(), cap=4096, count=uncounted)
    try:
        while counting.epoch is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        snapshot, replica, service = house(directory(key))
        before, began, cpu = _commands(url), time.perf_counter(), time.process_time()
        await _each(snapshot, key, Reserving(means, "bench"), replica, service, REDIS_REQUESTS)
        await counting.settled()
        took, used = time.perf_counter() - began, time.process_time() - cpu
        trips = (_commands(url) - before) / REDIS_REQUESTS
    finally:
        await counting.aclose()
        await counters.aclose()
        journal.close()
    return trips, took / REDIS_REQUESTS * 1e3, used / REDIS_REQUESTS * 1e6


def _commands(url: str) -> int:
    """Calls of scripts that the server has answered, which is all that counters do."""
    with closing(redis.Redis.from_url(url)) as client:
        stats = client.info("commandstats")
    return sum(int(stats[name]["calls"]) for name in stats if name.startswith("cmdstat_eval"))


def main() -> None:
    """Prints the tables."""
    print("| admitted, held, settled | CPU a request |\n| --- | --- |")
    for name, us in measured().items():
        print(f"| {name} | {us:.1f} us |")
    with RedisServer() as server, tempfile.TemporaryDirectory() as folder:
        trips, wait_ms, us = asyncio.run(_with_redis(server.url, folder))
    print("\n| with Redis, limits and a budget | a request |\n| --- | --- |")
    print(f"| round trips | {trips:.2f} |\n| one after the other | {wait_ms:.2f} ms |\n| CPU | {us:.0f} us |")
