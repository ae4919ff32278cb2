"""Equal requests in several workers, over links: one of them is worked on, whoever fails, leaves or is killed."""

from __future__ import annotations

import asyncio
import random
import time

import msgspec
import pytest

from penstock.assembly.flights import BELOW, LONGEST, FlightDesk
from penstock.assembly.link import Told
from penstock.assembly.link_flights import EndFlight, Joined, JoinFlight
from penstock.assembly.talk import Talk
from penstock.caches.flight import Flights, Seat
from penstock.core.caching import Entry
from penstock.core.clock import SystemClock
from penstock.routing.places import LocalPlaces
from tests.assembly.doubles import Far, workers
from tests.caches.doubles import entry_of
from tests.control.timing import until

KEY = b"k" * 20
ENTRY = entry_of(KEY)


def places() -> LocalPlaces:
    return LocalPlaces(SystemClock())


async def waiting_behind(flights: Flights[bytes], far: Far) -> asyncio.Task[Seat[Entry]]:
    """One request in this worker, once it waits for another one's."""
    before = flights.waiting(KEY)
    task = asyncio.create_task(far.flights.seat(KEY, 30.0))
    await until(lambda: flights.waiting(KEY) > before, 10)
    return task


async def test_what_one_worker_makes_the_others_get_and_keep() -> None:
    flights: Flights[bytes] = Flights()
    async with workers(places(), 3, flights) as ((_, one), (_, two), (_, three)):
        first = await one.flights.seat(KEY, 30.0)
        assert (first.leads, first.value) == (True, None)
        others = [await waiting_behind(flights, far) for far in (two, three)]
        beside = asyncio.create_task(two.flights.seat(KEY, 30.0))
        first.land(ENTRY)
        for task in (*others, beside):
            seat = await asyncio.wait_for(task, 10)
            assert (seat.leads, seat.value) == (False, ENTRY)
        assert (one.heard, two.heard, three.heard) == ([], [ENTRY], [ENTRY])
        await until(lambda: not len(flights), 10)


@pytest.mark.parametrize("how", ["leaves", "is killed"])
async def test_another_leads_when_the_leader(how: str) -> None:
    flights: Flights[bytes] = Flights()
    async with workers(places(), 2, flights) as ((talk, one), (_, two)):
        first = await one.flights.seat(KEY, 30.0)
        waiting = await waiting_behind(flights, two)
        if how == "leaves":
            first.leave()
        else:
            await one.link.aclose()
            one.asker.broken()
            await talk.aclose()
        seat = await asyncio.wait_for(waiting, 10)
        assert (seat.leads, seat.value) == (True, None)
        seat.land(ENTRY)
        await until(lambda: not len(flights), 10)


@pytest.mark.parametrize("why", ["it is nobody else's", "it is too large"])
async def test_what_is_not_passed_on_lets_the_others_work(why: str) -> None:
    flights: Flights[bytes] = Flights()
    async with workers(places(), 2, flights) as ((_, one), (_, two)):
        first = await one.flights.seat(KEY, 30.0)
        waiting = await waiting_behind(flights, two)
        if why == "it is too large":
            first.land(entry_of(KEY, chunks=(b"x" * LONGEST,)))
        else:
            first.disband()
        seat = await asyncio.wait_for(waiting, 10)
        assert (seat.leads, seat.value) == (True, None)
        seat.leave()


async def test_who_has_waited_long_enough_works_for_all() -> None:
    flights: Flights[bytes] = Flights()
    async with workers(places(), 3, flights) as ((_, one), (_, two), (_, three)):
        first = await one.flights.seat(KEY, 30.0)
        late = await two.flights.seat(KEY, 0.05)
        assert (late.leads, late.value) == (True, None)
        waiting = await waiting_behind(flights, three)
        late.land(ENTRY)
        assert (await asyncio.wait_for(waiting, 10)).value == ENTRY
        first.land(ENTRY)
        await until(lambda: not len(flights), 10)


