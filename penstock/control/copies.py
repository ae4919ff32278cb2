"""One copy of a model that runs here, and what the copies of one launch share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec

from penstock.control.board import ENDING, Board
from penstock.control.health import Engine as Probed
from penstock.control.health import Sleep, wrong
from penstock.core.clock import Clock
from penstock.core.errors import PenstockError
from penstock.core.serving import Launch, Model, Replica, ReplicaState
from penstock.engines.config import LocalHealth
from penstock.fleet import Running, Substrate
from penstock.fleet.restart import Again, Decision, GiveUp, History, after_end, after_refusal

_log = logging.getLogger(__name__)


class Engine(Probed, Protocol):
    """What upkeep needs of an engine that runs here."""

    def launch(self, weights: Path) -> Launch:
        """How to start one replica."""


class Weights(Protocol):
    """What upkeep needs of the model store."""

    async def fetch(self, address: str, sha256: str | None) -> Path:
        """The file, on this machine. Raises ``PenstockError`` when it cannot be had; safe to cancel."""


class Wanted(msgspec.Struct, frozen=True):
    """One model that runs here, in ``copies`` copies (at least 1). ``address`` is where its weights come from.

    ``launch`` names what a copy is started with: those of the same launch are not replaced. ``kind`` names what the
    copies can be asked: those of another kind do not serve beside these. ``model`` is what the deployment shall call
    it once a copy is ready; None: it does already.
    """

    model: str
    engine: Engine
    address: str
    sha256: str | None = None
    copies: int = 1
    health: LocalHealth = LocalHealth()
    launch: str = ""
    kind: str = ""
    becomes: Model | None = None


class Pace(msgspec.Struct, frozen=True):
    """How patient upkeep is; all in seconds.

    ``fetch_again`` is the wait after each failed fetch in a row; the last one repeats. ``drain`` is what requests
    that a copy is at get to end before it is stopped, ``grace`` what the copy then gets to end by itself.
    """

    fetch_again: tuple[float, ...] = (5.0, 15.0, 60.0, 300.0)
    drain: float = 30.0
    grace: float = 5.0


async def nobody_says(version: int) -> None:
    """Never returns: nobody can tell, so the limit counts."""
    await asyncio.Event().wait()


@dataclass(frozen=True)
class Means:
    """What upkeep works with.

    ``released`` returns once no request holds a deployment older than the version it is given, and so none can come
    to a replica that was not ready in it.
    """

    board: Board
    substrate: Substrate
    weights: Weights
    clock: Clock
    sleep: Sleep
    pace: Pace
    released: Callable[[int], Awaitable[None]]


class Lot:
    """What copies of one launch share: what is wanted, and the weights, which are fetched once."""

    def __init__(self, wanted: Wanted, means: Means) -> None:
        self.wanted = wanted
        self._means = means
        self._waiting: list[Copy] = []
        self._stands = (ReplicaState.STARTING, "fetching weights")
        self._fetch = asyncio.create_task(self._fetched())

    async def weights(self, copy: Copy) -> Path:
        """The file; while it is fetched, ``copy`` says how that goes."""
        if not self._fetch.done():
            self._waiting.append(copy)
            copy.stand(*self._stands)
        return await asyncio.shield(self._fetch)

    async def aclose(self) -> None:
        """Ends the fetch and closes the engine. No copy may be left."""
        await cancelled((self._fetch,))
        if not self._fetch.cancelled():
            self._fetch.exception()
        await self.wanted.engine.aclose()

    async def _fetched(self) -> Path:
        failures, pace = 0, self._means.pace
        while True:
            try:
                return await self._means.weights.fetch(self.wanted.address, self.wanted.sha256)
            except PenstockError as error:
                wait = pace.fetch_again[min(failures, len(pace.fetch_again) - 1)]
                failures += 1
                self._say(ReplicaState.DOWN, f"{error.message} (trying again in {wait:g} s)")
                await self._means.sleep(wait)
                self._say(ReplicaState.STARTING, "fetching weights")

    def _say(self, state: ReplicaState, reason: str) -> None:
        self._stands = (state, reason)
        for copy in self._waiting:
            copy.stand(state, reason)


class _Trouble(msgspec.Struct, frozen=True):
    """Why a copy must be started again, and whether what it is at may end first."""

    reason: str
    gently: bool


class Copy:
    """Starts one copy, watches it, starts it again, until it is given up or cancelled, and has stopped it then.

    ``state`` is how it stands, ``replica`` what serves while it is up; ``hear`` is called when that changes, and when
    its loop ends. ``rise`` puts it on the board when it is ready.
    """

    def __init__(
        self,
        replica_id: str,
        lot: Lot,
        means: Means,
        *,
        hear: Callable[[], None],
        rise: Callable[[Copy, Replica], None],
    ) -> None:
        self.id = replica_id
        self.lot = lot
        self.state = ReplicaState.STARTING
        self.served = False
        self.replica: Replica | None = None
        self._model = lot.wanted.model
        self._means = means
        self._hear = hear
        self._rise = rise
        self._leaving = False
        self._task = asyncio.create_task(self._keep())
        self._task.add_done_callback(self._over)

    def stand(self, state: ReplicaState, reason: str) -> None:
        """Puts on the board how it stands, when it is not ready."""
        if self._leaving:
            return
        self.state = state
        self._means.board.put(
            Replica(id=self.id, model=self._model, base_url="", state=state, reason=" ".join(reason.split()))
        )
        self._hear()

    async def retire(self) -> None:
        """Requests that it is at may end, new ones do not come; then it is stopped and leaves the board."""
        self._leaving = True
        try:
            await self._drained()
        finally:
            await self.stop()
        self._means.board.remove(self._model, self.id)

    async def stop(self) -> None:
        """Ends it now."""
        self._leaving = True
        await cancelled((self._task,))

    async def _keep(self) -> None:
        history = History()
        while True:
            weights = await self.lot.weights(self)
            self.stand(ReplicaState.STARTING, "loading")
            try:
                launch = self.lot.wanted.engine.launch(weights)
                running = await self._means.substrate.start(self.id, launch)
            except PenstockError as error:
                reason = error.message
                history, decision = after_refusal(history)
            else:
                since = self._means.clock.now()
                reason = await self._until_it_ends(self._up(launch, running), running)
                history, decision = after_end(history, self._means.clock.now() - since)
            if self._leaving or not await self._carried_out(decision, reason):
                return

    def _up(self, launch: Launch, running: Running) -> Replica:
        replica = Replica(
            id=self.id, model=self._model, base_url=running.base_url, key=launch.key, slots=launch.slots
        )
        if not self._leaving:
            self.replica, self.state, self.served = replica, ReplicaState.READY, True
            self._rise(self, replica)
            self._hear()
        return replica

    async def _carried_out(self, decision: Decision, reason: str) -> bool:
        """Whether it shall be started again."""
        match decision:
            case GiveUp():
                self.stand(ReplicaState.FAILED, reason)
                return False
            case Again(after_s):
                self.stand(ReplicaState.DOWN, reason)
                if after_s:
                    await self._means.sleep(after_s)
                return True

    async def _until_it_ends(self, replica: Replica, running: Running) -> str:
        end = asyncio.create_task(running.wait())
        trouble = asyncio.create_task(self._until_trouble(replica, running))
        grace = self._means.pace.grace
        try:
            done, _ = await asyncio.wait((end, trouble), return_when=asyncio.FIRST_COMPLETED)
            if end in done:
                return end.result()
            found = trouble.result()
            if found.gently:
                await self._drained(end)
            else:
                # What hangs would not hear of its grace.
                grace = 0.0
            return found.reason
        finally:
            self.replica = None
            await cancelled((end, trouble))
            await running.stop(grace)

    async def _until_trouble(self, replica: Replica, running: Running) -> _Trouble:
        missed = 0
        while True:
            await self._means.sleep(self.lot.wanted.health.every_s)
            health = self.lot.wanted.health
            held = running.memory()
            if health.max_memory is not None and held is not None and held > health.max_memory:
                return _Trouble(
                    f"it holds {held >> 20} MiB of memory, more than `health: max_memory` "
                    f"({health.max_memory >> 20} MiB)",
                    gently=True,
                )
            why = await wrong(self.lot.wanted.engine, replica, health.within_s)
            missed = missed + 1 if why else 0
            if missed >= health.misses:
                return _Trouble(f"killed after {missed} failed health checks in a row, the last: {why}", gently=False)

    async def _drained(self, end: asyncio.Task[str] | None = None) -> None:
        """Returns when nobody is at it any more, when it has ended, or when the limit is reached."""
        if self.replica is None:
            return
        means = self._means
        self.state = ReplicaState.DRAINING
        means.board.put(msgspec.structs.replace(self.replica, state=ReplicaState.DRAINING, reason=ENDING))
        self._hear()
        limits = (
            asyncio.ensure_future(means.released(means.board.deployment.version)),
            asyncio.ensure_future(means.sleep(means.pace.drain)),
        )
        try:
            await asyncio.wait((*limits, end or self._task), return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancelled(limits)

    def _over(self, task: asyncio.Task[None]) -> None:
        """A defect of ours ends the upkeep of one copy: it says so, and the others go on."""
        if not task.cancelled() and (error := task.exception()):
            _log.error("the upkeep of %s ended", self.id, exc_info=error)
            self.stand(ReplicaState.FAILED, f"internal error: {type(error).__name__}")
        self._hear()


async def cancelled(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancels the tasks and returns when they have ended; how they ended is for others."""
    ending = tuple(tasks)
    for task in ending:
        task.cancel()
    if ending:
        await asyncio.wait(ending)
