"""What it costs the supervisor to bring requests from the journals into the store: its CPU, system calls included.

``python -m benchmarks shipping``. Every request wrote one Opened and one Settled; the store is SQLite on disk, with
``BEFORE`` rows in its ledger already; a request took ``TOOK_S`` on average. *Waiting*: the journals of so many were
there. *Live*: another process writes them meanwhile. *Mirrored*: three limits and a budget hold for every request,
and a mirror of the counters follows.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from penstock.access.book import Book
from penstock.control.shipping import Shipping
from penstock.core.clock import SystemClock
from penstock.core.leases import Hold
from penstock.core.usage import Entry, Held, Opened, Opening, Settled, Tokens
from penstock.store.audit import SqlAudit
from penstock.store.database import open_database, sqlite_url
from penstock.store.journal import Journal
from penstock.store.ledger import SqlLedger
from penstock.store.migrations import migrate

ROUNDS = 5
BEFORE = 300_000
WAITING = 20_000
RATES = (500, 5_000)
SECONDS = 3.0
TOOK_S = 1.0
_KEYS = 500
_FLUSHED_S = 60.0
_Follow = Callable[[str, Opening | Settled], None]


def _ignore(*_: object) -> None:
    """Nobody has limits."""


def request(number: int, at: float, *, limited: bool) -> tuple[Opened, Settled]:
    """What one request writes."""
    lease, key = f"g1a2b3c4d-w0-5e6f7a8b.{number}", random.randrange(_KEYS)
    # Those that take longer come later.
    received_at = at - random.expovariate(1 / TOOK_S)
    bound = Entry(
        request_id=f"req_{random.getrandbits(96):024x}", attempt=1, gateway="g1a2b3c4d", received_at=received_at,
        settled_at=received_at, project=f"project-{key % 40}", key_id=f"{key:012x}", user="", team="", service="chat",
        model="gpt-5-mini", kind="chat", ending="worker_lost", status=500, tokens=Tokens(input=1052, output=512),
        estimated=True, cost_nano=1_287_000, price="gpt-5-mini@1754524800",
    )  # fmt: skip
    row = Entry(
        request_id=bound.request_id, attempt=1, gateway=bound.gateway, received_at=received_at, settled_at=at,
        project=bound.project, key_id=bound.key_id, user="", team="", service="chat", model="gpt-5-mini", kind="chat",
        ending="complete", status=200, tokens=Tokens(input=220, output=30, cached_read=128), estimated=False,
        cost_nano=88_125, price=bound.price,
    )  # fmt: skip
    if not limited:
        return Opened(lease, bound, ()), Settled(lease, (row,), {})
    names = (f"a:{bound.key_id}", f"b:{bound.key_id}", f"c:{bound.project}")
    held = tuple(Held(name, Hold.SLIDING, 1564, 60.0, 0.0, at) for name in names)
    budget = f"d:{bound.project}:1761955200"
    held += (Held(budget, Hold.KEPT, bound.cost_nano, 0.0, at + 10**6, at),)
    return Opened(lease, bound, held), Settled(lease, (row,), {**dict.fromkeys(names, 250), budget: row.cost_nano})


def _write(folder: Path, owner: str, rate: int, seconds: float) -> None:
    """A worker, in a process of its own."""
    os.sched_setaffinity(0, {_cores()[0]})
    journal = Journal(folder, owner, sync_s=0.05)
    began, written = time.monotonic(), 0
    while (past := time.monotonic() - began) < seconds:
        while written < past * rate:
            for record in request(written, time.time(), limited=False):
                journal.write(record)
            written += 1
        time.sleep(0.002)
    journal.close()


def _cores() -> Sequence[int]:
    """The first is for the writer, the last for the supervisor."""
    return range(os.cpu_count() or 1)


class _House:
    """A gateway's home with a ledger that has seen use."""

    def __init__(self, home: Path) -> None:
        self.journals = home / "journal"
        self.journals.mkdir()
        database = open_database(sqlite_url(home / "state.db"))
        migrate(database, now=0.0)
        self.ledger = SqlLedger(database)
        self._audit = SqlAudit(database, Ed25519PrivateKey.generate(), lambda _: None, time.time)
        self._count = 0
        begin = time.time() - 3600
        for first in range(0, BEFORE, 10_000):
            self.ledger.append(_rows(begin, range(first, min(first + 10_000, BEFORE))))

    def owner(self) -> str:
        """A name that was not there before."""
        self._count += 1
        return f"w{self._count}"

    @contextlib.asynccontextmanager
    async def shipping(self, follow: _Follow) -> AsyncIterator[Shipping]:
        """One life of it, which begins when it is entered."""
        shipping = Shipping(
            self.journals, self.ledger, self._audit, _ignore, _ignore, limit_bytes=1 << 30, clock=SystemClock(),
            follow=follow, orphaned=_ignore, changed=_ignore,
        )  # fmt: skip
        running = asyncio.create_task(shipping.run())
        try:
            yield shipping
        finally:
            running.cancel()
            await asyncio.wait((running,))


