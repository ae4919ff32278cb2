"""Alarm: a request's deadlines; and the one ticker of a worker that rings them all.

An event loop's timer costs more than everything else a request needs of time, so requests have none: alarms lie in
buckets by the moment they may have to ring, one ticker goes through the buckets, and an alarm whose limit has moved
since goes to a later one. A chunk costs two attributes.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from types import TracebackType

from penstock.core.errors import DEADLINE_EXCEEDED, PenstockError

_TICKS_PER_S = 50
# Limits nearer than this are met by a timer of their own, which is exact.
_EXACT_S = 0.5
# Alarms further away than this share a bucket for each second.
_FAR_S = 3.0
# A loop's clock may be a millisecond behind its timers.
_EARLY_S = 0.001


class Alarms:
    """The ticker. Belongs to one event loop; ticks only while there is an alarm."""

    __slots__ = ("_buckets", "_count", "_loop", "_seen", "_ticker")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._buckets: dict[int, set[Alarm]] = {}
        self._count = 0
        self._seen = 0
        self._ticker: asyncio.TimerHandle | None = None

    def put(self, alarm: Alarm, now: float) -> None:
        """Has ``alarm.look`` called when its limit is near, or before."""
        limit = alarm.limit
        far = limit - now > _FAR_S
        # Of two ticks before the limit one is in time, and arms a timer for the rest.
        bucket = alarm.bucket = int(limit - 1.0) * _TICKS_PER_S if far else int(limit * _TICKS_PER_S) - 1
        if bucket in self._buckets:
            self._buckets[bucket].add(alarm)
        else:
            self._buckets[bucket] = {alarm}
        self._count += 1
        if self._ticker is None:
            self._seen = int(now * _TICKS_PER_S)
            self._ticker = self._loop.call_later(1 / _TICKS_PER_S, self._tick)

    def take(self, alarm: Alarm) -> None:
        """The opposite of ``put``."""
        self._buckets[alarm.bucket].remove(alarm)
        self._count -= 1
        alarm.bucket = 0

    def _tick(self) -> None:
        now = self._loop.time()
        reached = int(now * _TICKS_PER_S)
        for bucket in range(self._seen + 1, reached + 1):
            due = self._buckets.pop(bucket, ())
            self._count -= len(due)
            for alarm in due:
                alarm.bucket = 0
                alarm.look(now)
        self._seen = reached
        self._ticker = self._loop.call_later(1 / _TICKS_PER_S, self._tick) if self._count else None
        if self._ticker is None:
            self._buckets.clear()


class Alarm:
    """Ends the waits of one task, that which makes it, one at a time. ``total_s`` is from now to the last byte.

    Each wait stands in a ``with alarm.begin(...)``, which raises the alarm's error where it was the alarm that
    cancelled it. It rings as late as a timer of the loop does. Call ``close`` once no more waits follow.
    """

    __slots__ = (
        "_alarms",
        "_armed",
        "_cancelling",
        "_loop",
        "_phase",
        "_rung",
        "_task",
        "_timer",
        "_total_s",
        "_waiting",
        "bucket",
        "limit",
        "total",
    )

    def __init__(self, total_s: float, alarms: Alarms) -> None:
        self._alarms = alarms
        self._loop = alarms._loop
        self._total_s = total_s
        self.total = self._loop.time() + total_s
        """When the request's time is over, by the loop's clock."""
        self.limit = self.total
        """When the wait of this moment is."""
        self.bucket = 0
        self._timer: asyncio.TimerHandle | None = None
        self._armed = math.inf
        task = asyncio.current_task(self._loop)
        assert task is not None
        self._task: asyncio.Task[object] = task
        self._waiting = False
        self._phase: Callable[[], PenstockError] | None = None
        self._cancelling = 0
        self._rung = False

    def left(self) -> float:
        """Seconds to the end of the request's time, at least 0."""
        return max(0.0, self.total - self._loop.time())

    def another(self) -> Alarm:
        """One for another task of the same request."""
        return Alarm(self.left(), self._alarms)

    def begin(self, limit_s: float | None = None, phase: Callable[[], PenstockError] | None = None) -> Alarm:
        """A wait begins, of at most ``limit_s``; ``phase`` makes the error when that is what runs
        out first. Raises ``PenstockError(DEADLINE_EXCEEDED)`` when the total has run out already."""
        now = self._loop.time()
        total = self.total
        if now >= total:
            raise self._exceeded()
        self._waiting, self._phase, self._rung = True, phase, False
        self._cancelling = self._task.cancelling()
        limit = self.limit = total if limit_s is None or now + limit_s >= total else now + limit_s
        if limit - now < _EXACT_S:
            if limit < self._armed:
                self._arm(limit)
        elif not self.bucket:
            self._alarms.put(self, now)
        elif limit * _TICKS_PER_S < self.bucket:
            self._alarms.take(self)
            self._alarms.put(self, now)
        return self

    def __enter__(self) -> None:
        """The wait, which ``begin`` began."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """It is over. Raises ``PenstockError`` in place of a cancellation that was the alarm's."""
        late = self.late() if isinstance(error, asyncio.CancelledError) else None
        self.rest()
        if late is not None:
            raise late from None

    def again(self, limit_s: float | None) -> None:
        """The wait that goes on is of at most ``limit_s`` from now, which is no shorter than it was."""
        if limit_s is not None:
            limit = self._loop.time() + limit_s
            self.limit = limit if limit < self.total else self.total

    def rest(self) -> None:
        """The wait is over."""
        self._waiting = False

    def late(self) -> PenstockError | None:
        """After a wait that was cancelled: what to raise in place of the cancellation, if the alarm did it."""
        if not self._rung or self._task.uncancel() > self._cancelling:
            return None
        if self._phase is not None and self.limit < self.total:
            return self._phase()
        return self._exceeded()

    def close(self) -> None:
        """Idempotent."""
        # It may lead back to whoever holds this alarm.
        self._phase = None
        if self.bucket:
            self._alarms.take(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._armed = math.inf

    def look(self, now: float) -> None:
        """Rings if it is time, else sees to being looked at again. While nobody waits it does neither: what ran out
        then is found by the next wait."""
        if not self._waiting:
            return
        if now >= self.limit:
            self._rung = True
            self._task.cancel()
        elif self.limit - now < _EXACT_S:
            if self.limit < self._armed:
                self._arm(self.limit)
        elif not self.bucket:
            self._alarms.put(self, now)

    def _ring(self) -> None:
        self._timer, self._armed = None, math.inf
        self.look(self._loop.time() + _EARLY_S)

    def _arm(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed = at
        self._timer = self._loop.call_at(at, self._ring)

    def _exceeded(self) -> PenstockError:
        return PenstockError(
            DEADLINE_EXCEEDED,
            f"The request was not answered within {self._total_s:g} seconds. Ask for less at once, or raise "
            "`deadlines: total_s` of the service (and the header x-penstock-timeout, if you send it).",
        )
