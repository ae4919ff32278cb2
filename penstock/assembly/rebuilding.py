"""Counters in Redis, as the supervisor keeps them: noticed when they are lost, and rebuilt from the ledger."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine

from penstock.access.config import AccessSettings
from penstock.assembly.accounting import Accounting
from penstock.assembly.redis import Open, counters_at
from penstock.assembly.state import State
from penstock.control.directories import Directories
from penstock.control.shipping import Shipping
from penstock.core.clock import Clock
from penstock.core.errors import PenstockError

_log = logging.getLogger(__name__)

_EVERY_S = 0.25
_ASKED_WITHIN_S = 2.0
_FLUSHED_WITHIN_S = 5.0
_BURIED_S = 60.0


class Rebuilding:
    """Looks at the epoch of the counters four times a second. ``holding`` gives the open leases of all workers."""

    def __init__(
        self,
        access: AccessSettings,
        state: State,
        clock: Clock,
        holding: Callable[[], Coroutine[object, object, Open]],
    ) -> None:
        self._gateway = state.gateway
        self._holding = holding
        self.counters, self._epochs = counters_at(access, clock, self._lost)
        self._shipping: Shipping | None = None
        self._directories: Directories | None = None
        self._accounting: Accounting | None = None
        self._clock = clock
        self._gone: dict[str, float] = {}
        self._looked_at = clock.now()
        self._presented = ""
        self._leads = ""
        self._away = False

    def begin(self, shipping: Shipping, directories: Directories, accounting: Accounting) -> None:
        """What the rebuild asks: said once, before ``run``."""
        self._shipping, self._directories, self._accounting = shipping, directories, accounting

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self._look()
            except (PenstockError, TimeoutError) as error:
                if not self._away:
                    _log.error("the counters of limits and budgets do not answer: %s", error)
                self._away = True
            else:
                if self._away:
                    _log.warning("the counters of limits and budgets answer again")
                self._away = False
            await asyncio.sleep(_EVERY_S)

    async def ready(self, within_s: float) -> None:
        """Returns once the counters count, or the time is over: then the policy for their failure holds."""
        try:
            async with asyncio.timeout(within_s):
                while self.counters.epoch is None:
                    await self._look()
                    await asyncio.sleep(_EVERY_S / 5)
        except (PenstockError, TimeoutError) as error:
            _log.error("the counters of limits and budgets are not ready: %s", error)

    async def aclose(self) -> None:
        """Lets go of the connection."""
        await self.counters.aclose()

    def _lost(self) -> None:
        _log.warning("the counters of limits and budgets were lost; they are rebuilt from the ledger")

    async def _look(self) -> None:
        assert self._directories is not None
        standing = await self._epochs.epoch()
        if standing is None or not (standing.open or self._leads == standing.id):
            # Whoever leads may be gone: then its time is over some day, and another one gets an answer here.
            begun = await self._epochs.begin(self._gateway)
            if begun is not None:
                self._leads = begun
                standing = await self._epochs.epoch()
            if standing is None:
                return
        if self._presented != standing.id:
            await self._present(standing.id)
        if not standing.open and self._leads == standing.id:
            there = await self._epochs.presented(standing.id)
            if self._directories.alive <= there:
                await self._open(standing.id)
        if standing.open:
            assert self._accounting is not None
            await self._accounting.begin_late()
            await self._bury()

    async def _bury(self) -> None:
        """Places that a gateway holds which has not lived for a minute are given back; what its leases may have used
        stays reserved, for its journal may still say that it was."""
        assert self._directories is not None
        now = self._clock.now()
        if now - self._looked_at < _BURIED_S / 4:
            return
        self._looked_at = now
        leases = await self._epochs.leases()
        gone = {owner for owner, _ in leases if owner.partition("-")[0] not in self._directories.alive}
        self._gone = {owner: self._gone.get(owner, now) for owner in gone}
        for owner, lease in leases:
            if owner in gone and now - self._gone[owner] > _BURIED_S:
                await self.counters.settle(owner, lease, {})

    async def _present(self, epoch: str) -> None:
        """This gateway's open leases are counted in the epoch. First the leases, then the ledger: one that is settled
        in between is counted twice for a moment, never not at all."""
        assert self._shipping is not None
        leases = await self._holding()
        await self._shipping.flush(_FLUSHED_WITHIN_S)
        await self._epochs.present(self._gateway, epoch, leases)
        self.counters.join(epoch)
        self._presented = epoch

    async def _open(self, epoch: str) -> None:
        assert self._accounting is not None
        spent, past = await self._accounting.spent_by_now(), await self._accounting.used_lately()
        # When it fails, part of it may have been added: it is begun anew.
        self._leads = ""
        await self._epochs.open(epoch, spent, past)
        _log.warning("the counters of limits and budgets were rebuilt from the ledger")
