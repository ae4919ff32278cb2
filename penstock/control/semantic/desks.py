"""The desks of one gateway: each scope's is opened when it is asked first, kept while there is room, and saved.

What the desks do goes through one thread, in order, and their files through another: neither keeps the event loop. A
third one learns.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from penstock.caches.invalidations import Invalidations
from penstock.caches.semantic.desk import Desk
from penstock.caches.semantic.model import Lesson
from penstock.caches.semantic.nearest import Index
from penstock.control.semantic import entry_log
from penstock.control.semantic.files import Files, prune
from penstock.control.semantic.measured import Counted
from penstock.control.semantic.scope import Due, Scope
from penstock.control.threads import in_thread_of
from penstock.core.caching import DeskFigures, DeskScope, Invalidation, Learnt, Seek, Sought, Taught
from penstock.core.clock import Clock
from penstock.core.errors import INTERNAL, PenstockError
from penstock.observe.totals import Series

_log = logging.getLogger(__name__)

T = TypeVar("T")

MOST_HITS: Final = 20_000
"""The newest hits of which somebody may say that they were wrong."""
_TICK_S: Final = 1.0
_SAVED_EVERY: Final = 60
_SWEPT_EVERY: Final = 600
"""Ticks."""
_AT_ONCE: Final = 16
"""Entries that come back from disk in one step."""
_SWEPT: Final = 500


class Bounds(msgspec.Struct, frozen=True):
    """``entries`` and their ``entry_bytes`` of all scopes together; ``scopes`` that are open at a time, and what
    their desks may take, ``desk_bytes``, of which one is always there."""

    entries: int = 1_000_000
    entry_bytes: int = 512 << 20
    scopes: int = 256
    desk_bytes: int = 512 << 20


class _Place:
    """``busy``: so many use it, and it stays."""

    opening: asyncio.Task[Scope]

    def __init__(self, files: Files) -> None:
        self.files = files
        self.filling: asyncio.Task[None] | None = None
        self.busy = 0

    @property
    def scope(self) -> Scope | None:
        """Once it is open."""
        done = self.opening.done() and not self.opening.cancelled() and self.opening.exception() is None
        return self.opening.result() if done else None


class _Hit(msgspec.Struct, frozen=True):
    scope: DeskScope
    ticket: str
    item: int
    key: str


class Desks:
    """``folder`` (made where it is missing) keeps them; ``graph`` makes an index for many vectors of so many
    dimensions; ``coin`` decides about audits: uniform in [0, 1), and nobody can know it beforehand."""

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        graph: Callable[[int], Index],
        bounds: Bounds | None = None,
        coin: Callable[[], float] = lambda: secrets.randbits(53) / (1 << 53),
    ) -> None:
        """Raises ``OSError``."""
        folder.mkdir(mode=0o700, exist_ok=True)
        self._folder = folder
        self._clock = clock
        self._graph = graph
        self._bounds = bounds or Bounds()
        self._coin = coin
        self._lane = ThreadPoolExecutor(1, "desks")
        self._disk = ThreadPoolExecutor(1, "desks-disk")
        self._school = ThreadPoolExecutor(1, "desks-school")
        self._places: OrderedDict[DeskScope, _Place] = OrderedDict()
        self._leaving: dict[DeskScope, asyncio.Task[None]] = {}
        self._hits: OrderedDict[tuple[str, str], _Hit] = OrderedDict()
        self._invalid = Invalidations()
        self._erase = False
        self._figures: tuple[DeskFigures, ...] = ()
        self._counted = Counted()
        self._learning: asyncio.Task[None] | None = None

    async def seek(self, owner: str, ask: Seek) -> Sought:
        """What the scope says of this question of the worker ``owner``. Raises ``PenstockError``."""
        coin, wall = self._coin(), self._clock.wall()
        async with self._open(ask.scope, ask) as scope:
            found = await self._in_lane(scope.seek, ask, owner, coin, self._invalid, wall)
        sought = found.sought
        self._counted.sought(ask.scope.service, sought)
        if sought.hit:
            self._hits[ask.scope.project, ask.request_id] = _Hit(ask.scope, sought.ticket, found.item, found.key)
            if len(self._hits) > MOST_HITS:
                self._hits.popitem(last=False)
        return sought

    async def learn(self, what: Learnt) -> None:
        """Passed over for a ticket that nobody knows any more."""
        word, _, number = what.ticket.partition(".")
        for name, place in self._places.items():
            scope = place.scope
            if scope is not None and scope.word == word and number.isdigit():
                async with self._open(name) as same:
                    if await self._in_lane(same.learn, int(number), what.same):
                        self._counted.wrong(name.service)
                return

    async def keep(self, what: Taught) -> None:
        """Of a scope that nobody has asked yet nothing is kept."""
        if what.scope not in self._places:
            return
        async with self._open(what.scope) as scope:
            await self._in_lane(self._kept, scope, self._scopes(), what, self._invalid, self._clock.wall())

    async def wrong(self, request_id: str, project: str) -> str | None:
        """The answer that this request of the project got from here is wrong: nobody gets it from here any more. Its
        key in 40 digits; None: it got none, or longer ago than 20,000 hits."""
        hit = self._hits.get((project, request_id))
        if hit is None:
            return None
        word, _, number = hit.ticket.partition(".")
        place = self._places.get(hit.scope)
        if place is not None and (known := place.scope) is not None and known.word == word:
            async with self._open(hit.scope) as scope:
                await self._in_lane(scope.disown, int(number), hit.item)
        return hit.key

    def invalidate(self, records: Iterable[Invalidation]) -> None:
        """All invalidations that hold from now on, earlier ones included. What they name is not served from this
        moment on, and leaves memory and disk soon."""
        fresh = Invalidations(records)
        if fresh.records != self._invalid.records:
            self._invalid = fresh
            self._erase = True

    async def ended(self, owner: str) -> None:
        """This worker is gone: nobody will say what its audits found."""
        await self._in_lane(_lost, self._scopes(), owner, self._clock.wall())

    def figures(self) -> tuple[DeskFigures, ...]:
        """How each scope that is open stood a second ago."""
        return self._figures

    def measured(self) -> Mapping[str, tuple[Series, ...]]:
        """The rows ``penstock_cache_semantic_*`` by name."""
        return self._counted.report(self._figures)

    async def run(self) -> None:
        """Saves, learns and clears away, until it is cancelled."""
        with _logged("its old files cannot be cleared away"):
            await in_thread_of(self._disk, prune, self._folder, tuple(self._places))
        ticks = 0
        while True:
            await asyncio.sleep(_TICK_S)
            ticks += 1
            await self.tick(save=ticks % _SAVED_EVERY == 0, sweep=ticks % _SWEPT_EVERY == 0)

    async def tick(self, *, save: bool = False, sweep: bool = False) -> None:
        """What is done each second; ``save``: what is done each minute; ``sweep``: and now and then."""
        if self._learning is None or self._learning.done():
            self._learning = asyncio.create_task(self._learn())
            self._learning.add_done_callback(_told)
        with self._held() as places, _logged("what it keeps cannot be written"):
            scopes = tuple(scope for place in places if (scope := place.scope) is not None)
            await self._in_lane(_lost, scopes, None, self._clock.wall())
            if self._erase or sweep:
                erase, self._erase = self._erase, False
                await self._swept(scopes, places if erase else None)
            for at, due in await self._in_lane(_due, scopes):
                await self._written(scopes[at], places[at], due)
            for scope, place in zip(scopes, places, strict=True):
                if save and scope.changed:
                    await self._saved(scope, place.files)
            self._figures = await self._in_lane(lambda: tuple(scope.figures() for scope in scopes))
        self._make_room()

    async def aclose(self) -> None:
        """Saves all. Idempotent; nothing is asked any more."""
        if self._learning is not None:
            self._learning.cancel()
            await asyncio.wait((self._learning,))
        for name in tuple(self._places):
            self._leave(name)
        if self._leaving:
            await asyncio.wait(self._leaving.values())
        for threads in (self._school, self._lane, self._disk):
            threads.shutdown()

    # -- which are open ------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _open(self, name: DeskScope, ask: Seek | None = None) -> AsyncIterator[Scope]:
        """The scope, which stays while it is in use; it is opened for ``ask``. Raises ``PenstockError``."""
        place = self._places.get(name)
        if place is None:
            if ask is None:
                raise PenstockError(INTERNAL, "This scope of the semantic cache is not open.")
            place = self._places[name] = _Place(Files(self._folder, name))
            place.opening = asyncio.create_task(self._opened(name, ask, place))
            self._make_room()
        elif ask is not None:
            self._places.move_to_end(name)
        place.busy += 1
        try:
            try:
                scope = await asyncio.shield(place.opening)
            except (OSError, PenstockError) as error:
                if self._places.get(name) is place:
                    del self._places[name]
                if isinstance(error, PenstockError):
                    raise
                raise PenstockError(
                    INTERNAL, f"The semantic cache cannot use {self._folder}: {error.strerror}. See to that folder."
                ) from error
            yield scope
        finally:
            place.busy -= 1

    async def _opened(self, name: DeskScope, ask: Seek, place: _Place) -> Scope:
        if (leaving := self._leaving.get(name)) is not None:
            await asyncio.wait((leaving,))
        scope = await in_thread_of(self._disk, Scope.open, name, ask, place.files, self._graph)
        place.filling = asyncio.create_task(self._filled(scope, place.files, ask))
        return scope

    async def _filled(self, scope: Scope, files: Files, ask: Seek) -> None:
        with _logged("its entries cannot be read back"):
            embedder = ask.semantic.embedder
            lying = entry_log.items(files.entries, scope.shelved, embedder, scope.desk.dimensions)
            while batch := await in_thread_of(self._disk, lambda: list(islice(lying, _AT_ONCE))):
                await self._in_lane(scope.refill, iter(batch), embedder, self._invalid, self._clock.wall())

    def _make_room(self) -> None:
        """Lets go of those that were asked longest ago, as far as there are too many or they are too large."""
        scopes = {name: scope for name, place in self._places.items() if (scope := place.scope) is not None}
        size, count = sum(scope.size for scope in scopes.values()), len(self._places)
        for name, scope in scopes.items():
            if count <= 1 or (count <= self._bounds.scopes and size <= self._bounds.desk_bytes):
                return
            if not self._places[name].busy:
                size, count = size - scope.size, count - 1
                self._leave(name)

    def _leave(self, name: DeskScope) -> None:
        leaving = self._leaving[name] = asyncio.create_task(self._left(self._places.pop(name)))
        leaving.add_done_callback(functools.partial(self._gone, name))

    def _gone(self, name: DeskScope, leaving: asyncio.Task[None]) -> None:
        if self._leaving.get(name) is leaving:
            del self._leaving[name]

    async def _left(self, place: _Place) -> None:
        with _logged("its state cannot be saved"):
            try:
                scope = await place.opening
            except PenstockError:
                return
            try:
                if place.filling is not None:
                    place.filling.cancel()
                    await asyncio.wait((place.filling,))
                for _, due in await self._in_lane(_due, (scope,)):
                    await self._written(scope, place, due)
                if scope.changed:
                    await self._saved(scope, place.files)
            finally:
                await self._in_lane(scope.close)

    def _scopes(self) -> tuple[Scope, ...]:
        return tuple(scope for place in self._places.values() if (scope := place.scope) is not None)

    @contextlib.contextmanager
    def _held(self) -> Iterator[tuple[_Place, ...]]:
        """Those that are open; they stay meanwhile."""
        places = tuple(place for place in self._places.values() if place.scope is not None)
        for place in places:
            place.busy += 1
        try:
            yield places
        finally:
            for place in places:
                place.busy -= 1

    # -- what is done to one -------------------------------------------------------------------------------------

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

    async def _swept(self, scopes: tuple[Scope, ...], places: tuple[_Place, ...] | None) -> None:
        """``places``: those that are open; what was invalidated leaves the files of the others, too."""
        wall, invalid = self._clock.wall(), self._invalid
        for scope in scopes:
            numbers = iter(await self._in_lane(scope.shelf.numbers))
            while await self._in_lane(scope.shelf.sweep, numbers, _SWEPT, invalid, wall):
                pass
        if places is not None:
            using = {place.files.entries for place in self._places.values()}
            await in_thread_of(self._disk, _erased, self._folder, using, invalid, wall)

    async def _written(self, scope: Scope, place: _Place, due: Due) -> None:
        if due.entries:
            await in_thread_of(self._disk, entry_log.append, place.files.entries, due.entries)
        if due.hits is not None:
            await in_thread_of(self._disk, _synced, due.hits)
        if due.live is not None and (place.filling is None or place.filling.done()):
            frames = await in_thread_of(self._disk, entry_log.rewrite, place.files.entries, due.live)
            await self._in_lane(scope.rewritten, due, frames)

    async def _saved(self, scope: Scope, files: Files) -> None:
        state = await self._in_lane(scope.snapshot)
        try:
            await in_thread_of(self._disk, files.write_state, state)
        except OSError:
            scope.changed = True
            raise

    async def _learn(self) -> None:
        while (due := await self._in_lane(_lesson, self._scopes())) is not None:
            desk, lesson = due
            await self._in_lane(desk.adopt, await in_thread_of(self._school, lesson.learnt))

    async def _in_lane(self, call: Callable[..., T], *args: object) -> T:
        return await in_thread_of(self._lane, call, *args)


def _due(scopes: tuple[Scope, ...]) -> list[tuple[int, Due]]:
    """Of those that have something to write, by their place."""
    found = ((at, scope.due()) for at, scope in enumerate(scopes))
    return [(at, due) for at, due in found if due.entries or due.hits is not None or due.live is not None]


def _lost(scopes: tuple[Scope, ...], owner: str | None, wall: float) -> None:
    for scope in scopes:
        scope.lose(owner, wall)


def _lesson(scopes: tuple[Scope, ...]) -> tuple[Desk, Lesson] | None:
    return next((due for scope in scopes if (due := scope.lesson()) is not None), None)


def _erased(folder: Path, using: Collection[Path], invalid: Invalidations, wall: float) -> None:
    for path in folder.glob("*.entries"):
        if path not in using:
            entry_log.erase(path, invalid, wall)


def _told(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("the semantic cache has failed to learn", exc_info=error)


def _synced(file: int) -> None:
    try:
        os.fdatasync(file)
    finally:
        os.close(file)


@contextlib.contextmanager
def _logged(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        _log.error("the semantic cache: %s: %s", what, error)
