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
from pathlib import Path

import msgspec

from penstock.access.book import Book
from penstock.access.config import OnFailure
from penstock.access.keyring import Keyring
from penstock.access.keys import digest, mint
from penstock.access.limits import Rules
from penstock.access.peppers import Pepper
from penstock.access.prices import PriceList
from penstock.assembly.counting import OwnCounting
from penstock.core.accounts import Budget, Directory, KeyRecord, Limit, Project
from penstock.core.chat import Call, Usage
from penstock.core.clock import SystemClock
from penstock.core.money import NANO, Price, Rates
from penstock.core.serving import Deployment, Model, Replica, Service
from penstock.edge.http.dialects.chat import read
from penstock.gateway.admit import admit
from penstock.gateway.lease import Count, Means
from penstock.gateway.reserve import Reserving
from penstock.gateway.snapshot import Engine, Snapshot
from penstock.store.journal import Journal

ROUNDS = 7
REQUESTS = 5_000
_PEPPER = Pepper("bench", b"p" * 32)
_BODY = b'{"model":"chat","max_tokens":64,"messages":[{"role":"user","content":"%s"}]}' % (b"word " * 200)


async def _uncounted(_: Call, __: Service) -> int | None:
    return None


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


async def _each(snapshot: Snapshot, key: str, reserving: Reserving, replica: Replica, service: Service) -> None:
    call = read("req_1", _BODY).call
    for _ in range(REQUESTS):
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
    service, model = Service("chat", ("m",)), Model("m", "openai", "x", b"")
    replica = Replica("m-0", "m", "http://127.0.0.1:1/v1")
    deployment = Deployment(1, {"m": model}, {"chat": service}, {"m": (replica,)})
    engines: Mapping[str, Engine] = {}
    count: Count = _uncounted
    found: dict[str, list[float]] = {"limits and a budget": [], "no limits": []}
    with tempfile.TemporaryDirectory() as folder:
        clock, journal = SystemClock(), Journal(Path(folder), "bench", sync_s=0.05)
        counting = OwnCounting(Book(), "bench", clock)
        means = Means(counting, journal, clock, gateway="g", on_failure=OnFailure(), cap=4096, count=count)
        reserving = Reserving(means, "bench")
        full = directory(key)
        for _ in range(ROUNDS):
            for name, known in (
                ("limits and a budget", full),
                ("no limits", msgspec.structs.replace(full, limits=(), budgets=())),
            ):
                keyring = Keyring(known, (_PEPPER,), clock.wall, lambda _: None)
                snapshot = Snapshot(deployment, engines, keyring, Rules(known), PriceList(known.prices))
                began = time.process_time()
                asyncio.run(_each(snapshot, key, reserving, replica, service))
                found[name].append((time.process_time() - began) / REQUESTS * 1e6)
        journal.close()
    return {name: statistics.median(values) for name, values in found.items()}


def main() -> None:
    """Prints the table."""
    print("| admitted, held, settled | CPU a request |\n| --- | --- |")
    for name, us in measured().items():
        print(f"| {name} | {us:.1f} us |")
