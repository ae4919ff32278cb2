"""A full queue belongs to all: projects share it evenly whatever each sends, and low priority gives way first.

Projects come with keys, and there is one key: what they share is tried on the queue itself, the rest from outside.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from penstock.core.clock import SystemClock
from penstock.core.errors import QUEUE_FULL, PenstockError
from penstock.core.policy import Priority, Queue
from penstock.routing.places import LocalPlaces, Place
from tests.e2e import rawhttp
from tests.e2e.faults.asked import Place as Upstream
from tests.e2e.faults.live import live
from tests.e2e.faults.plays import WORK_S
from tests.e2e.faults.upstream import BadUpstream
from tests.e2e.running import Penstock, running, wait_until

STEPS = 2000
LOADS = {"greedy": 10, "modest": 1}
CONCURRENCY = 4
LENGTH = 40


async def test_two_projects_at_ten_to_one_share_evenly() -> None:
    """Each step brings ten requests of one project and one of the other, and ends one of those that run."""
    places, queue = LocalPlaces(SystemClock()), Queue(length=LENGTH, wait_s=60)
    running_now: list[Place] = []
    served: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    errors: list[PenstockError] = []

    async def request(project: str) -> None:
        try:
            place = await places.acquire("service", project, Priority.NORMAL, queue, CONCURRENCY)
        except PenstockError as error:
            refused[project] += 1
            errors.append(error)
        else:
            running_now.append(place)
            served[project] += 1

    tasks = []
    for _ in range(STEPS):
        tasks += [asyncio.create_task(request(project)) for project, load in LOADS.items() for _ in range(load)]
        await asyncio.sleep(0)
        running_now.pop(0).release()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    shares = {project: served[project] / STEPS for project in LOADS}
    print(f"\nshares of the places: {shares}; refused: {dict(refused)}")
    assert shares["modest"] == pytest.approx(0.5, abs=0.05)
    assert shares["greedy"] == pytest.approx(0.5, abs=0.05)
    assert {error.fault for error in errors} == {QUEUE_FULL}
    assert all(error.retry_after is not None for error in errors)
    while running_now:
        running_now.pop().release()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert sum(places.held().values()) == sum(places.waiting().values()) == 0


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with BadUpstream() as bad:
        yield bad.place("works")


@pytest.fixture
def server(upstream: Upstream) -> Iterator[Penstock]:
    deployment = {
        "models": {"works": {"engine": "openai", "base_url": upstream.base_url}},
        "services": {"works": {"model": "works", "queue": {"concurrency": 1, "length": 3, "wait_s": 10}}},
    }
    with running(json.dumps(deployment)) as penstock:
        yield penstock


class Clients:
    """Requests under way, and the order in which they ended."""

    def __init__(self, server: Penstock, pool: ThreadPoolExecutor) -> None:
        self._server = server
        self._pool = pool
        self.ended: list[str] = []

    def ask(self, priority: str) -> Future[rawhttp.Reply]:
        """Sends one request; what becomes of it."""
        body = json.dumps({"model": "works", "messages": [{"role": "user", "content": "Hello"}]}).encode()
        data = rawhttp.request(self._server, body, headers=(f"x-penstock-priority: {priority}",))
        return self._pool.submit(self._exchange, data, priority)

    def _exchange(self, data: bytes, priority: str) -> rawhttp.Reply:
        reply = rawhttp.exchange(self._server, data)
        self.ended.append(priority if reply.status == 200 else f"{priority} {reply.error()['code']}")
        return reply


def test_low_priority_is_shed_first_and_served_last(server: Penstock, upstream: Upstream) -> None:
    with ThreadPoolExecutor(8) as pool:
        clients = Clients(server, pool)
        first = clients.ask("normal")
        wait_until(lambda: upstream.attempts == 1, WORK_S)
        waiting = [clients.ask("low") for _ in range(3)]
        wait_until(lambda: live(server).queued == 3, WORK_S)
        # One more of the lowest finds the queue full of its own kind: it is the one that is refused.
        assert clients.ask("low").result().error()["code"] == "queue_full"
        asked = [clients.ask("high"), clients.ask("normal")]
        told = [future.result() for future in (first, *waiting, *asked)]
    shed = [reply for reply in told if reply.status == 503]
    assert [reply.error()["code"] for reply in shed] == ["shed", "shed"]
    assert all("retry-after:" in reply.headers for reply in shed)
    served = [name for name in clients.ended if " " not in name]
    assert served == ["normal", "high", "normal", "low"]
