"""Keeps every model that runs here in as many copies as are wanted, and replaces those that are wanted otherwise."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

from penstock.control.board import Board
from penstock.control.copies import Copy, Engine, Lot, Means, Pace, Wanted, Weights, cancelled, nobody_says
from penstock.control.health import Sleep
from penstock.core.clock import Clock
from penstock.core.serving import Replica, ReplicaState
from penstock.fleet import Substrate
from penstock.fleet.roll import Standing, steps

__all__ = ["Engine", "Pace", "Upkeep", "Wanted", "Weights"]

_log = logging.getLogger(__name__)


class Upkeep:
    """One loop per model, one per copy. How they stand is written on ``board``; no loop stops another.

    Takes the engines over, and closes each when its last copy has gone. ``released`` is ``Means.released``; without
    it a copy that is let go is stopped ``pace.drain`` seconds later.
    """

    def __init__(
        self,
        wanted: Iterable[Wanted] = (),
        *,
        board: Board,
        substrate: Substrate,
        weights: Weights,
        clock: Clock,
        released: Callable[[int], Awaitable[None]] = nobody_says,
        sleep: Sleep = asyncio.sleep,
        pace: Pace = Pace(),  # noqa: B008 - frozen
    ) -> None:
        self._means = Means(board, substrate, weights, clock, sleep, pace, released)
        self._wanted = {each.model: each for each in wanted}
        self._changed = asyncio.Event()

    def want(self, wanted: Iterable[Wanted]) -> None:
        """These models and no others from now on. One that is given as it was (the same object) is left alone."""
        self._wanted = {each.model: each for each in wanted}
        self._changed.set()

    async def run(self) -> None:
        """Keeps at it until cancelled, and has stopped every copy then."""
        keepers: dict[str, Keeper] = {}
        loops: dict[Keeper, asyncio.Task[None]] = {}
        try:
            while True:
                self._changed.clear()
                for model, keeper in tuple(keepers.items()):
                    if keeper.finished:
                        del keepers[model], loops[keeper]
                    else:
                        keeper.want(self._wanted.get(model))
                for model, wanted in self._wanted.items():
                    if model not in keepers:
                        keeper = keepers[model] = Keeper(wanted, self._means)
                        loops[keeper] = asyncio.create_task(keeper.run())
                        loops[keeper].add_done_callback(partial(self._note_end, model))
                await self._changed.wait()
        finally:
            await cancelled(loops.values())
            for wanted in self._wanted.values():
                await wanted.engine.aclose()

    def _note_end(self, model: str, loop: asyncio.Task[None]) -> None:
        """A defect of ours ends the upkeep of one model: it says so, and the others go on."""
        if not loop.cancelled() and (error := loop.exception()):
            _log.error("the upkeep of model %s ended", model, exc_info=error)
            why = f"internal error: {type(error).__name__}"
            for replica in self._means.board.deployment.replicas.get(model, ()):
                self._means.board.put(Replica(replica.id, model, "", state=ReplicaState.FAILED, reason=why))
        self._changed.set()


class Keeper:
    """The copies of one model, those that are wanted and those that are on their way out."""

    def __init__(self, wanted: Wanted, means: Means) -> None:
        self.finished = False
        self._means = means
        self._wanted: Wanted | None = wanted
        self._lots: list[Lot] = []
        self._copies: dict[str, Copy] = {}
        self._leaving: dict[Copy, asyncio.Task[None]] = {}
        self._unused: list[Engine] = []
        self._woken = asyncio.Event()

    def want(self, wanted: Wanted | None) -> None:
        """What is wanted of it from now on; None: nothing any more."""
        if wanted is not self._wanted:
            self._wanted = wanted
            self._woken.set()

    async def run(self) -> None:
        """Until nothing is wanted and nothing is left, or until cancelled, when every copy has been stopped."""
        try:
            while self._wanted is not None or self._copies:
                self._woken.clear()
                self._forget_the_gone()
                self._step(self._wanted)
                await self._close_unused()
                if self._wanted is not None or self._copies:
                    await self._woken.wait()
            self.finished = True
        finally:
            await cancelled(self._leaving.values())
            await asyncio.gather(*(copy.stop() for copy in self._copies.values()))
            self._copies.clear()
            self._wanted = None
            await self._close_unused()

    def _step(self, wanted: Wanted | None) -> None:
        lot = self._lot(wanted) if wanted is not None else None
        staying = [copy for copy in self._copies.values() if copy not in self._leaving]
        useless = lot is not None and any(c.lot is lot and c.state is ReplicaState.READY for c in staying)
        have = [
            Standing(copy.id, copy.lot is lot, copy.state, copy.served and not (useless and self._odd(copy)))
            for copy in staying
        ]
        todo = steps(0 if wanted is None else wanted.copies, have, len(self._leaving))
        for replica_id in todo.retire:
            copy = self._copies[replica_id]
            self._leaving[copy] = asyncio.create_task(copy.retire())
            self._leaving[copy].add_done_callback(lambda _: self._woken.set())
        if lot is not None:
            for _ in range(todo.start):
                self._start(lot)
            for copy in self._copies.values():
                if copy.lot is lot and copy.replica is not None and copy.state is ReplicaState.READY:
                    self._rise(copy, copy.replica)

    def _lot(self, wanted: Wanted) -> Lot:
        """Of copies as they are wanted now."""
        for lot in self._lots:
            if lot.wanted.launch == wanted.launch:
                if lot.wanted.engine is not wanted.engine:
                    self._unused.append(lot.wanted.engine)
                lot.wanted = wanted
                return lot
        self._lots.append(Lot(wanted, self._means))
        return self._lots[-1]

    def _start(self, lot: Lot) -> None:
        number = next(n for n in range(len(self._copies) + 1) if self._id(lot, n) not in self._copies)
        copy = Copy(self._id(lot, number), lot, self._means, hear=self._woken.set, rise=self._rise)
        self._copies[copy.id] = copy

    def _id(self, lot: Lot, number: int) -> str:
        return f"{lot.wanted.model}-{number}"

    def _odd(self, copy: Copy) -> bool:
        """Whether what it can be asked is not what copies are asked now."""
        return self._wanted is None or copy.lot.wanted.kind != self._wanted.kind

    def _rise(self, copy: Copy, replica: Replica) -> None:
        """A copy is ready. The first of what is wanted now makes the model what it was started as."""
        wanted = copy.lot.wanted
        if wanted is not self._wanted:
            self._means.board.put(replica)
            return
        self._means.board.put(replica, wanted.becomes, alone=any(map(self._odd, self._copies.values())))

    def _forget_the_gone(self) -> None:
        for copy, leaving in tuple(self._leaving.items()):
            if leaving.done():
                del self._leaving[copy], self._copies[copy.id]

    async def _close_unused(self) -> None:
        used = {id(copy.lot) for copy in self._copies.values()}
        for lot in tuple(self._lots):
            if id(lot) not in used and (self._wanted is None or lot.wanted is not self._wanted):
                self._lots.remove(lot)
                await lot.aclose()
        while self._unused:
            await self._unused.pop().aclose()
