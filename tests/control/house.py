"""Upkeep with everything around it: the fake substrate, a scripted engine, time that moves by hand."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from penstock.control.board import Board
from penstock.control.upkeep import Pace, Upkeep, Wanted
from penstock.core.errors import UPSTREAM_TIMEOUT, WEIGHTS_UNAVAILABLE, PenstockError
from penstock.core.serving import Deployment, Launch, Model, Replica, ReplicaState
from penstock.fleet.fake import FakeLife, FakeSubstrate
from tests.control.timing import ManualTime, until

URL = "http://127.0.0.1:9/v1"
DRAIN_S = 30.0


class Engine:
    """Launches by script; the last life repeats."""

    def __init__(self, *lives: FakeLife | Exception) -> None:
        self.lives = deque(lives or [FakeLife(base_url=URL)])
        self.probed = 0
        self.well = True
        self.closed = 0

    def launch(self, weights: Path) -> Launch:
        assert not self.closed
        life = self.lives[0] if len(self.lives) == 1 else self.lives.popleft()
        if isinstance(life, Exception):
            raise life
        return Launch(("engine", str(weights)), msgspec.json.encode(life), key="secret", ready_within_s=60)

    async def probe(self, replica: Replica) -> None:
        assert replica.key == "secret"
        self.probed += 1
        if not self.well:
            raise PenstockError(UPSTREAM_TIMEOUT, "no answer in 5 s")

    async def aclose(self) -> None:
        self.closed += 1


class Weights:
    def __init__(self) -> None:
        self.fetched: list[tuple[str, str | None]] = []
        self.refusals: dict[str, int] = {}

    async def fetch(self, address: str, sha256: str | None) -> Path:
        self.fetched.append((address, sha256))
        if self.refusals.get(address, 0) > 0:
            self.refusals[address] -= 1
            raise PenstockError(WEIGHTS_UNAVAILABLE, "no route to the index")
        return Path("/weights") / address


class House:
    """The loop with everything around it."""

    def __init__(self) -> None:
        self.time, self.substrate, self.weights = ManualTime(), FakeSubstrate(), Weights()
        self.heard: list[Deployment] = []
        self.board = Board(Deployment(1, {}, {}, {}), [], self.heard.append)
        self._oldest = 0
        self._freed = asyncio.Event()

    @contextlib.asynccontextmanager
    async def keeping(self, *wanted: Wanted) -> AsyncIterator[asyncio.Task[None]]:
        models = {each.model: each.becomes for each in wanted if each.becomes}
        self.board = Board(Deployment(1, models, {}, {}), [w.model for w in wanted], self._hear)
        self.upkeep = Upkeep(
            wanted, board=self.board, substrate=self.substrate, weights=self.weights, released=self._released,
            clock=self.time, sleep=self.time.sleep, pace=Pace(drain=DRAIN_S),
        )  # fmt: skip
        task = asyncio.create_task(self.upkeep.run())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.wait([task])
            assert self.substrate.running == {}

    def release(self) -> None:
        """No request holds anything but the newest deployment."""
        self._oldest = self.board.deployment.version
        self._freed.set()

    def replicas(self, model: str = "small") -> dict[str, ReplicaState]:
        return {each.id: each.state for each in self.board.deployment.replicas.get(model, ())}

    def ready(self, deployment: Deployment, model: str = "small") -> int:
        return sum(each.state is ReplicaState.READY for each in deployment.replicas.get(model, ()))

    def replica(self, name: str = "small-0") -> Replica:
        model = name.rpartition("-")[0]
        return next(r for r in self.board.deployment.replicas.get(model, ()) if r.id == name)

    async def until(self, state: ReplicaState, name: str = "small-0") -> Replica:
        await until(lambda: self.replicas(name.rpartition("-")[0]).get(name) is state)
        return self.replica(name)

    def states(self, name: str = "small-0") -> list[str]:
        """Every state that was heard of one replica, repeats left out."""
        model = name.rpartition("-")[0]
        states = [r.state.value for d in self.heard for r in d.replicas.get(model, ()) if r.id == name]
        return [state for at, state in enumerate(states) if not at or states[at - 1] != state]

    def _hear(self, deployment: Deployment) -> None:
        self.heard.append(deployment)
        # Every board that a worker sees is one that it could serve.
        for model, replicas in deployment.replicas.items():
            assert len({each.id for each in replicas}) == len(replicas), model

    async def _released(self, version: int) -> None:
        while self._oldest < version:
            self._freed.clear()
            await self._freed.wait()


def model(name: str, digest: str, engine: str = "llamacpp") -> Model:
    return Model(name, engine, digest, b"")
