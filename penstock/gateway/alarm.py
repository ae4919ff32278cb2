"""Alarm: a request's deadlines, with one timer for all of them.

A timer is armed once and looks, when it fires, whether the limit has moved since; so a chunk costs two attributes,
not a timer. What runs out while nobody waits is found by the next wait.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from penstock.core.errors import DEADLINE_EXCEEDED, PenstockError

# A loop's clock may be a millisecond behind its timers.
_EARLY_S = 0.001


class Alarm:
    """Ends the waits of one request at a time. ``total_s`` is from now to the last byte.

    Around a wait: ``begin``, and ``rest`` whatever happens; where the wait is cancelled, ``late`` says whether it was
    the alarm. Belongs to one event loop. Call ``close`` once no more waits follow.
    """

    __slots__ = (
        "_armed",
        "_cancelling",
        "_limit",
        "_loop",
        "_phase",
        "_rung",
        "_task",
        "_timer",
        "_total_s",
        "total",
    )

    def __init__(self, total_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._total_s = total_s
        self.total = self._loop.time() + total_s
        """When the request's time is over, by the loop's clock."""
        self._limit = self.total
        self._armed = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[object] | None = None
        self._phase: Callable[[], PenstockError] | None = None
        self._cancelling = 0
        self._rung = False

    def left(self) -> float:
        """Seconds to the end of the request's time, at least 0."""
        return max(0.0, self.total - self._loop.time())

    def begin(self, limit_s: float | None = None, phase: Callable[[], PenstockError] | None = None) -> None:
        """A wait of the current task begins, of at most ``limit_s``; ``phase`` makes the error when that is what runs
        out first. Raises ``PenstockError(DEADLINE_EXCEEDED)`` when the total has run out already."""
        now = self._loop.time()
        total = self.total
        limit = total if limit_s is None or now + limit_s >= total else now + limit_s
        if now >= total:
            raise self._exceeded()
        task = asyncio.current_task()
        assert task is not None
        self._task, self._phase, self._limit = task, phase, limit
        self._cancelling = task.cancelling()
        self._rung = False
        if limit < self._armed:
            self._arm(limit)

    def rest(self) -> None:
        """The wait is over."""
        self._task = None

    def late(self) -> PenstockError | None:
        """After a wait that was cancelled: what to raise in place of the cancellation, if the alarm did it."""
        task = asyncio.current_task()
        if not self._rung or task is None or task.uncancel() > self._cancelling:
            return None
        if self._phase is not None and self._limit < self.total:
            return self._phase()
        return self._exceeded()

    def close(self) -> None:
        """Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._armed = math.inf

    def _arm(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed = at
        self._timer = self._loop.call_at(at, self._ring)

    def _ring(self) -> None:
        self._timer, self._armed = None, math.inf
        if self._task is None:
            return
        if self._loop.time() + _EARLY_S < self._limit:
            self._arm(self._limit)
            return
        self._rung = True
        self._task.cancel()

    def _exceeded(self) -> PenstockError:
        return PenstockError(
            DEADLINE_EXCEEDED,
            f"The request was not answered within {self._total_s:g} seconds. Ask for less at once, or raise "
            "`deadlines: total_s` of the service (and the header x-penstock-timeout, if you send it).",
        )