def _rows(begin: float, numbers: range) -> Sequence[Entry]:
    return [request(number, begin + number / 1000, limited=False)[1].entries[0] for number in numbers]


async def _waiting(house: _House, *, limited: bool) -> float:
    """Microseconds of CPU a request."""
    follow = Book().follow if limited else _ignore
    async with house.shipping(follow) as shipping:
        await shipping.flush(_FLUSHED_S)
        journal, begin = Journal(house.journals, house.owner(), sync_s=10.0), time.time()
        for number in range(WAITING):
            for record in request(number, begin + number / 5_000, limited=limited):
                journal.write(record)
        # Its own sync is not the supervisor's.
        journal.close()
        began = time.process_time()
        await shipping.flush(_FLUSHED_S)
        return (time.process_time() - began) / WAITING * 1e6


async def _live(house: _House, rate: int) -> float:
    """Microseconds of CPU a request at so many a second; at 0 of a second with none."""
    async with house.shipping(_ignore) as shipping:
        await shipping.flush(_FLUSHED_S)
        if not rate:
            began = time.process_time()
            await asyncio.sleep(SECONDS)
            return (time.process_time() - began) / SECONDS * 1e6
        spawn = multiprocessing.get_context("spawn")
        writer = spawn.Process(target=_write, args=(house.journals, house.owner(), rate, SECONDS))
        writer.start()
        while not shipping.waiting():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        began = time.process_time()
        await asyncio.to_thread(writer.join)
        await shipping.flush(_FLUSHED_S)
        return (time.process_time() - began) / (rate * SECONDS) * 1e6


def measured() -> dict[str, float]:
    """Microseconds of CPU a request, medians; of *idle*, a second."""
    found: dict[str, list[float]] = {}
    os.sched_setaffinity(0, {_cores()[-1]})
    with tempfile.TemporaryDirectory() as home:
        house = _House(Path(home))
        for _ in range(ROUNDS):
            found.setdefault("waiting", []).append(asyncio.run(_waiting(house, limited=False)))
            found.setdefault("waiting, mirrored", []).append(asyncio.run(_waiting(house, limited=True)))
            for rate in RATES:
                found.setdefault(f"live, {rate:,} a second", []).append(asyncio.run(_live(house, rate)))
        found["idle"] = [asyncio.run(_live(house, 0))]
    return {name: statistics.median(values) for name, values in found.items()}


def main() -> None:
    """Prints the table."""
    results = measured()
    print(f"| journals into a ledger of {BEFORE:,} rows | the supervisor's CPU |\n| --- | --- |")
    for name, us in results.items():
        print(f"| {name} | {us / 1e4:.2f} % of a core |" if name == "idle" else f"| {name} | {us:.1f} us a request |")


if __name__ == "__main__":
    main()
