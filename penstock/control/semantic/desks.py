"""The desks of one gateway: what workers ask, say and teach, and what is done for all of them now and then."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec

from penstock.caches.invalidations import Invalidations
from penstock.caches.semantic.desk import Desk
from penstock.caches.semantic.model import Lesson
from penstock.caches.semantic.nearest import Index
from penstock.control.semantic import entry_log
from penstock.control.semantic.bounds import Bounds
from penstock.control.semantic.files import prune
from penstock.control.semantic.measured import Counted
from penstock.control.semantic.open_scopes import OpenScopes, logged
from penstock.control.semantic.scope import Due, Scope
from penstock.control.semantic.sharing import Shared, Sharing
from penstock.control.threads import in_thread_of
from penstock.core.caching import DeskFigures, Invalidation, Learnt, Seek, Sought, Taught
from penstock.core.clock import Clock
from penstock.observe.totals import Series

_log = logging.getLogger(__name__)

MOST_HITS: Final = 20_000
"""The newest hits of which somebody may say that they were wrong."""
_TICK_S: Final = 1.0
_SAVED_EVERY: Final = 60
_SWEPT_EVERY: Final = 600
"""Ticks."""
_SWEPT: Final = 500
"""Entries that are looked at in one step."""


class _Hit(msgspec.Struct, frozen=True):
    ticket: str
    item: int
    key: str


class Desks:
    """``folder`` (made where it is missing) keeps them; ``graph`` makes an index for many vectors of so many
    dimensions; ``coin`` decides about audits: uniform in [0, 1), and nobody can know it beforehand. By
    ``shared``, which is closed with this, ``gateway`` and others tell one another of answers."""

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        graph: Callable[[int], Index],
        bounds: Bounds | None = None,
        coin: Callable[[], float] = lambda: secrets.randbits(53) / (1 << 53),
        shared: Shared | None = None,
        gateway: str = "",
    ) -> None:
        """Raises ``OSError``."""
        folder.mkdir(mode=0o700, exist_ok=True)
        self._folder = folder
        self._clock = clock
        self._bounds = bounds or Bounds()
        self._coin = coin
        self._open = OpenScopes(folder, clock, graph, self._bounds)
        self._school = ThreadPoolExecutor(1, "desks-school")
        self._hits: OrderedDict[tuple[str, str], _Hit] = OrderedDict()
        self._erase = False
        self._figures: tuple[DeskFigures, ...] = ()
        self._counted = Counted()
        self._learning: asyncio.Task[None] | None = None
        self._sharing = None if shared is None else Sharing(shared, gateway, clock)
        self._telling: asyncio.Task[None] | None = None
        self._erase_shared = False

    async def seek(self, owner: str, ask: Seek) -> Sought:
        """What the scope says of this question of the worker ``owner``. Raises ``PenstockError``."""
        coin, wall, opened = self._coin(), self._clock.wall(), self._open
        async with opened.use(ask.scope, ask) as scope:
            found = await opened.in_lane(scope.seek, ask, owner, coin, opened.invalid, wall)
        sought = found.sought
        self._counted.sought(ask.scope.service, sought)
        if sought.hit:
            self._hits[ask.scope.project, ask.request_id] = _Hit(sought.ticket, found.item, found.key)
            if len(self._hits) > MOST_HITS:
                self._hits.popitem(last=False)
        return sought

    async def learn(self, what: Learnt) -> None:
        """Passed over for a ticket that nobody knows any more."""
        if (known := self._open.of(what.ticket)) is None:
            return
        name, number = known
        async with self._open.use(name) as scope:
            if await self._open.in_lane(scope.learn, number, what.same):
                self._counted.wrong(name.service)

    async def keep(self, what: Taught, *, shared: bool = False) -> None:
        """Of a scope that nobody has asked yet nothing is kept. ``shared``: another gateway told of it."""
        if what.scope not in self._open:
            return
        async with self._open.use(what.scope) as scope:
            scopes, wall = self._open.scopes(), self._clock.wall()
            await self._open.in_lane(self._kept, scope, scopes, what, self._open.invalid, wall)
        if self._sharing is not None and not shared:
            self._sharing.put(what)

    async def wrong(self, request_id: str, project: str) -> str | None:
        """The answer that this request of the project got from here is wrong: nobody gets it from here any more. Its
        key in 40 digits; None: it got none, or longer ago than 20,000 hits."""
        hit = self._hits.get((project, request_id))
        if hit is None:
            return None
        if (known := self._open.of(hit.ticket)) is not None:
            async with self._open.use(known[0]) as scope:
                await self._open.in_lane(scope.disown, known[1], hit.item)
        return hit.key

    def invalidate(self, records: Iterable[Invalidation]) -> None:
        """All invalidations that hold from now on, earlier ones included. What they name is not served from this
        moment on, and leaves memory and disk soon."""
        fresh = Invalidations(records)
        if fresh.records != self._open.invalid.records:
            self._open.invalid = fresh
            self._erase = True

    async def ended(self, owner: str) -> None:
        """This worker is gone: nobody will say what its audits found."""
        await self._open.in_lane(_lost, self._open.scopes(), owner, self._clock.wall())

    def figures(self) -> tuple[DeskFigures, ...]:
        """How each scope that is open stood a second ago. May be called from any thread."""
        return self._figures

    def measured(self) -> Mapping[str, tuple[Series, ...]]:
        """The rows ``penstock_cache_semantic_*`` by name."""
        return self._counted.report(self._figures)

    async def run(self) -> None:
        """Saves, learns and clears away, until it is cancelled."""
        ticks = 0
        while True:
            if ticks % _SWEPT_EVERY == 0:
                with logged("its old files cannot be cleared away"):
                    await self._open.in_disk(prune, self._folder, self._open.files())
            await asyncio.sleep(_TICK_S)
            ticks += 1
            await self.tick(save=ticks % _SAVED_EVERY == 0, sweep=ticks % _SWEPT_EVERY == 0)

    async def tick(self, *, save: bool = False, sweep: bool = False) -> None:
        """What is done each second; ``save``: what is done each minute, and when something was learnt; ``sweep``: and
        now and then."""
        if self._learning is None or self._learning.done():
            self._learning = asyncio.create_task(self._learn())
            self._learning.add_done_callback(_told)
        if self._sharing is not None and (self._telling is None or self._telling.done()):
            self._telling = asyncio.create_task(self._share(self._sharing))
            self._telling.add_done_callback(_told)
        with self._open.held() as places, logged("what it keeps cannot be written"):
            scopes = tuple(scope for place in places if (scope := place.scope) is not None)
            await self._open.in_lane(_lost, scopes, None, self._clock.wall())
            if self._erase or sweep:
                erase, self._erase, self._erase_shared = self._erase, False, True
                await self._swept(scopes, files=erase)
            for at, due in await self._open.in_lane(_due, scopes):
                await self._open.write(scopes[at], places[at], due)
            for scope, place in zip(scopes, places, strict=True):
                if scope.learnt or (save and scope.changed):
                    await self._open.save(scope, place)
            self._figures = await self._open.in_lane(lambda: tuple(scope.figures() for scope in scopes))
        self._open.make_room()

    async def aclose(self) -> None:
        """Saves all. Idempotent; nothing is asked any more."""
        for task in (self._learning, self._telling):
            if task is not None:
                task.cancel()
                await asyncio.wait((task,))
        if self._sharing is not None:
            await self._sharing.aclose()
        await self._open.aclose()
        self._school.shutdown()

    def _kept(
        self, scope: Scope, scopes: tuple[Scope, ...], what: Taught, invalid: Invalidations, wall: float
    ) -> None:
        scope.keep(what, invalid, wall)
        shelves = [each.shelf for each in scopes]
        size, count = sum(shelf.bytes for shelf in shelves), sum(map(len, shelves))
        while size > self._bounds.entry_bytes or count > self._bounds.entries:
            # Who has most gives, so that one project's questions do not push out all others'.
            largest = max(shelves, key=lambda shelf: shelf.bytes)
            before = largest.bytes
            largest.drop_oldest()
            size, count = size - before + largest.bytes, count - 1

    async def _swept(self, scopes: tuple[Scope, ...], *, files: bool) -> None:
        """``files``: what was invalidated leaves those of scopes that are not open, too."""
        wall, invalid = self._clock.wall(), self._open.invalid
        for scope in scopes:
            numbers = iter(await self._open.in_lane(scope.shelf.numbers))
            while await self._open.in_lane(scope.shelf.sweep, numbers, _SWEPT, invalid, wall):
                pass
        if files:
            await self._open.in_disk(_erased, self._folder, self._open.files(), invalid, wall)

    async def _learn(self) -> None:
        while (due := await self._open.in_lane(_lesson, self._open.scopes())) is not None:
            scope, desk, lesson = due
            await self._open.in_lane(scope.adopt, desk, await in_thread_of(self._school, lesson.learnt))

    async def _share(self, sharing: Sharing) -> None:
        async for what in sharing.turn((scope.scope, scope.word) for scope in self._open.scopes()):
            await self.keep(what, shared=True)
        if self._erase_shared:
            self._erase_shared = False
            await sharing.erase(self._open.invalid)


def _due(scopes: tuple[Scope, ...]) -> list[tuple[int, Due]]:
    """Of those that have something to write, by their place."""
    found = ((at, scope.due()) for at, scope in enumerate(scopes))
    return [(at, due) for at, due in found if due.entries or due.hits is not None or due.live is not None]


def _lost(scopes: tuple[Scope, ...], owner: str | None, wall: float) -> None:
    for scope in scopes:
        scope.lose(owner, wall)


def _lesson(scopes: tuple[Scope, ...]) -> tuple[Scope, Desk, Lesson] | None:
    return next(((scope, *due) for scope in scopes if (due := scope.lesson()) is not None), None)


def _erased(folder: Path, using: Collection[Path], invalid: Invalidations, wall: float) -> None:
    for path in folder.glob("*.entries"):
        if path not in using:
            entry_log.erase(path, invalid, wall)


def _told(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("the semantic cache has failed at what it does behind", exc_info=error)
