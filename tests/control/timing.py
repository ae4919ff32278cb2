"""Time that moves when a test says so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


class ManualTime:
    """A clock and a sleeper. ``slept`` are the waits that were asked for, in order."""

    def __init__(self) -> None:
        self._now = 0.0
        self._waiting: list[tuple[float, asyncio.Future[None]]] = []
        self.slept: list[float] = []

    def now(self) -> float:
        return self._now

    def wall(self) -> float:
        return 1_700_000_000.0 + self._now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        waking: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((self._now + seconds, waking))
        await waking

    async def advance(self, seconds: float) -> None:
        """Lets everybody come to where they wait, time pass, and those whose time has come run on."""
        await turns()
        self._now += seconds
        due = [waking for at, waking in self._waiting if at <= self._now]
        self._waiting = [(at, waking) for at, waking in self._waiting if at > self._now]
        for waking in due:
            if not waking.done():
                waking.set_result(None)
        await turns()


async def turns(count: int = 20) -> None:
    """Lets every task that can go on do so."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(done: Callable[[], object], within_s: float = 2.0) -> None:
    """Lets tasks run until ``done`` says so."""
    deadline = time.monotonic() + within_s
    while not done():
        assert time.monotonic() < deadline, "did not happen"
        await asyncio.sleep(0)
