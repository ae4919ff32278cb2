"""Brings what workers saw of requests from their spools into the log and the series.

Three effects, in this order: the log takes records by their names, and has each once however often it comes; the
series take the sums of some batches together with the place up to which the spools were read, in one transaction;
then the spools are deleted up to there. Whoever dies in between reads on from the place that the series have. So
everything is in both once, and the spools are how long a store may be away.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor

import msgspec

from penstock.control.recording_batch import Taken, Telling, Told
from penstock.control.threads import in_thread_of
from penstock.core.clock import Clock
from penstock.core.errors import PenstockError
from penstock.core.requests import RequestContent, RequestRecord
from penstock.observe.spool_reader import SpoolReader
from penstock.store import RequestStore, SeriesStore

Export = Callable[[Sequence[RequestRecord], Sequence[RequestContent]], None]
"""Gets what is traced, and what was kept of what was said in it. Must not block, nor raise."""

_log = logging.getLogger(__name__)


class RecordingPace(msgspec.Struct, frozen=True, kw_only=True):
    """Spools are looked at every ``tick_s``, or every ``busy_s`` while ``many`` records come in it, and about
    ``records`` read at once: larger batches are less work. While there is more it rests as long as the batch before
    took, and ``rest_least_s`` at least. The log gets each batch; the series get what some come
    to, every ``series_s`` or when it is as many records, and every ``idle_s`` that there is nothing. Between tries of
    a store that is away it waits ``backoff_s``, twice as long each time, to ``backoff_most_s``."""

    tick_s: float = 0.5
    busy_s: float = 2.0
    many: int = 100
    series_s: float = 2.0
    records: int = 2000
    rest_least_s: float = 0.01
    idle_s: float = 2.0
    backoff_s: float = 0.1
    backoff_most_s: float = 5.0


class Recorder:
    """The supervisor's end of all spools of one folder. To be used from the event loop's thread; ``reader`` is its
    own. ``living`` are the owners that write, or may begin to: whoever has ended must not be among them."""

    def __init__(
        self,
        reader: SpoolReader,
        requests: RequestStore,
        series: SeriesStore,
        export: Export,
        clock: Clock,
        gateway: str,
        *,
        living: Callable[[], Collection[str]],
        pace: RecordingPace = RecordingPace(),  # noqa: B008 - frozen
    ) -> None:
        self._reader = reader
        self._requests = requests
        self._series = series
        self._export = export
        self._clock = clock
        self._gateway = gateway
        self._living = living
        self._pace = pace
        self._telling: Telling | None = None
        self._taken: Taken | None = None
        self._told: Told | None = None
        self._end = False
        self._came = 0
        self._told_at = -math.inf
        self._waiting = 0
        self._stale_since: float | None = None
        self._turns = 0
        self._whole = 0
        self._waiters = 0
        self._woken = asyncio.Event()
        self._moved = asyncio.Condition()

    async def run(self) -> None:
        """Keeps at it until cancelled; what is under way is then at its end."""
        pace = self._pace
        tries = 0
        with ThreadPoolExecutor(1, "recorder") as thread:
            while True:
                began = time.monotonic()
                self._woken.clear()
                more = await self._turn(thread, tries)
                tries = tries + 1 if more is None else 0
                if more is None:
                    await self._rest(min(pace.backoff_s * 2.0 ** min(tries - 1, 16), pace.backoff_most_s))
                elif more:
                    # The event loop, and the store's other users, get as much of the time.
                    await asyncio.sleep(max(pace.rest_least_s, time.monotonic() - began))
                else:
                    await self._rest(pace.tick_s if self._came < pace.many else pace.busy_s)

    def waiting(self) -> int:
        """Bytes of the spools that the stores do not have yet, as of the last look."""
        return self._waiting

    def damaged(self) -> int:
        """Places in spools that could not be read, and records that this version does not know."""
        return self._reader.damaged + self._reader.skipped

    def stale_since(self) -> float | None:
        """Since when the stores have taken nothing, in seconds since the epoch; None: they do."""
        return self._stale_since

    async def flush(self, within_s: float) -> None:
        """Returns when all that was on the disk before the call is in the stores. Raises ``TimeoutError``, when a
        store is away say; nothing is lost then."""
        wanted = self._turns + 1
        self._waiters += 1
        self._woken.set()
        try:
            async with asyncio.timeout(within_s), self._moved:
                await self._moved.wait_for(lambda: self._whole >= wanted)
        finally:
            self._waiters -= 1

    async def _rest(self, seconds: float) -> None:
        """Until then, or until somebody waits."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), seconds)

    async def _turn(self, thread: Executor, tries: int) -> bool | None:
        """Whether there is more to do at once; None: a store is away."""
        living = frozenset(self._living())
        if self._taken is None and self._told is None:
            # What was read before somebody began to wait is not all that it waits for.
            self._turns += 1
        turn, hurried = self._turns, self._waiters > 0
        try:
            told = await in_thread_of(thread, self._bring, living, hurried)
        except (PenstockError, OSError) as error:
            self._away(tries, error)
            return None
        except Exception:  # noqa: BLE001 - whatever it is, giving up would lose what was seen
            if not tries:
                _log.exception("what was seen of requests is not recorded, and waits")
            self._stale_since = self._stale_since or self._clock.wall()
            return None
        if self._stale_since is not None:
            _log.info("what was seen of requests is recorded again")
            self._stale_since = None
        if told is not None and (told.traced or told.said):
            self._export(told.traced, told.said)
        if self._end and told is not None:
            async with self._moved:
                self._whole = turn
                self._moved.notify_all()
        return not self._end

    def _away(self, tries: int, error: Exception) -> None:
        if not tries:
            _log.warning("what was seen of requests waits on the disk, as it cannot be recorded: %s", error)
        self._stale_since = self._stale_since or self._clock.wall()

    # -- in a thread -------------------------------------------------------------------------------------------------

    def _bring(self, living: frozenset[str], hurried: bool) -> Told | None:
        """What is under way, or else the next batch; what was told, None: it was too early. Raises ``PenstockError``
        and ``OSError``; what is under way stays it then."""
        try:
            if self._told is None:
                telling, taken = self._next(living)
                if taken.records or taken.contents:
                    self._requests.append_requests(taken.records, taken.contents)
                self._taken, self._end, self._came = None, taken.whole, len(taken.batch.records)
                if not (hurried or taken.batch.ended or self._due(telling)):
                    return None
                self._told = telling.tell(taken.batch)
            told = self._told
            self._series.append_series(told.rows, told.fed)
            self._told_at = self._clock.now()
            self._reader.done(told.batch)
            self._told = None
            return told
        finally:
            with contextlib.suppress(OSError):
                self._waiting = self._reader.waiting()

    def _next(self, living: frozenset[str]) -> tuple[Telling, Taken]:
        """What is under way to the log, or else what is read now."""
        if self._telling is None:
            told = next((each for each in self._series.fed() if each.gateway == self._gateway), None)
            self._telling = Telling(self._gateway, told)
            self._reader.resume(self._telling.spots)
        if self._taken is None:
            at, most = self._clock.wall(), self._pace.records
            try:
                self._taken = self._telling.take(self._reader.read(most, living), living, at, most)
            except BaseException:
                # Part of it was read: all is read again, from where the series say.
                self._reader.again()
                self._telling = None
                raise
        return self._telling, self._taken

    def _due(self, telling: Telling) -> bool:
        """Whether the series should hear of it. Until then the spools keep it."""
        pace = self._pace
        if telling.untold >= pace.records:
            return True
        return self._clock.now() >= self._told_at + (pace.series_s if telling.untold else pace.idle_s)
