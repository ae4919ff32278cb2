"""Which scopes are open: each is opened when it is asked first, stays while there is room, and is saved when it goes.

What scopes do goes through one thread, in order, and their files through another: neither keeps the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from penstock.caches.invalidations import Invalidations
from penstock.caches.semantic.nearest import Index
from penstock.control.semantic import entry_log
from penstock.control.semantic.bounds import Bounds
from penstock.control.semantic.files import Files
from penstock.control.semantic.scope import Due, Scope
from penstock.control.threads import in_thread_of
from penstock.core.caching import DeskScope, Seek
from penstock.core.clock import Clock
from penstock.core.errors import INTERNAL, PenstockError

_log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_AT_ONCE: Final = 16
"""Entries that come back from disk in one step."""


class Place:
    """``busy``: so many use it, and it stays. ``filling`` ends when its entries are back from disk."""

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


class OpenScopes:
    """``folder`` is there; ``graph`` makes an index for many vectors of so many dimensions. ``invalid`` is what holds
    at the moment. For one event loop."""

    def __init__(self, folder: Path, clock: Clock, graph: Callable[[int], Index], bounds: Bounds) -> None:
        self.invalid = Invalidations()
        self._folder = folder
        self._clock = clock
        self._graph = graph
        self._bounds = bounds
        self._lane = ThreadPoolExecutor(1, "desks")
        self._disk = ThreadPoolExecutor(1, "desks-disk")
        self._places: OrderedDict[DeskScope, Place] = OrderedDict()
        self._leaving: dict[DeskScope, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: DeskScope) -> bool:
        return name in self._places

    def scopes(self) -> tuple[Scope, ...]:
        """Those that are open by now, the one that was asked longest ago first."""
        return tuple(scope for place in self._places.values() if (scope := place.scope) is not None)

    def of(self, ticket: str) -> tuple[DeskScope, int] | None:
        """Who gave this ticket, and its number there; None: nobody who is open."""
        word, _, number = ticket.partition(".")
        known = (scope.scope for scope in self.scopes() if scope.word == word)
        name = next(known, None)
        return None if name is None or not number.isdigit() else (name, int(number))

    def files(self) -> frozenset[Path]:
        """The logs of entries that are in use."""
        return frozenset(place.files.entries for place in self._places.values())

    @contextlib.asynccontextmanager
    async def use(self, name: DeskScope, ask: Seek | None = None) -> AsyncIterator[Scope]:
        """The scope, which stays while it is in use; it is opened for ``ask``. Raises ``PenstockError``."""
        place = self._places.get(name)
        if place is None:
            if ask is None:
                raise PenstockError(INTERNAL, "This scope of the semantic cache is not open.")
            place = self._places[name] = Place(Files(self._folder, name))
            place.opening = asyncio.create_task(self._opened(name, ask, place))
            self.make_room()
        elif ask is not None:
            self._places.move_to_end(name)
        place.busy += 1
        try:
            yield await self._opening(name, place)
        finally:
            place.busy -= 1

    @contextlib.contextmanager
    def held(self) -> Iterator[tuple[Place, ...]]:
        """Those that are open; they stay meanwhile."""
        places = tuple(place for place in self._places.values() if place.scope is not None)
        for place in places:
            place.busy += 1
        try:
            yield places
        finally:
            for place in places:
                place.busy -= 1

    def make_room(self) -> None:
        """Lets go of those that were asked longest ago, as far as there are too many or they are too large."""
        scopes = {name: scope for name, place in self._places.items() if (scope := place.scope) is not None}
        size, count = sum(scope.size for scope in scopes.values()), len(self._places)
        for name, scope in scopes.items():
            if count <= 1 or (count <= self._bounds.scopes and size <= self._bounds.desk_bytes):
                return
            if not self._places[name].busy:
                size, count = size - scope.size, count - 1
                self.leave(name)

    def leave(self, name: DeskScope) -> None:
        """It is saved and closed; it is there, and nobody uses it."""
        leaving = self._leaving[name] = asyncio.create_task(self._left(self._places.pop(name)))
        leaving.add_done_callback(functools.partial(self._gone, name))

    async def write(self, scope: Scope, place: Place, due: Due) -> None:
        """Brings to the disk what is due. Raises ``OSError``."""
        if due.entries:
            await self.in_disk(entry_log.append, place.files.entries, due.entries)
        if due.hits is not None:
            await self.in_disk(_synced, due.hits)
        if due.live is not None and (place.filling is None or place.filling.done()):
            frames = await self.in_disk(entry_log.rewrite, place.files.entries, due.live)
            await self.in_lane(scope.rewritten, due, frames)

    async def save(self, scope: Scope, place: Place) -> None:
        """Writes its state. Raises ``OSError``."""
        state = await self.in_lane(scope.snapshot)
        try:
            await self.in_disk(place.files.write_state, state)
        except OSError:
            scope.changed = True
            raise

    async def in_lane(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """In the thread of all scopes."""
        return await in_thread_of(self._lane, call, *args, **kwargs)

    async def in_disk(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """In the thread of all files."""
        return await in_thread_of(self._disk, call, *args, **kwargs)

    async def aclose(self) -> None:
        """Saves all. Idempotent."""
        for name in tuple(self._places):
            self.leave(name)
        if self._leaving:
            await asyncio.wait(self._leaving.values())
        self._lane.shutdown()
        self._disk.shutdown()

    async def _opening(self, name: DeskScope, place: Place) -> Scope:
        try:
            return await asyncio.shield(place.opening)
        except OSError as error:
            raise PenstockError(
                INTERNAL, f"The semantic cache cannot use {self._folder}: {error.strerror}. See to that folder."
            ) from error
        finally:
            # Whoever asks next tries again.
            if place.opening.done() and place.scope is None and self._places.get(name) is place:
                del self._places[name]

    async def _opened(self, name: DeskScope, ask: Seek, place: Place) -> Scope:
        if (leaving := self._leaving.get(name)) is not None:
            await asyncio.wait((leaving,))
        scope = await self.in_disk(Scope.open, name, ask, place.files, self._graph)
        place.filling = asyncio.create_task(self._filled(scope, place.files, ask))
        return scope

    async def _filled(self, scope: Scope, files: Files, ask: Seek) -> None:
        with logged("its entries cannot be read back"):
            embedder = ask.semantic.embedder
            lying = entry_log.items(files.entries, scope.shelved, embedder, scope.desk.dimensions)
            while batch := await self.in_disk(lambda: list(islice(lying, _AT_ONCE))):
                await self.in_lane(scope.refill, iter(batch), embedder, self.invalid, self._clock.wall())

    async def _left(self, place: Place) -> None:
        with logged("its state cannot be saved"):
            try:
                scope = await place.opening
            except PenstockError:
                return
            try:
                if place.filling is not None:
                    place.filling.cancel()
                    await asyncio.wait((place.filling,))
                await self.write(scope, place, await self.in_lane(scope.due))
                if scope.changed:
                    await self.save(scope, place)
            finally:
                await self.in_lane(scope.close)

    def _gone(self, name: DeskScope, leaving: asyncio.Task[None]) -> None:
        if self._leaving.get(name) is leaving:
            del self._leaving[name]


@contextlib.contextmanager
def logged(what: str) -> Iterator[None]:
    """What the disk refuses is a line in the log."""
    try:
        yield
    except OSError as error:
        _log.error("the semantic cache: %s: %s", what, error)


def _synced(file: int) -> None:
    try:
        os.fdatasync(file)
    finally:
        os.close(file)