async def test_one_who_lands_while_another_of_its_worker_asks_beyond() -> None:
    flights: Flights[bytes] = Flights()
    async with workers(places(), 2, flights) as ((_, one), (_, two)):
        first = await one.flights.seat(KEY, 30.0)
        asking = await waiting_behind(flights, two)
        impatient = await two.flights.seat(KEY, 0.0)
        assert impatient.leads
        impatient.land(ENTRY)
        first.leave()
        (await asyncio.wait_for(asking, 10)).land(ENTRY)
        await until(lambda: not len(flights), 10)


async def test_two_workers_that_fail_let_all_go() -> None:
    flights: Flights[bytes] = Flights()
    async with workers(places(), 3, flights) as ((_, one), (_, two), (_, three)):
        first = await one.flights.seat(KEY, 30.0)
        second = await waiting_behind(flights, two)
        third = await waiting_behind(flights, three)
        first.fail()
        (await asyncio.wait_for(second, 10)).fail()
        assert (await asyncio.wait_for(third, 10)).value is None
        await until(lambda: not len(flights), 10)


async def test_a_supervisor_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Talk, "_hear", lambda *_: None)
    async with workers(places(), 1) as ((_, far),):
        began = time.monotonic()
        first = asyncio.create_task(far.flights.seat(KEY, 30.0))
        beside = asyncio.create_task(far.flights.seat(KEY, 30.0))
        seat = await asyncio.wait_for(first, 10)
        assert time.monotonic() - began < 5
        assert (seat.leads, seat.value) == (True, None)
        seat.land(ENTRY)
        assert (await asyncio.wait_for(beside, 10)).value == ENTRY


async def test_without_the_supervisor_each_works_for_itself() -> None:
    async with workers(places(), 1) as ((_, far),):
        far.asker.broken()
        seat = await far.flights.seat(KEY, 30.0)
        assert (seat.leads, seat.value) == (True, None)
        seat.land(ENTRY)


async def test_one_that_went_before_it_heard_that_it_leads_leaves() -> None:
    flights: Flights[bytes] = Flights()
    told: list[Told] = []
    one, two = FlightDesk(flights, told.append, int), FlightDesk(flights, told.append, int)
    assert one.join(JoinFlight(5, KEY, 9.0))
    assert not two.join(JoinFlight(6, KEY, 9.0))
    # It is told that it leads in the very moment that it leaves.
    one.end(EndFlight(5, "leave"))
    two.end(EndFlight(6, "leave"))
    one.end(EndFlight(5, "land", b"late"))
    assert len(flights) == 0
    await asyncio.sleep(0)
    assert told == []


async def test_a_worker_that_does_not_read_is_sent_no_more_answers() -> None:
    flights: Flights[bytes] = Flights()
    told: list[Told] = []
    one, two = FlightDesk(flights, told.append, int), FlightDesk(flights, told.append, lambda: BELOW)
    one.join(JoinFlight(5, KEY, 9.0))
    two.join(JoinFlight(6, KEY, 9.0))
    one.end(EndFlight(5, "land", b"x" * 1000))
    await until(lambda: told, 10)
    assert msgspec.msgpack.decode(told[0].answer, type=Joined) == Joined(leads=False)


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_happens_all_get_an_answer_and_no_seat_is_left(seed: int) -> None:
    dice, flights = random.Random(seed), Flights[bytes]()
    made = 0

    async def request(far: Far) -> Entry:
        nonlocal made
        seat = await far.flights.seat(KEY, dice.choice((0.0, 0.001, 20.0)))
        if seat.value is not None:
            return seat.value
        try:
            made += 1
            for _ in range(dice.randrange(20)):
                await asyncio.sleep(0)
            if dice.random() < 0.3:
                seat.fail()
                raise ValueError
            seat.land(ENTRY)
            return ENTRY
        finally:
            seat.leave()

    async with workers(places(), 3, flights) as pairs:
        tasks = []
        for _ in range(150):
            tasks.append(asyncio.create_task(request(dice.choice(pairs)[1])))
            if dice.random() < 0.2:
                dice.choice(tasks).cancel()
            if dice.random() < 0.5:
                await asyncio.sleep(0)
        async with asyncio.timeout(30):
            done = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(each == ENTRY or isinstance(each, ValueError | asyncio.CancelledError) for each in done)
        assert made < 150
        await until(lambda: not len(flights), 10)
        assert all(not len(far.flights) for _, far in pairs)
