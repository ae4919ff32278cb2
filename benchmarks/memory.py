"""Memory over a long run: that of all processes, in the last tenth of the requests against the second tenth.

The first tenth is warming up. Growth goes on when there is a leak; what is reached once and kept is none.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable

import uvloop

from benchmarks.compare import lined_up
from benchmarks.gateways import Gateway
from benchmarks.load import Asking, body, connected, request
from benchmarks.machine import rss_mb

CONNECTIONS = 32
WHOLE_GROWTH = 0.05
CANCELLED_GROWTH = 0.02
_EVERY_S = 0.25
# A cancelled stream leaves after this many chunks of many more.
_READ = 3
_CHUNKS = 1000
_SPACING_MS = 5
_SILENT_S = 60.0


def main(requests: int, cancelled: int) -> None:
    """Prints a row for whole requests and one for streams that the client leaves in the middle."""
    heading()
    for name, number, drive, limit in (
        ("requests", requests, whole, WHOLE_GROWTH),
        ("cancelled streams", cancelled, _cancelled, CANCELLED_GROWTH),
    ):
        if number:
            with lined_up(["ours"]) as found:
                row(name, number, limit, *uvloop.run(watched(found.rows[0].gateway, number, drive)))


def heading() -> None:
    """Prints what the columns are."""
    print(f"{'':>20} {'number':>10} {'per s':>7} {'2nd tenth MB':>12} {'last MB':>8} {'growth':>7} {'failed':>7}")


def row(name: str, number: int, limit: float, samples: list[tuple[int, float]], seconds: float, failed: int) -> None:
    """Prints what ``watched`` gave of so many requests, and whether it is within the limit."""

    def tenth(which: int) -> float:
        low, high = number * which / 10, number * (which + 1) / 10
        return statistics.median(mb for at, mb in samples if low <= at <= high)

    before, after = tenth(1), tenth(9)
    growth = after / before - 1
    print(
        f"{name:>20} {number:>10,} {number / seconds:>7,.0f} {before:>12.1f} {after:>8.1f} {growth:>7.1%} {failed:>7}"
        + ("" if growth < limit and not failed else f"   wanted: under {limit:.0%}, none failed"),
        flush=True,
    )


class Progress:
    """How far a run is."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.begun = 0
        self.ended = 0
        self.failed = 0

    def one_more(self) -> bool:
        """Whether another is to be begun; counts it."""
        if self.begun == self.number:
            return False
        self.begun += 1
        return True


Drive = Callable[[Gateway, Progress], Awaitable[None]]


async def watched(gateway: Gateway, number: int, drive: Drive) -> tuple[list[tuple[int, float]], float, int]:
    """Memory in MB by how many had ended, how long it took, and how many failed."""
    progress, samples = Progress(number), list[tuple[int, float]]()
    pids = gateway.processes()

    async def sample() -> None:
        while True:
            samples.append((progress.ended, rss_mb(pids)))
            await asyncio.sleep(_EVERY_S)

    began = time.perf_counter()
    sampling = asyncio.create_task(sample())
    try:
        await asyncio.gather(*(drive(gateway, progress) for _ in range(CONNECTIONS)))
    finally:
        sampling.cancel()
    return samples, time.perf_counter() - began, progress.failed


async def whole(gateway: Gateway, progress: Progress) -> None:
    """Requests one after another on one connection, made again when it is lost."""
    data = request(body(), gateway.headers)
    while progress.begun < progress.number:
        ended = asyncio.get_running_loop().create_future()

        def done(asking: Asking, ended: asyncio.Future[None] = ended) -> None:
            progress.ended += 1
            progress.failed += not asking.good
            if asking.good and progress.one_more():
                asking.ask(data, 0.0)
            else:
                ended.set_result(None)

        asking = await connected(gateway.port, done)
        if not progress.one_more():
            asking.leave()
            return
        asking.ask(data, 0.0)
        await ended
        if asking.transport is not None:
            asking.leave()


async def _cancelled(gateway: Gateway, progress: Progress) -> None:
    """Streams one after another, each on a connection of its own that is dropped after a few chunks."""
    data = request(body(chunks=_CHUNKS, spacing_ms=_SPACING_MS), gateway.headers)
    while progress.one_more():
        ended = asyncio.get_running_loop().create_future()

        def enough(asking: Asking, ended: asyncio.Future[bool] = ended) -> None:
            if asking.words >= _READ and not ended.done():
                ended.set_result(True)

        def done(asking: Asking, ended: asyncio.Future[bool] = ended) -> None:
            if not ended.done():
                ended.set_result(False)

        asking = await connected(gateway.port, done)
        asking.on_words = enough
        asking.ask(data, 0.0)
        progress.failed += not await asyncio.wait_for(ended, _SILENT_S)
        if asking.transport is not None:
            asking.leave()
        progress.ended += 1
