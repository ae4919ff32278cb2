"""Health: whether a replica answers in time. Those that are reached by URL are watched here, beside the requests."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Protocol

import msgspec

from penstock.control.board import Board
from penstock.core.errors import PenstockError
from penstock.core.serving import Replica, ReplicaState
from penstock.engines.config import Health

Sleep = Callable[[float], Awaitable[None]]

_log = logging.getLogger(__name__)


class Engine(Protocol):
    """What this needs of an engine."""

    async def probe(self, replica: Replica) -> None:
        """Raises ``PenstockError`` when the replica cannot serve."""

    async def aclose(self) -> None:
        """Lets go of what it holds. Idempotent."""


class Watched(msgspec.Struct, frozen=True):
    """A model that is reached by URL, and how its replicas are watched."""

    model: str
    engine: Engine
    replicas: tuple[Replica, ...]
    health: Health


async def wrong(engine: Engine, replica: Replica, within_s: float) -> str:
    """One check: why the replica has not passed it, in one line, or nothing."""
    try:
        async with asyncio.timeout(within_s):
            await engine.probe(replica)
    except TimeoutError:
        return f"no answer in {within_s:g} s"
    except PenstockError as error:
        return " ".join(error.message.split())
    return ""


class Watch:
    """One loop per watched replica: down after so many checks missed in a row, ready again after one that is passed.

    Takes the engines over, and closes those that it no longer needs.
    """

    def __init__(self, board: Board, sleep: Sleep = asyncio.sleep) -> None:
        self._board = board
        self._sleep = sleep
        self._wanted: dict[str, Watched] = {}
        self._loops: dict[str, list[asyncio.Task[None]]] = {}
        self._engines: list[Engine] = []
        self._changed = asyncio.Event()

    def want(self, watched: Iterable[Watched]) -> None:
        """These and no others from now on. A model that is given as it was (the same object) is left alone."""
        fresh = {each.model: each for each in watched}
        kept = [each.engine for each in fresh.values()]
        self._engines += [each.engine for each in self._wanted.values() if each.engine not in kept]
        self._wanted = fresh
        self._changed.set()

    async def run(self) -> None:
        """Watches until cancelled."""
        running: dict[str, Watched] = {}
        try:
            while True:
                self._changed.clear()
                for model, each in tuple(running.items()):
                    if self._wanted.get(model) is not each:
                        del running[model]
                        await _cancelled(self._loops.pop(model))
                await self._close_engines()
                for model, each in self._wanted.items():
                    if model not in running:
                        running[model] = each
                        self._loops[model] = [self._started(each, replica) for replica in each.replicas]
                await self._changed.wait()
        finally:
            await _cancelled([loop for loops in self._loops.values() for loop in loops])
            self._engines += [each.engine for each in self._wanted.values()]
            await self._close_engines()

    def _started(self, watched: Watched, replica: Replica) -> asyncio.Task[None]:
        loop = asyncio.create_task(self._keep(watched, replica))
        loop.add_done_callback(partial(_note_defect, replica))
        return loop

    async def _keep(self, watched: Watched, replica: Replica) -> None:
        health, missed = watched.health, 0
        while True:
            await self._sleep(health.every_s)
            why = await wrong(watched.engine, replica, health.within_s)
            missed = missed + 1 if why else 0
            if not why:
                self._board.mark(replica, ReplicaState.READY, "")
            elif missed >= health.misses:
                # The count is left out, so that a replica which stays down is not a change each time.
                self._board.mark(
                    replica, ReplicaState.DOWN, f"failed its health checks, {health.misses} in a row: {why}"
                )

    async def _close_engines(self) -> None:
        engines, self._engines = self._engines, []
        for engine in engines:
            await engine.aclose()


def _note_defect(replica: Replica, loop: asyncio.Task[None]) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        if error := loop.exception():
            _log.error("the checks of replica %s ended", replica.id, exc_info=error)


async def _cancelled(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
