"""The supervisor's side of caches: it has what gateways share swept, and says what came of it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Mapping

from penstock.assembly.caching import Caches
from penstock.assembly.loops import running
from penstock.caches import metrics as caches
from penstock.caches.config import CacheSettings
from penstock.control import metrics as control
from penstock.control.sweeping import Sweeping
from penstock.core.caching import Invalidation
from penstock.core.clock import Clock
from penstock.observe.totals import Series, Totals


class Sweeper:
    """``told`` what is invalidated. Without anything that is shared there is nothing to sweep. Raises
    ``PenstockError(BAD_DEPLOYMENT)`` as ``Caches`` does."""

    def __init__(
        self, settings: CacheSettings, clock: Clock, *, gateway: str, standing: Callable[[], Collection[str]]
    ) -> None:
        self._meter = Totals(
            (caches.READS, caches.READ_SECONDS, caches.WRITES, control.CACHE_SWEEPS, control.CACHE_SWEPT)
        )
        self._caches: Caches | None = None
        self._sweeping: Sweeping | None = None
        if settings.redis is not None or settings.s3 is not None:
            self._caches = Caches(settings, clock=clock, meter=self._meter, memory=False)
            self._sweeping = Sweeping(
                self._caches.answers, gateway=gateway, standing=standing, clock=clock, meter=self._meter
            )

    def told(self, records: tuple[Invalidation, ...]) -> None:
        """This is all that is invalidated from now on."""
        if self._sweeping is not None:
            self._sweeping.told(records)

    def measured(self) -> Mapping[str, tuple[Series, ...]]:
        """What came of it, and what the tiers said."""
        return self._meter.report().metrics

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Sweeps for the time of the block; once, and then lets go of the tiers."""
        async with contextlib.AsyncExitStack() as held:
            if self._caches is not None and self._sweeping is not None:
                held.push_async_callback(self._caches.aclose)
                await held.enter_async_context(running(self._sweeping.run()))
            yield
