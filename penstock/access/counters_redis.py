"""Counters in Redis, for several gateways: each call is one script, in one round trip, on the clock of Redis.

They count within an *epoch*: from when they were last rebuilt from the ledger (``counters_redis_epochs``) until Redis
loses any of it. What keeps the budgets is that nothing is granted outside one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from penstock.access.counters_redis_link import EpochLost, RedisLink, Script
from penstock.access.counters_tally import BUCKETS
from penstock.core.errors import COUNTERS_UNAVAILABLE, PenstockError
from penstock.core.leases import Granted, Hold, Level, Need, Refused

HOLDS = {Hold.SLIDING: "s", Hold.HELD: "h", Hold.KEPT: "k"}
"""The script's words."""


class RedisCounters:
    """``Counters`` in Redis. Whole numbers up to 2^53 are exact.

    Beside what the port promises, every call raises ``EpochLost`` when this process is in no epoch: it was never told
    one by ``join``, or Redis has lost it. Then ``lost`` is called, once for each epoch, from within the call.
    """

    def __init__(self, link: RedisLink, lost: Callable[[], None]) -> None:
        self._link = link
        self._lost = lost
        self._script: Script | None = None

    @property
    def epoch(self) -> str | None:
        """The one it counts in."""
        return None if self._script is None else self._script.epoch

    def join(self, epoch: str) -> None:
        """Counts in this epoch from now on. Only to be called when the open leases of this gateway have been
        presented to it, or it has none."""
        self._script = Script.of(epoch)

    async def reserve(self, owner: str, lease: str, needs: Sequence[Need]) -> Granted | Refused:
        """As the port has it. While the epoch is being rebuilt, ``PenstockError(COUNTERS_UNAVAILABLE)``."""
        asked: list[str | int | float] = []
        for need in needs:
            width = need.window_s * 1e6 / BUCKETS
            asked += (need.counter, HOLDS[need.hold], need.limit, need.amount, repr(width), repr(need.until))
        answer = await self._run("reserve", owner, lease, *asked)
        if not isinstance(answer, list):
            raise PenstockError(
                COUNTERS_UNAVAILABLE, "limits and budgets are being rebuilt from the ledger; try again in a moment"
            )
        if answer[0]:
            return Granted(_levels(answer, 2), answer[1] / 1e6)
        wait = {-1: None, -2: math.inf}.get(answer[2], answer[2] / 1e6)
        return Refused(answer[1], wait, _levels(answer, 3))

    async def settle(self, owner: str, lease: str, used: Mapping[str, int]) -> None:
        """As the port has it."""
        await self._run("settle", owner, lease, *(each for pair in used.items() for each in pair))

    async def end(self, owner: str) -> int:
        """As the port has it."""
        answer = await self._run("end", owner)
        return answer if isinstance(answer, int) else 0

    async def begin(self, counters: Mapping[str, tuple[int, float]]) -> None:
        """As the port has it."""
        said: list[str | int | float] = []
        for counter, (amount, until) in counters.items():
            said += (counter, amount, repr(until))
        await self._run("begin", *said)

    async def aclose(self) -> None:
        """Closes the link, also for whoever shares it. Idempotent."""
        await self._link.aclose()

    async def _run(self, *arguments: str | int | float) -> list[int] | int | bytes:
        script = self._script
        if script is None:
            raise EpochLost
        try:
            answer = await self._link.run(script, *arguments)
        except EpochLost:
            answer = b"lost"
        if answer == b"lost":
            if self._script is script:
                self._script = None
                self._lost()
            raise EpochLost
        return answer  # type: ignore[return-value]


def _levels(answer: list[int], begin: int) -> tuple[Level, ...]:
    return tuple(Level(answer[at], answer[at + 1] / 1e6) for at in range(begin, len(answer), 2))
