"""Keeps what this gateway knows of keys, limits and prices no older than a moment, as long as the store answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from penstock.core.accounts import Directory
from penstock.core.clock import Clock
from penstock.core.errors import PenstockError
from penstock.store import StateStore

EVERY_S = 0.25
BEAT_S = 2.0
_ASKED_WITHIN_S = 10.0
_BEYOND_S = 0.01

_log = logging.getLogger("penstock.control")


class Directories:
    """Asks the store's version ``EVERY_S`` seconds, and at once when ``look`` is called. A change is handed to
    ``changed``, one at a time, the newest last, and again when that raises ``PenstockError``. ``stale`` hears whether
    the store has been away for longer than ``stale_after_s``, whenever that changes; ``gateway`` is the name under
    which this one says that it lives, every ``BEAT_S`` seconds and when the releases that it can serve, ``ready``,
    have changed since. ``ready`` is called on the event loop and must not block."""

    def __init__(
        self,
        state: StateStore,
        clock: Clock,
        *,
        gateway: str,
        stale_after_s: float,
        changed: Callable[[Directory], Awaitable[None]],
        stale: Callable[[bool], None],
        ready: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self._state = state
        self._clock = clock
        self._gateway = gateway
        self._stale_after_s = stale_after_s
        self._changed = changed
        self._hear_stale = stale
        self._ready = ready
        self._told: frozenset[str] = frozenset()
        self._asked = asyncio.Event()
        self._turn = asyncio.Lock()
        self._good_at = clock.now()
        self._beat_at = float("-inf")
        self._stale = False
        self._away = False
        self.version = -1
        self.standing: Mapping[str, frozenset[str]] = {gateway: frozenset()}
        """The gateways of this store that lived a moment ago, this one among them, and the releases that each said it
        could serve then."""

    @property
    def alive(self) -> frozenset[str]:
        """The gateways of this store that lived a moment ago."""
        return frozenset(self.standing)

    @property
    def away(self) -> bool:
        """Whether the store did not answer when it was asked last."""
        return self._away

    @property
    def asked(self) -> bool:
        """Whether something was changed here that may not be known yet."""
        return self._asked.is_set()

    async def first(self) -> None:
        """The first look, without which nobody can be let in. Raises ``PenstockError`` when the store is away."""
        directory = await asyncio.to_thread(self._newer, frozenset(self._ready()))
        assert directory is not None
        await self._changed(directory)
        self.version = directory.version

    def look(self) -> None:
        """Something was changed here: see it now."""
        self._asked.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.once()
            try:
                async with asyncio.timeout(EVERY_S):
                    await self._asked.wait()
            except TimeoutError:
                pass
            self._asked.clear()

    async def once(self) -> None:
        """Asks once, and hands on what is new; what was changed before the call is then known."""
        async with self._turn:
            await self._once()

    async def _once(self) -> None:
        asked_at = self._clock.now()
        asking = asyncio.ensure_future(asyncio.to_thread(self._newer, frozenset(self._ready())))
        try:
            async with asyncio.timeout(_ASKED_WITHIN_S):
                # A store that says nothing at all is not given longer than one that refuses.
                await asyncio.wait((asking,), timeout=max(0.0, self._left()) + _BEYOND_S)
                if not asking.done():
                    self._tell(self._left() < 0)
                directory = await asking
            if directory is not None:
                await self._changed(directory)
                self.version = directory.version
        except (PenstockError, TimeoutError) as error:
            if not self._away:
                _log.error("the store does not answer: %s", error)
            self._away = True
        else:
            if self._away:
                _log.warning("the store answers again")
            self._away = False
            self._good_at = asked_at
        finally:
            asking.cancel()
        self._tell(self._left() < 0)

    def _left(self) -> float:
        """For how many seconds what is known may still be trusted."""
        return self._good_at + self._stale_after_s - self._clock.now()

    def _newer(self, ready: frozenset[str]) -> Directory | None:
        now = self._clock.now()
        if now - self._beat_at >= BEAT_S or ready != self._told:
            self.standing = self._state.beat(self._gateway, self._clock.wall(), tuple(ready))
            self._beat_at, self._told = now, ready
        return None if self._state.version() == self.version else self._state.directory()

    def _tell(self, stale: bool) -> None:
        if stale != self._stale:
            self._stale = stale
            self._hear_stale(stale)
