"""Keeps every model that runs here in as many copies as it should have: fetches, starts, watches, restarts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec

from penstock.control.board import Board
from penstock.core.clock import Clock
from penstock.core.errors import PenstockError
from penstock.core.serving import Launch, Replica, ReplicaState
from penstock.fleet import Running, Substrate
from penstock.fleet.restart import Again, Decision, GiveUp, History, after_end, after_refusal

Sleep = Callable[[float], Awaitable[None]]

_log = logging.getLogger(__name__)


class Engine(Protocol):
    """What upkeep needs of an engine that runs here."""

    def launch(self, weights: Path) -> Launch:
        """How to start one replica."""

    async def probe(self, replica: Replica) -> None:
        """Raises ``PenstockError`` when the replica cannot serve."""


class Weights(Protocol):
    """What upkeep needs of the model store."""

    async def fetch(self, address: str, sha256: str | None) -> Path:
        """The file, on this machine. Raises ``PenstockError`` when it cannot be had; safe to cancel."""


class Wanted(msgspec.Struct, frozen=True):
    """One model that runs here, in ``copies`` copies (at least 1). ``address`` is where its weights come from."""

    model: str
    engine: Engine
    address: str
    sha256: str | None = None
    copies: int = 1


class Pace(msgspec.Struct, frozen=True):
    """How closely replicas are watched; all in seconds but ``misses``.

    A replica that misses so many probes in a row is taken to hang, is killed and started again. ``probe_within``
    bounds one probe. ``fetch_again`` is the wait after each failed fetch in a row; the last one repeats. ``grace``
    is what a replica gets to end by itself.
    """

    probe_every: float = 5.0
    probe_within: float = 10.0
    misses: int = 3
    fetch_again: tuple[float, ...] = (5.0, 15.0, 60.0, 300.0)
    grace: float = 5.0


class Upkeep:
    """One loop per copy of each wanted model. How they stand is written on ``board``; no loop stops another."""

    def __init__(
        self,
        wanted: Sequence[Wanted],
        *,
        board: Board,
        substrate: Substrate,
        weights: Weights,
        clock: Clock,
        sleep: Sleep = asyncio.sleep,
        pace: Pace = Pace(),  # noqa: B008 - frozen
    ) -> None:
        self._wanted = wanted
        self._board = board
        self._substrate = substrate
        self._weights = weights
        self._clock = clock
        self._sleep = sleep
        self._pace = pace

    async def run(self) -> None:
        """Keeps at it until cancelled, and has stopped every copy then. Returns early when all have been given up."""
        loops = [asyncio.create_task(self._keep_model(each)) for each in self._wanted]
        for wanted, loop in zip(self._wanted, loops, strict=True):
            loop.add_done_callback(partial(self._note_defect, wanted))
        try:
            if loops:
                await asyncio.wait(loops)
        finally:
            await _cancelled(loops)

    async def _keep_model(self, wanted: Wanted) -> None:
        path = await self._fetched(wanted)
        copies = [asyncio.create_task(self._keep_copy(wanted, copy, path)) for copy in _ids(wanted)]
        try:
            await asyncio.gather(*copies)
        finally:
            await _cancelled(copies)

    def _note_defect(self, wanted: Wanted, loop: asyncio.Task[None]) -> None:
        """A defect of ours ends the upkeep of one model: it says so, and the others go on."""
        if not loop.cancelled() and (error := loop.exception()):
            _log.error("the upkeep of model %s ended", wanted.model, exc_info=error)
            self._put_all(wanted, ReplicaState.FAILED, f"internal error: {type(error).__name__}")

    async def _fetched(self, wanted: Wanted) -> Path:
        failures = 0
        while True:
            self._put_all(wanted, ReplicaState.STARTING, "fetching weights")
            try:
                return await self._weights.fetch(wanted.address, wanted.sha256)
            except PenstockError as error:
                wait = self._pace.fetch_again[min(failures, len(self._pace.fetch_again) - 1)]
                failures += 1
                self._put_all(wanted, ReplicaState.DOWN, f"{error.message} (trying again in {wait:g} s)")
                await self._sleep(wait)

    async def _keep_copy(self, wanted: Wanted, copy: str, weights: Path) -> None:
        history = History()
        while True:
            self._put(wanted, copy, ReplicaState.STARTING, "loading")
            try:
                launch = wanted.engine.launch(weights)
                running = await self._substrate.start(copy, launch)
            except PenstockError as error:
                reason = error.message
                history, decision = after_refusal(history)
            else:
                replica = Replica(id=copy, model=wanted.model, base_url=running.base_url, key=launch.key)
                self._board.put(replica)
                since = self._clock.now()
                reason = await self._until_it_ends(wanted.engine, replica, running)
                history, decision = after_end(history, self._clock.now() - since)
            if not await self._carried_out(decision, wanted, copy, reason):
                return

    async def _carried_out(self, decision: Decision, wanted: Wanted, copy: str, reason: str) -> bool:
        """Whether the copy shall be started again."""
        match decision:
            case GiveUp():
                self._put(wanted, copy, ReplicaState.FAILED, reason)
                return False
            case Again(after_s):
                self._put(wanted, copy, ReplicaState.DOWN, reason)
                if after_s:
                    await self._sleep(after_s)
                return True

    async def _until_it_ends(self, engine: Engine, replica: Replica, running: Running) -> str:
        end = asyncio.create_task(running.wait())
        hang = asyncio.create_task(self._until_it_hangs(engine, replica))
        try:
            done, _ = await asyncio.wait((end, hang), return_when=asyncio.FIRST_COMPLETED)
            return (end if end in done else hang).result()
        finally:
            await _cancelled((end, hang))
            # What hangs would not hear of its grace; what is asked to end because we stop may use it.
            await running.stop(0.0 if hang.done() and not hang.cancelled() else self._pace.grace)

    async def _until_it_hangs(self, engine: Engine, replica: Replica) -> str:
        missed = 0
        while True:
            await self._sleep(self._pace.probe_every)
            try:
                async with asyncio.timeout(self._pace.probe_within):
                    await engine.probe(replica)
            except (PenstockError, TimeoutError) as error:
                missed += 1
                if missed >= self._pace.misses:
                    last = error.message if isinstance(error, PenstockError) else "no answer"
                    return f"killed after {missed} failed health checks in a row, the last: {last}"
            else:
                missed = 0

    def _put(self, wanted: Wanted, copy: str, state: ReplicaState, reason: str) -> None:
        self._board.put(Replica(id=copy, model=wanted.model, base_url="", state=state, reason=_line(reason)))

    def _put_all(self, wanted: Wanted, state: ReplicaState, reason: str) -> None:
        for copy in _ids(wanted):
            self._put(wanted, copy, state, reason)


def _ids(wanted: Wanted) -> list[str]:
    return [f"{wanted.model}-{number}" for number in range(wanted.copies)]


def _line(text: str) -> str:
    return " ".join(text.split())


async def _cancelled(tasks: Sequence[asyncio.Task[object]] | Sequence[asyncio.Task[str]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
