"""Where a worker's limits and budgets are counted: in itself, in the supervisor, or in Redis."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

import msgspec

from penstock.access.book import Book
from penstock.access.config import AccessSettings
from penstock.assembly.asking import Asker
from penstock.assembly.link import Reserve, SettleLease, ToldOfSupervisor
from penstock.assembly.redis import counters_at
from penstock.core.clock import Clock
from penstock.core.errors import COUNTERS_UNAVAILABLE, PenstockError
from penstock.core.leases import Granted, Need, Refused

_log = logging.getLogger(__name__)

_ANSWERED_WITHIN_S = 2.0
_SETTLED_WITHIN_S = 10.0
_AGAIN_S = 0.2
_JOINED_WITHIN_S = 5.0


class OwnCounting:
    """In this worker's own memory, while it is the only one."""

    def __init__(self, book: Book, owner: str, clock: Clock) -> None:
        self._book = book
        self._owner = owner
        self._clock = clock

    async def reserve(self, lease: str, needs: Sequence[Need]) -> Granted | Refused:
        """Does not wait."""
        return self._book.reserve(self._owner, lease, needs, self._clock.wall())

    def settle(self, lease: str, used: Mapping[str, int]) -> None:
        """At once."""
        self._book.settle(self._owner, lease, used)

    async def ready(self) -> None:
        """It is."""

    async def aclose(self) -> None:
        """Nothing is open."""


class LinkedCounting:
    """In the supervisor's memory, for all workers of one machine."""

    def __init__(self, asker: Asker[ToldOfSupervisor], send: Callable[[SettleLease], None]) -> None:
        self._asker = asker
        self._send = send

    async def reserve(self, lease: str, needs: Sequence[Need]) -> Granted | Refused:
        """Raises ``PenstockError`` when the supervisor is gone (STOPPING) or stuck."""
        try:
            told = await self._asker.ask(Reserve(lease, tuple(needs)), _ANSWERED_WITHIN_S)
        except TimeoutError:
            raise PenstockError(
                COUNTERS_UNAVAILABLE,
                "The supervisor process did not say whether limits allow this. Try again; when this stays, look for "
                "what keeps its machine busy.",
                retry_after=1.0,
            ) from None
        return msgspec.msgpack.decode(told.answer, type=Granted | Refused)

    def settle(self, lease: str, used: Mapping[str, int]) -> None:
        """Said; not waited for."""
        self._send(SettleLease(lease, used))

    async def ready(self) -> None:
        """The supervisor counts before it has workers."""

    async def aclose(self) -> None:
        """What was said goes out with the link."""


class RemoteCounting:
    """In Redis, for all gateways. Settling goes on beside the requests; what cannot be settled while the counters are
    away is tried again until they are back, or rebuilt from the ledger."""

    def __init__(self, access: AccessSettings, owner: str, clock: Clock) -> None:
        self._counters, self._epochs = counters_at(access, clock, self._lost)
        self._owner = owner
        self._joining = asyncio.get_running_loop().create_task(self._join())
        self._waiting: dict[str, Mapping[str, int]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._again: asyncio.Task[None] | None = None

    async def reserve(self, lease: str, needs: Sequence[Need]) -> Granted | Refused:
        """One round trip. Raises ``PenstockError(COUNTERS_UNAVAILABLE)``."""
        return await self._counters.reserve(self._owner, lease, needs)

    def settle(self, lease: str, used: Mapping[str, int]) -> None:
        """One round trip, not waited for."""
        task = asyncio.get_running_loop().create_task(self._settle(lease, used))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def ready(self) -> None:
        """Returns once it counts; or after five seconds, as Redis may be away for long: then the policy for that
        holds."""
        await asyncio.wait((self._joining,), timeout=_JOINED_WITHIN_S)

    @property
    def epoch(self) -> str | None:
        """The one that it counts in; None while it does not."""
        return self._counters.epoch

    async def settled(self) -> None:
        """What is on its way arrives, within ten seconds."""
        if self._running:
            await asyncio.wait(self._running, timeout=_SETTLED_WITHIN_S)

    async def aclose(self) -> None:
        """As ``settled``, and lets go of the connection."""
        await self.settled()
        ending = [task for task in (self._again, self._joining) if task is not None]
        for task in ending:
            task.cancel()
        await asyncio.wait(ending)
        await self._counters.aclose()

    def _lost(self) -> None:
        if self._joining.done():
            self._joining = asyncio.get_running_loop().create_task(self._join())

    async def _join(self) -> None:
        """Counts in the epoch that there is, or waits for it: the supervisor sees to it."""
        while True:
            try:
                standing = await self._epochs.epoch()
            except PenstockError:
                standing = None
            if standing is not None and standing.open:
                self._counters.join(standing.id)
                return
            await asyncio.sleep(_AGAIN_S)

    async def _settle(self, lease: str, used: Mapping[str, int]) -> None:
        try:
            await self._counters.settle(self._owner, lease, used)
        except PenstockError as error:
            if error.fault is not COUNTERS_UNAVAILABLE:
                raise
            if not self._waiting:
                _log.warning("what requests used waits for the counters: %s", error.message)
            self._waiting[lease] = used
            if self._again is None or self._again.done():
                self._again = asyncio.get_running_loop().create_task(self._retry())

    async def _retry(self) -> None:
        while self._waiting:
            await asyncio.sleep(_AGAIN_S)
            for lease, used in tuple(self._waiting.items()):
                try:
                    await self._counters.settle(self._owner, lease, used)
                except PenstockError:
                    break
                del self._waiting[lease]
