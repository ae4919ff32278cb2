"""Alarm: rings in time, for the right reason, and never for a cancellation that is somebody else's."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from penstock.core.errors import DEADLINE_EXCEEDED, UPSTREAM_TIMEOUT, PenstockError
from penstock.gateway.alarm import Alarm, Alarms


def _silent() -> PenstockError:
    return PenstockError(UPSTREAM_TIMEOUT, "silent")


async def _wait(alarm: Alarm, limit_s: float | None, event: asyncio.Event) -> None:
    alarm.begin(limit_s, _silent)
    try:
        await event.wait()
    except asyncio.CancelledError:
        if late := alarm.late():
            raise late from None
        raise
    finally:
        alarm.rest()


async def _waiting(limit_s: float) -> tuple[Alarm, asyncio.Task[None]]:
    """A task that waits, and its alarm."""
    made: list[Alarm] = []

    async def wait() -> None:
        made.append(Alarm(10.0, Alarms()))
        await _wait(made[0], limit_s, asyncio.Event())

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    return made[0], task


@pytest.mark.parametrize(
    ("total_s", "limit_s", "fault", "after_s"),
    [(1.0, 0.2, UPSTREAM_TIMEOUT, 0.2), (0.2, 1.0, DEADLINE_EXCEEDED, 0.2), (0.2, None, DEADLINE_EXCEEDED, 0.2)],
)
async def test_it_rings_in_time_and_says_what_ran_out(
    total_s: float, limit_s: float | None, fault: object, after_s: float
) -> None:
    alarm, loop = Alarm(total_s, Alarms()), asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(PenstockError) as late:
        await _wait(alarm, limit_s, asyncio.Event())
    assert late.value.fault is fault
    assert after_s - 0.005 <= loop.time() - began <= after_s * 1.5
    alarm.close()


async def test_a_limit_moves_with_each_wait() -> None:
    alarm, loop = Alarm(10.0, Alarms()), asyncio.get_running_loop()
    began = loop.time()
    for _ in range(5):
        event = asyncio.Event()
        loop.call_later(0.04, event.set)
        await _wait(alarm, 0.1, event)
    assert loop.time() - began > 0.15
    with pytest.raises(PenstockError):
        await _wait(alarm, 0.1, asyncio.Event())
    alarm.close()


async def test_what_ran_out_between_two_waits_is_found_by_the_next() -> None:
    alarm, loop = Alarm(0.02, Alarms()), asyncio.get_running_loop()
    rang = asyncio.Event()
    loop.call_later(0.05, rang.set)
    await rang.wait()
    with pytest.raises(PenstockError) as late:
        alarm.begin()
    assert late.value.fault is DEADLINE_EXCEEDED
    assert alarm.left() == 0.0


async def test_somebody_elses_cancellation_stays_one() -> None:
    alarm, task = await _waiting(5.0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    alarm.close()


@pytest.mark.parametrize("first", ["alarm", "caller"])
async def test_rung_and_cancelled_at_once_is_cancelled(first: str) -> None:
    alarm, task = await _waiting(0.01)
    if first == "caller":
        task.cancel()
        alarm.limit = 0.0
        alarm._ring()
    else:
        alarm.limit = 0.0
        alarm._ring()
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    alarm.close()


async def test_after_an_alarm_the_task_goes_on_as_if_never_cancelled() -> None:
    alarm = Alarm(10.0, Alarms())
    for _ in range(3):
        with contextlib.suppress(PenstockError):
            await _wait(alarm, 0.01, asyncio.Event())
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)
    alarm.close()


async def test_a_nearer_limit_is_met_by_a_timer_that_was_set_for_a_later_one() -> None:
    alarm, loop = Alarm(10.0, Alarms()), asyncio.get_running_loop()
    done = asyncio.Event()
    done.set()
    await _wait(alarm, 0.45, done)
    began = loop.time()
    with pytest.raises(PenstockError):
        await _wait(alarm, 0.1, asyncio.Event())
    assert loop.time() - began < 0.2
    alarm.close()


@pytest.mark.parametrize("limit_s", [0.6, 1.1])
async def test_a_limit_in_a_bucket_is_met_within_a_few_percent(limit_s: float) -> None:
    alarm, loop = Alarm(10.0, Alarms()), asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(PenstockError):
        await _wait(alarm, limit_s, asyncio.Event())
    assert limit_s - 0.002 <= loop.time() - began <= limit_s * 1.05 + 0.02
    alarm.close()


async def test_the_ticker_rests_when_there_is_nothing_to_ring() -> None:
    alarms, loop = Alarms(), asyncio.get_running_loop()
    many = [Alarm(60.0, alarms) for _ in range(100)]
    for alarm in many:
        alarm.begin()
        alarm.rest()
    for alarm in many:
        alarm.close()
        alarm.close()
    rested = asyncio.Event()
    loop.call_later(0.05, rested.set)
    await rested.wait()
    assert alarms._ticker is None
    assert not alarms._buckets
