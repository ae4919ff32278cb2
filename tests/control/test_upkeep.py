"""Upkeep against the fake substrate, with time that moves by hand."""

from __future__ import annotations

import asyncio

import pytest

from penstock.control.upkeep import Wanted
from penstock.core.errors import WEIGHTS_UNAVAILABLE, PenstockError
from penstock.core.serving import Replica, ReplicaState
from penstock.engines.config import LocalHealth
from penstock.fleet.fake import FakeLife
from tests.control.house import URL, Engine, House
from tests.control.timing import until


@pytest.fixture
def house() -> House:
    return House()


async def test_weights_are_fetched_and_every_copy_comes_up(house: House) -> None:
    async with house.keeping(Wanted("small", Engine(), "a.gguf", "abc", copies=2)):
        for name in ("small-0", "small-1"):
            assert await house.until(ReplicaState.READY, name) == Replica(name, "small", URL, "secret")
        assert house.weights.fetched == [("a.gguf", "abc")]
        assert house.board.deployment.settled
        assert [d.version for d in house.heard] == list(range(2, 2 + len(house.heard)))


async def test_a_crash_is_mended_at_once_and_the_next_ones_with_backoff(house: House) -> None:
    async with house.keeping(Wanted("small", Engine(), "a.gguf")):
        for turn, wait in enumerate((0.0, 0.5, 1.0, 2.0), 1):
            await until(lambda turn=turn: len(house.substrate.started) == turn)
            await house.until(ReplicaState.READY)
            house.substrate.running["small-0"].crash("killed by SIGKILL")
            if wait:
                assert (await house.until(ReplicaState.DOWN)).reason == "killed by SIGKILL"
                await until(lambda wait=wait: wait in house.time.slept)
                await house.time.advance(wait - 0.01)
                assert house.replica().state is ReplicaState.DOWN
                await house.time.advance(0.02)
        await until(lambda: len(house.substrate.started) == 5)
        await house.until(ReplicaState.READY)
        assert house.states() == ["starting", "ready"] + ["down", "starting", "ready"] * 4


async def test_what_hangs_is_killed_and_started_again(house: House) -> None:
    engine = Engine()
    async with house.keeping(Wanted("small", engine, "a.gguf")):
        await house.until(ReplicaState.READY)
        first = house.substrate.running["small-0"]
        engine.well = False
        for missed in (1, 2, 3):
            assert not first.ended.done()
            await house.time.advance(5.0)
            await until(lambda missed=missed: engine.probed == missed)
        await until(first.ended.done)
        engine.well = True
        await house.until(ReplicaState.READY)
        reasons = [r.reason for d in house.heard for r in d.replicas["small"] if r.state is ReplicaState.DOWN]
        assert reasons == ["killed after 3 failed health checks in a row, the last: no answer in 5 s"]


async def test_misses_that_are_not_in_a_row_are_forgiven(house: House) -> None:
    engine = Engine()
    async with house.keeping(Wanted("small", engine, "a.gguf")):
        await house.until(ReplicaState.READY)
        for turn, well in enumerate((False, False, True, False, False, True), 1):
            engine.well = well
            await house.time.advance(5.0)
            await until(lambda turn=turn: engine.probed == turn)
        assert house.states() == ["starting", "ready"]


async def test_a_probe_that_never_returns_is_a_miss(house: House) -> None:
    class Stuck(Engine):
        async def probe(self, replica: Replica) -> None:
            self.probed += 1
            await asyncio.Event().wait()

    engine = Stuck()
    async with house.keeping(Wanted("small", engine, "a.gguf", health=LocalHealth(within_s=0.05))):
        await house.until(ReplicaState.READY)
        first = house.substrate.running["small-0"]
        for probes in (1, 2, 3):
            await until(lambda probes=probes: house.time.slept.count(5.0) == probes)
            await house.time.advance(5.0)
        await until(first.ended.done)


async def test_bad_weights_are_given_up_with_the_childs_own_words(house: House) -> None:
    async with house.keeping(Wanted("small", Engine(FakeLife(error="not a\nGGUF file")), "a.gguf")):
        await until(lambda: 0.5 in house.time.slept)
        assert house.board.deployment.settled
        await house.time.advance(0.5)
        assert (await house.until(ReplicaState.FAILED)).reason == "not a GGUF file"
        assert house.substrate.started == ["small-0"] * 3


async def test_one_model_that_fails_never_stops_another(house: House) -> None:
    broken = Wanted("broken", Engine(RuntimeError("a defect")), "b.gguf")
    house.weights.refusals["c.gguf"] = 100
    far = Wanted("far", Engine(), "c.gguf")
    async with house.keeping(broken, far, Wanted("small", Engine(), "a.gguf")):
        await house.until(ReplicaState.READY)
        assert (await house.until(ReplicaState.FAILED, "broken-0")).reason == "internal error: RuntimeError"
        assert (await house.until(ReplicaState.DOWN, "far-0")).reason == (
            "no route to the index (trying again in 5 s)"
        )
        assert house.board.deployment.settled


async def test_weights_that_cannot_be_had_are_tried_again(house: House) -> None:
    house.weights.refusals["a.gguf"] = 5
    async with house.keeping(Wanted("small", Engine(), "a.gguf")):
        for turn, wait in enumerate((5.0, 15.0, 60.0, 300.0, 300.0), 1):
            await until(lambda turn=turn: len(house.time.slept) == turn)
            assert house.time.slept[-1] == wait
            await house.time.advance(wait)
        await house.until(ReplicaState.READY)
        assert house.states() == ["down", "starting"] * 5 + ["ready"]


async def test_a_launch_that_cannot_be_made_is_a_refused_start(house: House) -> None:
    engine = Engine(PenstockError(WEIGHTS_UNAVAILABLE, "not a file"), FakeLife(base_url=URL))
    async with house.keeping(Wanted("small", engine, "a.gguf")):
        await house.until(ReplicaState.READY)
        assert house.states() == ["starting", "down", "starting", "ready"]


async def test_stopping_while_it_starts_leaves_nothing(house: House) -> None:
    async with house.keeping(Wanted("small", Engine(FakeLife()), "a.gguf")) as task:
        await until(lambda: house.substrate.started)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_copy_that_holds_too_much_ends_what_it_is_at_and_is_started_again(house: House) -> None:
    roomy = Wanted("small", Engine(), "a.gguf", health=LocalHealth(max_memory=100 << 20))
    async with house.keeping(roomy):
        await house.until(ReplicaState.READY)
        first = house.substrate.running["small-0"]
        first.held = 100 << 20
        await house.time.advance(5.0)
        assert house.replica().state is ReplicaState.READY
        first.held = 101 << 20
        await house.time.advance(5.0)
        await house.until(ReplicaState.DRAINING)
        assert not first.ended.done()
        house.release()
        await until(first.ended.done)
        await house.until(ReplicaState.READY)
        reasons = [r.reason for d in house.heard for r in d.replicas["small"] if r.state is ReplicaState.DOWN]
        assert reasons == ["it holds 101 MiB of memory, more than `health: max_memory` (100 MiB)"]
