"""Whoever runs a rollout is killed after each of its decisions: the next goes on from what the store says."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
from collections.abc import Iterator, Sequence

import pytest

from penstock.core.releases import Decision
from penstock.store.database import open_database
from penstock.store.scores import SqlScores
from tests.e2e.access.house import Admin
from tests.e2e.releases.echo import Echo, said
from tests.e2e.releases.house import Crowd, released, sides
from tests.e2e.running import Penstock, running, wait_until
from tests.postgres import running as postgres_running

DECIDED_WITHIN_S = 120.0
STEPS = [{"share": 5, "samples": 20}, {"share": 20, "samples": 40}, {"share": 50, "samples": 60}, {"share": 80}]
GATES = [{"metric": "format", "scorer": "format", "settings": {"json": True}}, {"metric": "success"}]


def decisions(url: str, rollout: str) -> Sequence[Decision]:
    with contextlib.closing(open_database(url)) as database:
        return SqlScores(database).decisions(rollout)


@contextlib.contextmanager
def asked(server: Penstock) -> Iterator[Crowd]:
    crowd = Crowd([server], server.key, connections=6, users=100_000)
    with crowd.asking():
        yield crowd


def carried_on(config: str, url: str) -> Sequence[Decision]:
    """A rollout from the left release to the right one, at a gateway that is killed after every decision."""
    rollout, seen = "", 0
    while True:
        with contextlib.ExitStack() as held:
            server = held.enter_context(running(config))
            admin = Admin(server)
            if not rollout:
                left, right = released(admin)
                admin.post("/services/chat/rollback", {"to": left})
                start = {"service": "chat", "release": right, "gates": GATES, "steps": STEPS, "min_samples": 20}
                rollout = str(admin.post("/rollouts", start)["id"])
            # Clients that lose their gateway are no part of this.
            with contextlib.suppress(OSError), asked(server):
                wait_until(lambda: len(decisions(url, rollout)) > seen, DECIDED_WITHIN_S, server.said)  # noqa: B023
                found = decisions(url, rollout)
                seen = len(found)
                os.kill(server.pid, signal.SIGKILL)
                server.process.wait(5)
            if found[-1].what in ("promote", "rollback", "fail", "abort"):
                return found


@contextlib.contextmanager
def deployed(echo: Echo) -> Iterator[tuple[str, str]]:
    with postgres_running() as postgres, postgres.database() as url:
        sections = {
            "server": {"access_log": "off"},
            "state": {"store": url},
            "access": {"pepper": base64.b64encode(b"k" * 32).decode()},
        }
        yield json.dumps({**sections, **sides(echo.url)}), url


def steps_of(found: Sequence[Decision]) -> list[str]:
    return [each.what for each in found]


@pytest.mark.slow
def test_a_good_candidate_is_promoted_step_by_step_whoever_is_killed() -> None:
    with Echo() as echo, deployed(echo) as (config, url):
        found = carried_on(config, url)
    print(f"\n{len(found)} decisions, killed after each: {steps_of(found)}")
    assert [each.number for each in found] == list(range(1, len(found) + 1))
    assert [what for what in steps_of(found) if what in ("load", "step")] == ["load", "step", "step", "step"]
    assert found[-1].what == "promote"


@pytest.mark.slow
def test_a_broken_candidate_is_never_promoted_whoever_is_killed() -> None:
    def answer(asked: dict[str, object]) -> str:
        return "no JSON" if asked["model"] == "right" else said(asked)

    with Echo(answer) as echo, deployed(echo) as (config, url):
        found = carried_on(config, url)
    print(f"\n{len(found)} decisions, killed after each: {steps_of(found)}: {found[-1].reason}")
    assert [each.number for each in found] == list(range(1, len(found) + 1))
    assert found[-1].what == "rollback"
    assert "promote" not in steps_of(found)
