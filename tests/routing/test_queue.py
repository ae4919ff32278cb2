"""The admission queue: its laws under any history, and races of those who wait, leave and are shed."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.clock import SystemClock
from penstock.core.errors import QUEUE_FULL, QUEUE_TIMEOUT, SHED, PenstockError
from penstock.core.policy import Queue
from penstock.routing.places import LocalPlaces, Place
from penstock.routing.queue import Entry, Full, Taken, WaitQueue

steps = st.lists(
    st.tuples(st.sampled_from(["offer", "take", "remove", "expire"]), st.integers(0, 3), st.integers(0, 2)),
    max_size=120,
)


@given(steps, st.integers(0, 6))
def test_nobody_is_lost_or_served_twice_and_the_bound_holds(history: list[tuple[str, int, int]], length: int) -> None:
    queue, now = WaitQueue(), 0.0
    waiting: dict[int, Entry] = {}
    for step, project, priority in history:
        now += 1
        if step == "offer":
            match queue.offer(f"p{project}", priority, now + 10, length):
                case Taken(entry, shed):
                    if shed is not None:
                        del waiting[shed.number]
                        assert shed.priority >= entry.priority
                    waiting[entry.number] = entry
                case Full():
                    assert len(waiting) >= length
        elif step == "take":
            taken = queue.take()
            assert (taken is None) == (not waiting)
            if taken is not None:
                del waiting[taken.number]
                assert all(taken.priority <= other.priority for other in waiting.values())
                same = [o for o in waiting.values() if (o.project, o.priority) == (taken.project, taken.priority)]
                assert all(taken.number < other.number for other in same)
        elif step == "remove" and waiting:
            entry = waiting.pop(sorted(waiting)[project % len(waiting)])
            queue.remove(entry)
            queue.remove(entry)
        elif step == "expire":
            for entry in queue.expired(now):
                assert entry.until <= now
                del waiting[entry.number]
        assert queue.count == len(waiting) <= max(length, 0)
        assert queue.soonest() == min((entry.until for entry in waiting.values()), default=None)


def test_projects_take_turns_however_much_each_has_sent() -> None:
    queue = WaitQueue()
    for number in range(110):
        queue.offer("loud" if number % 11 else "quiet", 1, 100.0, 1000)
    served = Counter(entry.project for entry in (queue.take() for _ in range(20)) if entry)
    assert served == {"loud": 10, "quiet": 10}


def test_a_full_queue_belongs_to_both_of_two_projects() -> None:
    queue, refused = WaitQueue(), Counter[str]()
    rng = Random(1)
    for _ in range(500):
        project = "loud" if rng.random() < 10 / 11 else "quiet"
        match queue.offer(project, 1, 100.0, 20):
            case Full():
                refused[project] += 1
            case Taken(_, shed) if shed is not None:
                refused[shed.project] += 1
    kept = Counter(entry.project for entry in iter(queue.take, None))
    assert kept == {"loud": 10, "quiet": 10}
    assert refused["loud"] > refused["quiet"]


def test_the_lowest_class_gives_way_first_and_the_newest_of_it() -> None:
    queue = WaitQueue()
    low = [queue.offer("p", 2, 9.0, 4) for _ in range(2)]
    queue.offer("p", 1, 9.0, 4)
    queue.offer("p", 1, 9.0, 4)
    found = queue.offer("p", 0, 9.0, 4)
    assert isinstance(found, Taken)
    assert isinstance(low[1], Taken)
    assert found.shed is low[1].entry
    assert found.lower
    assert isinstance(queue.offer("p", 2, 9.0, 4), Full)


# -- places ------------------------------------------------------------------------------------------------------

ONE = Queue(length=10, wait_s=5.0)


async def test_with_room_there_is_no_wait_and_without_there_is() -> None:
    places = LocalPlaces(SystemClock())
    first = await places.acquire("s", "p", 1, ONE, 1)
    second = asyncio.create_task(places.acquire("s", "p", 1, ONE, 1))
    await asyncio.sleep(0)
    assert (places.held(), places.waiting()) == ({"s": 1}, {"s": 1})
    first.release()
    first.release()
    place = await second
    assert (places.held(), places.waiting()) == ({"s": 1}, {"s": 0})
    place.release()
    assert places.held() == {"s": 0}


async def test_a_wait_has_an_end() -> None:
    places, loop = LocalPlaces(SystemClock()), asyncio.get_running_loop()
    await places.acquire("s", "p", 1, ONE, 1)
    began = loop.time()
    with pytest.raises(PenstockError) as late:
        await places.acquire("s", "p", 1, Queue(wait_s=0.05), 1)
    assert late.value.fault is QUEUE_TIMEOUT
    assert late.value.retry_after is not None
    assert 0.04 < loop.time() - began < 0.5
    assert places.waiting() == {"s": 0}


async def test_full_and_shed_are_told_apart() -> None:
    places, short = LocalPlaces(SystemClock()), Queue(length=1, wait_s=5.0)
    held = await places.acquire("s", "p", 1, short, 1)
    low = asyncio.create_task(places.acquire("s", "p", 2, short, 1))
    await asyncio.sleep(0)
    high = asyncio.create_task(places.acquire("s", "p", 0, short, 1))
    with pytest.raises(PenstockError) as shed:
        await low
    assert shed.value.fault is SHED
    with pytest.raises(PenstockError) as full:
        await places.acquire("s", "p", 1, short, 1)
    assert full.value.fault is QUEUE_FULL
    held.release()
    (await high).release()


async def test_more_room_is_used_at_once() -> None:
    places = LocalPlaces(SystemClock())
    await places.acquire("s", "p", 1, ONE, 1)
    waiting = [asyncio.create_task(places.acquire("s", "p", 1, ONE, 1)) for _ in range(2)]
    await asyncio.sleep(0)
    await places.acquire("s", "p", 1, ONE, 4)
    await asyncio.gather(*waiting)
    assert places.held() == {"s": 4}


async def test_a_service_without_bound_counts_and_never_waits() -> None:
    places = LocalPlaces(SystemClock())
    held = [await places.acquire("s", "p", 1, ONE, None) for _ in range(50)]
    assert places.held() == {"s": 50}
    for place in held:
        place.release()
    assert places.held() == {"s": 0}


async def test_ten_thousand_races_of_arrivals_releases_and_departures() -> None:
    places, rng = LocalPlaces(SystemClock()), Random(11)
    queue, most = Queue(length=8, wait_s=5.0), 3
    outcomes = Counter[str]()
    inside = 0

    async def one(project: str, priority: int, turns: int) -> None:
        nonlocal inside
        place: Place | None = None
        try:
            place = await places.acquire("s", project, priority, queue, most)
            inside += 1
            assert inside <= most
            for _ in range(turns):
                await asyncio.sleep(0)
            outcomes["served"] += 1
        except PenstockError as error:
            outcomes[error.fault.code] += 1
        except asyncio.CancelledError:
            outcomes["left"] += 1
            raise
        finally:
            if place is not None:
                inside -= 1
                place.release()

    running: list[asyncio.Task[None]] = []
    for _ in range(10_000):
        running.append(asyncio.create_task(one(f"p{rng.randrange(3)}", rng.randrange(3), rng.randrange(14))))
        if rng.random() < 0.3:
            running.pop(rng.randrange(len(running))).cancel()
        if rng.random() < 0.7:
            await asyncio.sleep(0)
        running = [task for task in running if not task.done()]
    await asyncio.gather(*running, return_exceptions=True)
    assert (places.held(), places.waiting(), inside) == ({"s": 0}, {"s": 0}, 0)
    assert min(outcomes["served"], outcomes["left"], outcomes["queue_full"], outcomes["shed"]) > 50
