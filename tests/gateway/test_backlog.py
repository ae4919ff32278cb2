"""What is done beside requests is bounded, has a deadline, and goes with its owner."""

from __future__ import annotations

import asyncio
import logging

import pytest

from penstock.gateway.backlog import Backlog


class Work:
    """Jobs that note their names, and wait for ``go`` first."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.begun: list[int] = []
        self.done: list[int] = []
        self.cancelled: list[int] = []

    async def job(self, name: int) -> None:
        self.begun.append(name)
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise
        self.done.append(name)


async def test_so_much_at_once_so_much_that_waits_and_the_rest_is_refused() -> None:
    backlog, work = Backlog(at_once=2, waiting=3, size=100, within_s=5.0), Work()
    taken = [backlog.offer(lambda n=n: work.job(n), 1) for n in range(7)]  # type: ignore[misc]
    assert taken == [True] * 5 + [False] * 2
    await asyncio.sleep(0)
    assert work.begun == [0, 1]
    work.go.set()
    await backlog.idle()
    assert work.done == [0, 1, 2, 3, 4]
    assert backlog.offer(lambda: work.job(9), 1)
    await backlog.idle()


async def test_what_waits_holds_so_many_bytes_at_most() -> None:
    backlog, work = Backlog(at_once=1, waiting=10, size=100, within_s=5.0), Work()
    sizes = [500, 60, 60, 40, 1]
    assert [backlog.offer(lambda: work.job(0), size) for size in sizes] == [True, True, False, True, False]
    work.go.set()
    await backlog.idle()
    assert backlog.offer(lambda: work.job(0), 100)
    assert backlog.offer(lambda: work.job(0), 100)
    await backlog.idle()


async def test_a_job_has_its_deadline_and_the_next_follows(caplog: pytest.LogCaptureFixture) -> None:
    backlog, work = Backlog(at_once=1, waiting=1, size=100, within_s=0.01), Work()
    backlog.offer(lambda: work.job(0), 1)
    backlog.offer(lambda: work.job(1), 1)
    with caplog.at_level(logging.ERROR):
        await backlog.idle()
    assert work.cancelled == [0, 1]
    assert "TimeoutError" in caplog.text


async def test_a_job_that_fails_is_told_of_and_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    backlog, work = Backlog(at_once=1, waiting=1, size=100, within_s=5.0), Work()
    work.go.set()

    async def broken() -> None:
        raise RuntimeError("oh")

    backlog.offer(broken, 1)
    backlog.offer(lambda: work.job(1), 1)
    await backlog.idle()
    assert work.done == [1]
    assert "oh" in caplog.text


async def test_what_is_closed_has_cancelled_all_and_takes_nothing() -> None:
    backlog, work = Backlog(at_once=1, waiting=1, size=100, within_s=5.0), Work()
    backlog.offer(lambda: work.job(0), 1)
    backlog.offer(lambda: work.job(1), 1)
    await asyncio.sleep(0)
    await backlog.aclose()
    assert (work.begun, work.cancelled) == ([0], [0])
    assert not backlog.offer(lambda: work.job(2), 1)
    await backlog.idle()
