"""What is wanted changes while it runs: copies are replaced one at a time, and what works goes on until then."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from penstock.control.upkeep import Wanted
from penstock.core.serving import Replica, ReplicaState
from penstock.engines.config import LocalHealth
from penstock.fleet.fake import FakeLife
from tests.control.house import DRAIN_S, URL, Engine, House, model
from tests.control.timing import turns, until

READY, DRAINING = ReplicaState.READY, ReplicaState.DRAINING


@pytest.fixture
def house() -> House:
    return House()


def wanted(digest: str, copies: int = 1, *, engine: Engine | None = None, kind: str = "chat") -> Wanted:
    return Wanted(
        "small", engine or Engine(), f"{digest}.gguf", copies=copies, launch=digest, kind=kind,
        becomes=model("small", digest),
    )  # fmt: skip


async def up(house: House, copies: int = 1) -> None:
    await until(lambda: list(house.replicas().values()) == [READY] * copies)


async def test_one_copy_is_replaced_when_the_next_is_ready(house: House) -> None:
    old = wanted("old")
    async with house.keeping(old):
        await up(house)
        new = wanted("new")
        house.upkeep.want([new])
        await until(lambda: house.replicas() == {"small-0": DRAINING, "small-1": READY})
        assert house.board.deployment.models["small"].digest == "new"
        assert set(house.substrate.running) == {"small-0", "small-1"}
        assert old.engine.closed == 0
        house.release()
        await until(lambda: house.replicas() == {"small-1": READY})
        await until(lambda: old.engine.closed)
        assert set(house.substrate.running) == {"small-1"}
        assert new.engine.closed == 0
    assert new.engine.closed


async def test_it_stays_what_it_was_until_a_copy_of_the_new_is_ready(house: House) -> None:
    async with house.keeping(wanted("old")):
        await up(house)
        house.upkeep.want([wanted("new", engine=Engine(FakeLife()))])
        await until(lambda: house.replicas().get("small-1") is ReplicaState.STARTING)
        await turns()
        assert house.board.deployment.models["small"].digest == "old"
        assert house.replica().state is READY


async def test_many_copies_are_replaced_one_at_a_time_and_never_fewer_are_ready(house: House) -> None:
    async with house.keeping(wanted("old", 3)):
        await up(house, 3)
        begun = len(house.heard)
        house.upkeep.want([wanted("new", 3)])
        for _ in range(3):
            await until(lambda: DRAINING in house.replicas().values())
            assert len(house.substrate.running) == 4
            house.release()
            await until(lambda: DRAINING not in house.replicas().values())
        await until(lambda: sorted(house.replicas().values(), key=str) == [READY] * 3)
        assert min(house.ready(each) for each in house.heard[begun:]) == 3
        assert max(len(each.replicas["small"]) for each in house.heard[begun:]) == 4
        assert house.weights.fetched == [("old.gguf", None), ("new.gguf", None)]


async def test_without_word_from_the_workers_the_limit_counts(house: House) -> None:
    async with house.keeping(wanted("old")):
        await up(house)
        house.upkeep.want([wanted("new")])
        await house.until(DRAINING)
        await house.time.advance(DRAIN_S - 1)
        assert "small-0" in house.substrate.running
        await house.time.advance(1)
        await until(lambda: "small-0" not in house.substrate.running)
        await until(lambda: house.replicas() == {"small-1": READY})


async def test_what_cannot_start_never_takes_down_what_works(house: House) -> None:
    async with house.keeping(wanted("old", 2)):
        await up(house, 2)
        house.upkeep.want([wanted("bad", 2, engine=Engine(FakeLife(error="not a GGUF file")))])
        await until(lambda: 0.5 in house.time.slept)
        await house.time.advance(0.5)
        assert (await house.until(ReplicaState.FAILED, "small-2")).reason == "not a GGUF file"
        await turns()
        assert house.ready(house.board.deployment) == 2
        assert house.board.deployment.models["small"].digest == "old"
        # And back: the copies that work are those that are wanted, so nothing is started.
        started = len(house.substrate.started)
        house.upkeep.want([wanted("old", 2)])
        await until(lambda: "small-2" not in house.replicas())
        assert house.ready(house.board.deployment) == 2
        assert len(house.substrate.started) == started


async def test_more_and_fewer_copies_leave_the_others_alone(house: House) -> None:
    async with house.keeping(wanted("same", 1)):
        await up(house, 1)
        house.upkeep.want([wanted("same", 3)])
        await up(house, 3)
        assert house.substrate.started == ["small-0", "small-1", "small-2"]
        house.upkeep.want([wanted("same", 2)])
        await house.until(DRAINING, "small-2")
        house.release()
        await up(house, 2)
        assert list(house.replicas()) == ["small-0", "small-1"]


async def test_settings_that_no_copy_needs_to_hear_of_replace_nothing(house: House) -> None:
    async with house.keeping(wanted("same")):
        await up(house)
        slower = msgspec.structs.replace(
            wanted("same"), becomes=model("small", "slower"), health=LocalHealth(every_s=1.0, misses=1)
        )
        house.upkeep.want([slower])
        await until(lambda: house.board.deployment.models["small"].digest == "slower")
        assert house.substrate.started == ["small-0"]
        slower.engine.well = False
        await house.time.advance(5.0)
        await until(lambda: len(house.substrate.started) == 2)


async def test_a_model_that_is_removed_drains_and_is_gone(house: House) -> None:
    removed = wanted("old", 2)
    async with house.keeping(removed):
        await up(house, 2)
        house.upkeep.want([])
        await until(lambda: set(house.replicas().values()) == {DRAINING})
        assert len(house.substrate.running) == 2
        house.release()
        await until(lambda: not house.replicas())
        await until(lambda: removed.engine.closed)
        # And it may come back.
        house.upkeep.want([wanted("again")])
        await up(house)


async def test_a_model_that_is_removed_while_it_loads_is_gone_at_once(house: House) -> None:
    async with house.keeping(wanted("old", engine=Engine(FakeLife()))):
        await until(lambda: house.substrate.started)
        house.upkeep.want([])
        await until(lambda: not house.replicas())


async def test_copies_that_are_asked_otherwise_serve_alone(house: House) -> None:
    async with house.keeping(wanted("old", 2)):
        await up(house, 2)
        begun = len(house.heard)
        house.upkeep.want([wanted("new", 2, kind="embedding")])
        await until(lambda: house.ready(house.board.deployment) == 2 and DRAINING in house.replicas().values())
        for each in house.heard[begun:]:
            ready = {r.id for r in each.replicas["small"] if r.state is READY}
            assert ready
            assert ready <= (
                {"small-2", "small-3"} if each.models["small"].digest == "new" else {"small-0", "small-1"}
            )


async def test_what_was_reached_by_url_serves_until_a_copy_is_ready(house: House) -> None:
    async with house.keeping():
        hosted = Replica("small", "small", URL)
        house.board.change({"small": model("small", "url", "openai")}, {}, {"small": (hosted,)})
        house.board.change({"small": model("small", "new")}, {}, {})
        house.upkeep.want([wanted("new")])
        await until(lambda: house.replicas() == {"small-0": READY})
        before = house.heard[-2]
        assert [(each.id, each.state) for each in before.replicas["small"]] == [
            ("small", READY),
            ("small-0", ReplicaState.STARTING),
        ]
        assert (before.models["small"].digest, house.board.deployment.models["small"].digest) == ("url", "new")


async def test_a_copy_that_ends_while_it_drains_is_not_started_again(house: House) -> None:
    async with house.keeping(wanted("old")):
        await up(house)
        house.upkeep.want([wanted("new")])
        await house.until(DRAINING)
        house.substrate.running["small-0"].crash("killed by SIGKILL")
        await until(lambda: house.replicas() == {"small-1": READY})
        assert house.substrate.started == ["small-0", "small-1"]


async def test_stopping_in_the_middle_of_a_change_leaves_nothing(house: House) -> None:
    engine = Engine()
    async with house.keeping(wanted("old", 2)) as task:
        await up(house, 2)
        house.upkeep.want([wanted("new", 2, engine=engine)])
        await until(lambda: DRAINING in house.replicas().values())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert engine.closed
