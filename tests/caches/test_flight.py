"""A hundred equal requests cost one, whoever fails, leaves or is slow, at whatever moment."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest

from penstock.caches.flight import Flights, Seat

KEY = b"k"


async def settle() -> None:
    """Lets every task go as far as it comes by itself."""
    for _ in range(5):
        await asyncio.sleep(0)


def waiting(flights: Flights[str], count: int, within_s: float = 30.0) -> list[asyncio.Task[Seat[str]]]:
    return [asyncio.create_task(flights.seat(KEY, within_s)) for _ in range(count)]


async def test_a_hundred_at_once_cost_one() -> None:
    flights: Flights[str] = Flights()
    gate = asyncio.Event()
    made = 0

    async def request() -> str:
        nonlocal made
        seat = await flights.seat(KEY, 30.0)
        if seat.value is not None:
            return seat.value
        try:
            made += 1
            await gate.wait()
            seat.land("answer")
            return "answer"
        finally:
            seat.leave()

    tasks = [asyncio.create_task(request()) for _ in range(100)]
    await settle()
    assert made == 1
    gate.set()
    assert await asyncio.gather(*tasks) == ["answer"] * 100
    assert made == 1
    assert len(flights) == 0


async def test_other_keys_do_not_wait() -> None:
    flights: Flights[str] = Flights()
    assert (await flights.seat(b"a", 0)).leads
    assert (await flights.seat(b"b", 0)).leads


async def test_a_leader_that_fails_lets_the_longest_waiting_lead() -> None:
    flights: Flights[str] = Flights()
    first = await flights.seat(KEY, 0)
    others = waiting(flights, 3)
    await settle()
    first.leave()
    second = await others[0]
    assert second.leads
    assert second.value is None
    await settle()
    assert not others[1].done()
    second.land("x")
    assert [(await each).value for each in others[1:]] == ["x", "x"]
    assert len(flights) == 0


async def test_what_is_not_to_be_shared_sends_all_on_their_way_at_once() -> None:
    flights: Flights[str] = Flights()
    first = await flights.seat(KEY, 0)
    others = waiting(flights, 3)
    await settle()
    first.disband()
    seats = await asyncio.gather(*others)
    assert [(seat.value, seat.leads) for seat in seats] == [(None, False)] * 3
    assert (await flights.seat(KEY, 0)).leads


@pytest.mark.parametrize("slow", [Seat.leave, Seat.fail, Seat.disband, lambda seat: seat.land("late")])
async def test_who_waited_long_enough_leads_beside_the_slow_one_for_all(slow: Callable[[Seat[str]], None]) -> None:
    flights: Flights[str] = Flights()
    first = await flights.seat(KEY, 0)
    late = await flights.seat(KEY, 0.01)
    (patient,) = waiting(flights, 1)
    await settle()
    assert (late.value, late.leads) == (None, True)
    late.land("x")
    assert (await patient).value == "x"
    again = await flights.seat(KEY, 0)
    slow(first)
    assert again.leads
    assert len(flights) == 1


async def test_of_all_who_have_waited_one_leads_and_the_others_wait_for_it_as_long_again() -> None:
    flights: Flights[str] = Flights()
    first = await flights.seat(KEY, 0)
    others = waiting(flights, 20, within_s=0.2)
    done, rest = await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
    assert (len(done), len(rest)) == (1, 19)
    first.leave()
    await settle()
    assert not any(each.done() for each in rest)
    (await done.pop()).land("x")
    assert {(await each).value for each in rest} == {"x"}


async def test_after_a_second_failure_all_go_at_once() -> None:
    flights: Flights[str] = Flights()
    first = await flights.seat(KEY, 0)
    others = waiting(flights, 10)
    await settle()
    first.fail()
    second = await others[0]
    assert second.leads
    await settle()
    assert not any(each.done() for each in others[1:])
    second.fail()
    seats = [await each for each in others[1:]]
    assert not any(seat.leads or seat.value for seat in seats)
    assert len(flights) == 0


async def test_those_who_left_are_not_remembered() -> None:
    flights: Flights[str] = Flights()
    first = await flights.seat(KEY, 0)
    others = waiting(flights, 50)
    await settle()
    for each in others:
        each.cancel()
    await asyncio.wait(others)
    assert flights.waiting(KEY) == 0
    first.leave()


async def test_the_first_of_land_leave_and_disband_counts() -> None:
    flights: Flights[str] = Flights()
    seat = await flights.seat(KEY, 0)
    others = waiting(flights, 1)
    await settle()
    seat.land("x")
    again = await flights.seat(KEY, 0)
    seat.leave()
    seat.disband()
    seat.land("y")
    assert again.leads
    assert flights.lead(KEY) is None
    assert (await others[0]).value == "x"


async def test_a_lead_without_waiting() -> None:
    flights: Flights[str] = Flights()
    seat = flights.lead(KEY)
    assert seat is not None
    assert flights.lead(KEY) is None
    seat.leave()
    assert flights.lead(KEY) is not None


@pytest.mark.parametrize("act", [Seat.leave, lambda seat: seat.land("x"), Seat.disband])
async def test_one_cancelled_in_the_very_moment_that_it_is_told(act: Callable[[Seat[str]], None]) -> None:
    flights: Flights[str] = Flights()
    first = await flights.seat(KEY, 0)
    doomed, heir = waiting(flights, 2)
    await settle()
    act(first)
    doomed.cancel()
    seat = await asyncio.wait_for(heir, 5)
    assert doomed.cancelled() or doomed.done()
    with pytest.raises(asyncio.CancelledError):
        await doomed
    seat.leave()
    assert len(flights) == 0


async def test_a_wait_that_ends_in_the_very_moment_that_it_is_told_leads() -> None:
    flights: Flights[str] = Flights()
    first = await flights.seat(KEY, 0)
    loop = asyncio.get_running_loop()
    (late,) = waiting(flights, 1, within_s=0.02)
    await settle()
    # Told by a call of the loop at the same time as its own deadline, or just after.
    left = asyncio.Event()
    loop.call_at(loop.time() + 0.02, lambda: (first.leave(), left.set()))
    seat = await late
    seat.leave()
    await asyncio.wait_for(left.wait(), 5)
    assert len(flights) == 0


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_happens_everybody_gets_an_answer_and_nobody_a_strangers_error(seed: int) -> None:
    """Leaders that fail, are cancelled, or disband, and followers that are cancelled or late, at random."""
    dice = random.Random(seed)
    flights: Flights[str] = Flights()
    at_work = most_at_work = 0
    own_errors: set[int] = set()

    async def request(number: int) -> str:
        nonlocal at_work, most_at_work
        seat = await flights.seat(KEY, 5.0)
        if seat.value is not None:
            return seat.value
        try:
            led = seat.leads
            at_work += led
            most_at_work = max(most_at_work, at_work)
            try:
                for _ in range(dice.randrange(4)):
                    await asyncio.sleep(0)
                what = dice.random()
                if what < 0.3:
                    own_errors.add(number)
                    raise ValueError(number)
            finally:
                at_work -= led
            if what < 0.4:
                seat.disband()
            else:
                seat.land("answer")
            return "answer"
        finally:
            seat.leave()

    tasks: list[asyncio.Task[str]] = []
    for number in range(200):
        tasks.append(asyncio.create_task(request(number)))
        if dice.random() < 0.3:
            dice.choice(tasks).cancel()
        if dice.random() < 0.5:
            await asyncio.sleep(0)
    async with asyncio.timeout(20):
        done = await asyncio.gather(*tasks, return_exceptions=True)
    for number, outcome in enumerate(done):
        if isinstance(outcome, ValueError):
            assert number in own_errors
        elif not isinstance(outcome, asyncio.CancelledError):
            assert outcome == "answer"
    assert most_at_work == 1
    assert len(flights) == 0
