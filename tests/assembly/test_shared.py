"""Places over a link: as many are held as there are, whoever is cancelled, late or gone."""

from __future__ import annotations

import asyncio
import random

import pytest

from penstock.core.clock import SystemClock
from penstock.core.errors import QUEUE_FULL, QUEUE_TIMEOUT, STOPPING, PenstockError
from penstock.core.policy import Queue
from penstock.routing.places import LocalPlaces
from tests.assembly.doubles import Far, workers
from tests.control.timing import until

QUEUE = Queue(length=100, wait_s=10.0)


async def test_two_workers_share_one_bound() -> None:
    near = LocalPlaces(SystemClock())
    async with workers(near, 2) as ((_, one), (_, two)):
        first = await one.places.acquire("s", "p", 0, QUEUE, 1)
        waiting = asyncio.create_task(two.places.acquire("s", "p", 0, QUEUE, 1))
        await until(lambda: near.waiting() == {"s": 1}, 10)
        first.release()
        first.release()
        second = await asyncio.wait_for(waiting, 10)
        assert near.held() == {"s": 1}
        second.release()
        await until(lambda: near.held() == {"s": 0}, 10)


async def test_what_has_no_bound_is_not_asked_for() -> None:
    near = LocalPlaces(SystemClock())
    async with workers(near, 1) as ((_, far),):
        place = await far.places.acquire("s", "p", 0, QUEUE, None)
        assert (near.held(), far.here.held()) == ({}, {"s": 1})
        place.release()
        assert far.here.held() == {"s": 0}


async def test_refusals_cross_the_link() -> None:
    near = LocalPlaces(SystemClock())
    async with workers(near, 1) as ((_, far),):
        await far.places.acquire("s", "p", 0, QUEUE, 1)
        for queue, fault in (
            (Queue(length=0, wait_s=10.0), QUEUE_FULL),
            (Queue(length=5, wait_s=0.01), QUEUE_TIMEOUT),
        ):
            with pytest.raises(PenstockError) as raised:
                await far.places.acquire("s", "p", 0, queue, 1)
            assert raised.value.fault is fault
            assert raised.value.retry_after


async def test_a_worker_that_is_gone_gives_back_what_it_held_and_waited_for() -> None:
    near = LocalPlaces(SystemClock())
    async with workers(near, 2) as ((talk, dying), (_, other)):
        for _ in range(2):
            await dying.places.acquire("s", "p", 0, QUEUE, 2)
        stuck = asyncio.create_task(dying.places.acquire("s", "p", 0, QUEUE, 2))
        await until(lambda: near.waiting() == {"s": 1}, 10)
        waiting = asyncio.create_task(other.places.acquire("s", "p", 0, QUEUE, 2))
        await until(lambda: near.waiting() == {"s": 2}, 10)
        await dying.link.aclose()
        dying.asker.broken()
        with pytest.raises(PenstockError) as raised:
            await stuck
        assert raised.value.fault is STOPPING
        await talk.aclose()
        await asyncio.wait_for(waiting, 10)
        assert (near.held(), near.waiting()) == ({"s": 1}, {"s": 0})


@pytest.mark.parametrize("seed", range(4))
async def test_never_more_than_there_are_and_none_is_lost(seed: int) -> None:
    """Hundreds of requests of three workers, of which many are cancelled at any moment, for four places."""
    rng, near = random.Random(seed), LocalPlaces(SystemClock())
    most = 0
    async with workers(near, 3) as pairs:

        async def use(far: Far) -> None:
            nonlocal most
            place = await far.places.acquire("s", "p", 0, Queue(length=1000, wait_s=10.0), 4)
            try:
                most = max(most, near.held()["s"])
                for _ in range(rng.randrange(4)):
                    await asyncio.sleep(0)
            finally:
                place.release()

        tasks = [asyncio.create_task(use(rng.choice(pairs)[1])) for _ in range(400)]
        while not all(task.done() for task in tasks):
            for _ in range(rng.randrange(5)):
                await asyncio.sleep(0)
            rng.choice(tasks).cancel()
        assert all(task.cancelled() or task.exception() is None for task in tasks)
        await until(lambda: near.held() == {"s": 0} and near.waiting() == {"s": 0}, 10)
        assert all(talk.held == talk.waiting == 0 for talk, _ in pairs)
        assert most <= 4
