"""Replicas that are reached by URL: down after misses in a row, back after one answer, left alone when unchanged."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from penstock.control.board import Board
from penstock.control.health import Watch, Watched
from penstock.core.errors import UPSTREAM_UNREACHABLE, PenstockError
from penstock.core.serving import Deployment, Replica, ReplicaState
from penstock.engines.config import Health
from tests.control.house import model
from tests.control.timing import ManualTime, turns, until

READY, DOWN = ReplicaState.READY, ReplicaState.DOWN
ONE, TWO = Replica("far-0", "far", "http://one/v1"), Replica("far-1", "far", "http://two/v1")


class Engine:
    """``ill`` are the replicas that do not answer, ``slow`` those that take too long."""

    def __init__(self) -> None:
        self.ill: set[str] = set()
        self.slow: set[str] = set()
        self.probed: list[str] = []
        self.closed = 0

    async def probe(self, replica: Replica) -> None:
        self.probed.append(replica.id)
        if replica.id in self.slow:
            await asyncio.Event().wait()
        if replica.id in self.ill:
            raise PenstockError(UPSTREAM_UNREACHABLE, "nobody\nthere")

    async def aclose(self) -> None:
        self.closed += 1


class Place:
    def __init__(self) -> None:
        self.time, self.engine, self.heard = ManualTime(), Engine(), 0
        self.board = Board(
            Deployment(1, {"far": model("far", "d", "openai")}, {}, {"far": (ONE, TWO)}), [], self._hear
        )
        self.watch = Watch(self.board, self.time.sleep)

    def _hear(self, _: Deployment) -> None:
        self.heard += 1

    def watched(self, *replicas: Replica, misses: int = 3, within_s: float = 1.0) -> Watched:
        health = Health(every_s=10.0, misses=misses, within_s=within_s)
        return Watched("far", self.engine, replicas or (ONE, TWO), health)

    @contextlib.asynccontextmanager
    async def watching(self, *watched: Watched) -> AsyncIterator[None]:
        self.watch.want(watched or [self.watched()])
        task = asyncio.create_task(self.watch.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            assert self.engine.closed

    async def check(self) -> None:
        """One round of checks."""
        before = len(self.engine.probed)
        await self.time.advance(10.0)
        await until(lambda: len(self.engine.probed) >= before + 2)
        await turns()

    def states(self) -> list[ReplicaState]:
        return [each.state for each in self.board.deployment.replicas["far"]]


@pytest.fixture
def place() -> Place:
    return Place()


async def test_misses_in_a_row_take_it_down_and_one_answer_brings_it_back(place: Place) -> None:
    async with place.watching():
        place.engine.ill = {"far-1"}
        for _ in range(2):
            await place.check()
        assert place.states() == [READY, READY]
        await place.check()
        assert place.states() == [READY, DOWN]
        down = place.board.deployment.replicas["far"][1]
        assert (down.base_url, down.reason) == (TWO.base_url, "failed its health checks, 3 in a row: nobody there")
        heard = place.heard
        await place.check()
        assert place.heard == heard
        place.engine.ill = set()
        await place.check()
        assert place.board.deployment.replicas["far"] == (ONE, TWO)


async def test_misses_that_are_not_in_a_row_are_forgiven(place: Place) -> None:
    async with place.watching():
        for ill in (True, True, False, True, True, False):
            place.engine.ill = {"far-0"} if ill else set()
            await place.check()
        assert place.heard == 0


async def test_an_answer_that_takes_too_long_is_a_miss(place: Place) -> None:
    async with place.watching(place.watched(misses=1, within_s=0.02)):
        place.engine.slow = {"far-0"}
        await place.time.advance(10.0)
        await until(lambda: place.states() == [DOWN, READY])
        assert place.board.deployment.replicas["far"][0].reason == (
            "failed its health checks, 1 in a row: no answer in 0.02 s"
        )


async def test_a_change_elsewhere_keeps_state_and_a_change_of_its_own_starts_anew(place: Place) -> None:
    place.engine.ill = {"far-0"}
    same = place.watched(misses=1)
    async with place.watching(same):
        await place.check()
        assert place.states() == [DOWN, READY]
        place.board.change(place.board.deployment.models, {}, {"far": (ONE, TWO)})
        place.watch.want([same])
        assert place.states() == [DOWN, READY]
        assert place.engine.closed == 0
        moved = Replica("far-0", "far", "http://three/v1")
        place.board.change({"far": model("far", "e", "openai")}, {}, {"far": (moved,)})
        place.engine, before = Engine(), place.engine
        place.watch.want([place.watched(moved)])
        await until(lambda: before.closed)
        assert place.states() == [READY]


async def test_what_is_found_of_a_replica_that_has_left_is_not_told(place: Place) -> None:
    place.engine.ill = {"far-0"}
    async with place.watching(place.watched(misses=1)):
        place.board.change({}, {}, {})
        await place.check()
        assert place.board.deployment.replicas == {}
