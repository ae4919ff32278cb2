"""Everything that happens to a pair of gateways in a bad hour, under open-loop traffic: no request is lost.

Replicas are restarted one after the other, a worker is killed, one gateway is told to stop, and the deployment changes
three times. A client may hear an error from the worker that was killed, while it was asked, and from nobody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.faults.live import AT_REST, live, under_way
from tests.e2e.open_loop import Tally, drive
from tests.e2e.running import Penstock, alive, running, wait_until

ROOT = Path(__file__).resolve().parents[2]
PER_S = 50.0
QUICK = 700
FULL = 10_000
# Longer than the client keeps an unused connection, so that it hears of the end on every one that it keeps.
ANNOUNCE_S = 3.0
APPLIED_WITHIN_S = 10.0
AT_REST_S = 5.0
STOPPED_WITHIN_S = 20.0


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    file = tmp_path / "small.gguf"
    file.write_bytes(b"GGUF")
    return file


# Sent before the client reads from its sockets that they are closed.
_UNHEARD = 2


def deployment(weights: Path, *, context: int = 1, replicas: int = 2, policy: str = "least_work") -> str:
    small = {
        "engine": "llamacpp",
        "weights": f"file:{weights}",
        "context": context,
        "replicas": replicas,
        "slots": 16,
    }
    return json.dumps(
        {
            "server": {"drain": {"announce_s": ANNOUNCE_S, "limit_s": 10}},
            "models": {"small": small},
            "services": {"assistant": {"model": "small", "balance": {"policy": policy}}},
        }
    )


@contextlib.contextmanager
def pair(config: str) -> Iterator[tuple[Penstock, Penstock]]:
    up = partial(running, config, program="tests.e2e.replica", env={"PYTHONPATH": str(ROOT)})
    with up() as stays, up() as goes:
        yield stays, goes


def _changed(server: Penstock, config: str) -> None:
    said = server.said().count("pplied")
    server.file.write_text(config)
    os.kill(server.pid, signal.SIGHUP)
    wait_until(lambda: server.said().count("pplied") > said, APPLIED_WITHIN_S, server.said)


def _worker_killed(server: Penstock, tally: Tally, at_it: set[int]) -> None:
    """Adds the requests that the worker had to ``at_it``: those under way, those sent before it was gone, and those
    sent on a connection that had gone with it before the client heard of that."""
    worker = server.worker()
    begun, had = max(tally.at), set(tally.under_way)
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: not alive(worker), APPLIED_WITHIN_S)
    gone = max(tally.at)
    wait_until(lambda: max(tally.at) > gone + _UNHEARD, APPLIED_WITHIN_S)
    at_it.update(
        number for number, place in list(tally.at.items()) if place == 0 and (number in had or number > begun)
    )


async def _through_all_of_it(weights: Path, count: int) -> None:
    say = partial(deployment, weights)
    tally = Tally()
    at_killed: set[int] = set()
    with pair(say()) as (stays, goes):
        happenings = [
            partial(_changed, stays, say(policy="two_choices")),
            partial(_changed, stays, say(policy="two_choices", context=2)),
            partial(_worker_killed, stays, tally, at_killed),
            partial(_changed, stays, say(policy="two_choices", context=2, replicas=3)),
            partial(goes.process.send_signal, signal.SIGTERM),
            partial(_changed, stays, say(context=2, replicas=2)),
        ]
        every = count // (len(happenings) + 1)
        events = [(every * at, partial(asyncio.to_thread, what)) for at, what in enumerate(happenings, 1)]
        await drive([stays, goes], service="assistant", count=count, per_s=PER_S, events=events, tally=tally)
        print(
            f"\n{tally.good} of {count} good, {tally.elsewhere} sent again, first byte after at most {tally.slow_s:.2f} s;"
            f" {len(tally.lost)} heard an error from the killed worker, which had {len(at_killed)}"
        )
        assert set(tally.lost) <= at_killed, tally.lost
        assert tally.good + len(tally.lost) == count
        assert {said.split(" 0")[0] for said in tally.said} == {"from 1", "from 2"}
        assert await asyncio.to_thread(goes.process.wait, STOPPED_WITHIN_S) == 0
        wait_until(lambda: under_way(stays) == AT_REST, AT_REST_S, lambda: str(live(stays)))
        assert {replica.breaker for replica in live(stays).replicas.values()} == {"closed"}
        assert len(live(stays).replicas) == 2


async def test_no_request_is_lost(weights: Path) -> None:
    await _through_all_of_it(weights, QUICK)


@pytest.mark.slow
async def test_no_request_of_ten_thousand_is_lost(weights: Path) -> None:
    await _through_all_of_it(weights, FULL)
