"""The supervisor's side of the desks: nothing of them is loaded before a worker asks, and what is asked for after
that is carried out in order, by worker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

import msgspec

from penstock import catalog
from penstock.caches.config import CacheSettings
from penstock.control.semantic.bounds import Bounds
from penstock.core import administration
from penstock.core.caching import DeskFigures, Invalidation, Learnt, Seek, Sought, Taught
from penstock.core.clock import Clock
from penstock.core.errors import BAD_DEPLOYMENT, PenstockError
from penstock.observe.totals import Series

_log = logging.getLogger(__name__)

_MOST_SAID: Final = 10_000
_MOST_BYTES: Final = 64 << 20
"""What workers have said and was not heard yet; more is passed over, and the audits among it count as wrong."""


class Desks(Protocol):
    """What is asked of ``penstock.control.semantic.desks``."""

    async def seek(self, owner: str, ask: Seek) -> Sought: ...

    async def learn(self, what: Learnt) -> None: ...

    async def keep(self, what: Taught) -> None: ...

    async def wrong(self, request_id: str, project: str) -> str | None: ...

    def invalidate(self, records: tuple[Invalidation, ...]) -> None: ...

    async def ended(self, owner: str) -> None: ...

    def figures(self) -> tuple[DeskFigures, ...]: ...

    def measured(self) -> Mapping[str, tuple[Series, ...]]: ...

    async def run(self) -> None: ...

    async def aclose(self) -> None: ...


class DeskOffice:
    """``folder`` is where desks lie, ``gateway`` the name of this one; ``gave`` asks all workers which entry a
    request of a project got, ``invalidate`` writes into the store that an entry (its 40 digits) of a project is not
    to be served, on behalf of a key, and may raise ``PenstockError``."""

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        *,
        cache: CacheSettings,
        gateway: str,
        gave: Callable[[str, str], Awaitable[str | None]],
        invalidate: Callable[[str, str, str], Awaitable[None]],
    ) -> None:
        self._folder = folder
        self._clock = clock
        self._cache = cache
        self._gateway = gateway
        self._gave = gave
        self._invalidate = invalidate
        self._records: tuple[Invalidation, ...] = ()
        self._loading: asyncio.Task[Desks] | None = None
        self._desks: Desks | None = None
        self._running: asyncio.Task[None] | None = None
        self._said: asyncio.Queue[tuple[int, Callable[[Desks], Awaitable[None]]]] = asyncio.Queue(_MOST_SAID)
        self._said_bytes = 0

    async def seek(self, owner: str, ask: Seek) -> Sought:
        """As ``Desks`` has it; the first one waits until they are loaded. Raises ``PenstockError``."""
        return await (self._desks or await self._loaded()).seek(owner, ask)

    def learn(self, what: Learnt) -> None:
        """Never waits. Of a ticket that none here gave nothing is learnt."""
        self._say(lambda desks: desks.learn(what))

    def keep(self, what: Taught) -> None:
        """Never waits."""
        self._say(lambda desks: desks.keep(what), len(what.entry) + len(what.text) + len(what.vector))

    def ended(self, owner: str) -> None:
        """This worker is gone. Never waits."""
        self._say(lambda desks: desks.ended(owner))

    async def disown(self, request_id: str, project: str, key_id: str) -> bool:
        """The answer that a cache gave to this request is wrong, says the key: from now on nobody gets it. False: no
        cache of this gateway gave one, as far as is known. Raises ``PenstockError``."""
        key = None if self._desks is None else await self._desks.wrong(request_id, project)
        if key is None:
            key = await self._gave(request_id, project)
        if key is None:
            return False
        await self._invalidate(key, project, key_id)
        return True

    def invalidate(self, records: tuple[Invalidation, ...]) -> None:
        """All invalidations that hold from now on. What lies on disk is to forget, too: so desks are loaded when
        there is any."""
        if records == self._records:
            return
        self._records = records
        if self._desks is not None:
            self._desks.invalidate(records)
        elif self._loading is None and any(self._folder.glob("*.entries")):
            self._load()

    def figures(self) -> tuple[DeskFigures, ...]:
        """As ``Desks`` has it; may be called in a thread."""
        return () if self._desks is None else self._desks.figures()

    def measured(self) -> Mapping[str, tuple[Series, ...]]:
        """The rows ``penstock_cache_semantic_*`` by name; none before there are desks."""
        return {} if self._desks is None else self._desks.measured()

    async def aclose(self) -> None:
        """Saves all. Idempotent; nothing is asked any more."""
        if self._loading is not None:
            await asyncio.wait((self._loading,))
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait((self._running,))
        desks, self._desks = self._desks, None
        if desks is not None:
            await desks.aclose()

    def _say(self, what: Callable[[Desks], Awaitable[None]], size: int = 0) -> None:
        if self._desks is not None and not self._said.full() and self._said_bytes + size <= _MOST_BYTES:
            self._said_bytes += size
            self._said.put_nowait((size, what))

    def _load(self) -> asyncio.Task[Desks]:
        # A failure is not kept: the next one who asks may find what was missing.
        if self._loading is None or (self._loading.done() and self._desks is None):
            self._loading = asyncio.create_task(self._begun())
            self._loading.add_done_callback(_told)
        return self._loading

    async def _loaded(self) -> Desks:
        return await asyncio.shield(self._load())

    async def _begun(self) -> Desks:
        try:
            desks = await self._made()
        except OSError as error:
            raise PenstockError(
                BAD_DEPLOYMENT, f"The semantic cache cannot use {self._folder}: {error.strerror}. See to that folder."
            ) from error
        desks.invalidate(self._records)
        self._desks = desks
        self._running = asyncio.create_task(self._run(desks))
        self._running.add_done_callback(_ended)
        return desks

    async def _made(self) -> Desks:
        made: Callable[..., Desks] = await asyncio.to_thread(catalog.load, "semantic.desks")
        index = await asyncio.to_thread(catalog.load, "semantic.index")
        shared = None
        if self._cache.semantic_index == "shared":
            shared = (await asyncio.to_thread(catalog.load, "semantic.shared"))(self._cache.redis)
        bounds = Bounds(entry_bytes=self._cache.semantic_memory)
        return made(self._folder, self._clock, index, bounds, shared=shared, gateway=self._gateway)

    async def _run(self, desks: Desks) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(desks.run())
            tasks.create_task(self._heard(desks))

    async def _heard(self, desks: Desks) -> None:
        while True:
            size, what = await self._said.get()
            self._said_bytes -= size
            try:
                await what(desks)
            except PenstockError as error:
                _log.warning("the semantic cache has not heard what a worker said: %s", error.message)


class _Invalidate(msgspec.Struct, frozen=True):
    scope: str
    value: str
    project: str


def disowning(key: str, project: str, key_id: str) -> administration.Ask:
    """Asks, for a key of the project, that nobody gets the entry ``key`` (its 40 digits) any more. A key that may
    call may say that an answer it got is wrong, so nothing else is asked of it."""
    actor = administration.Actor(key_id=key_id, project=project, permissions=frozenset({"caches:write"}))
    body = msgspec.json.encode(_Invalidate("key", key, project))
    return administration.Ask(actor=actor, operation="caches.invalidate", body=body)


def _ended(running: asyncio.Task[None]) -> None:
    if not running.cancelled() and (error := running.exception()) is not None:
        _log.critical("the semantic cache learns and saves no more; start the gateway anew", exc_info=error)


def _told(loading: asyncio.Task[Desks]) -> None:
    if not loading.cancelled() and (error := loading.exception()) is not None:
        _log.error("the semantic cache cannot begin: %s", error)
