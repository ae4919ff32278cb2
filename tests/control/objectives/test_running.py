"""The loop as it runs, the means that it goes by, and budgets set on each of a kind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import msgspec
import pytest

from penstock.control.objectives.conditions import budgets, owner_of
from penstock.control.objectives.counting import Count
from penstock.control.objectives.loop import Alerting
from penstock.control.objectives.means import FRESH_S, ScoreMeans
from penstock.control.objectives.webhook import Webhook
from penstock.core.accounts import Budget, Directory, KeyRecord
from penstock.core.errors import STORE_UNAVAILABLE, PenstockError
from penstock.core.releases import WHOLE, Range, Split
from penstock.core.serving import Replica, ReplicaState
from penstock.observe import config
from penstock.store import ScoreSum
from tests.control.objectives.test_alerting import World
from tests.control.objectives.test_webhook import Receiving, receiving
from tests.control.timing import until

__all__ = ["receiving"]


async def test_it_runs_tells_and_ends(receiving: Receiving) -> None:
    world = World()
    world.replicas = (Replica("m-1", "m", "u", state=ReplicaState.FAILED),)
    alerting = Alerting(
        gateway="gw",
        sources=world,
        series=world.series,
        means=lambda *_: None,
        spent=lambda *_: {},
        alerts=world.alerts,
        receivers=[Webhook(config.Webhook(url=receiving.url, template="json"), 1)],
        settings=config.Alerts(group_s=0),
        clock=world.time,
        sleep=world.time.sleep,
    )
    running = asyncio.create_task(alerting.run())
    # Slow enough that the end of the loop comes while it is under way.
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow():  # type: ignore[no-untyped-def]
        begun.set()
        await go_on.wait()
        return receiving.ok()

    receiving.answers.append(slow)
    await asyncio.wait_for(begun.wait(), 5)
    running.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert alerting.delivery.lines[0].delivered == 1
    assert json.loads(receiving.bodies[0])["alerts"][0]["id"] == "replica/gw/m-1/page"


async def test_a_defect_ends_one_look_and_not_the_loop() -> None:
    world = World()
    alerting, phone = world.gateway(group_s=0)
    whole = world.deployment
    world.deployment = lambda: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    running = asyncio.create_task(alerting.run())
    await until(lambda: world.time.slept)
    world.deployment = whole  # type: ignore[method-assign]
    world.replicas = (Replica("m-1", "m", "u", state=ReplicaState.FAILED),)
    await world.time.advance(15)
    await until(lambda: phone.told)
    running.cancel()
    await asyncio.wait([running])


class Sums:
    def __init__(self) -> None:
        self.asked: list[str] = []
        self.away = False

    def summary(self, service: str, release: str, since: float) -> Sequence[ScoreSum]:
        if self.away:
            raise PenstockError(STORE_UNAVAILABLE, "The store is away.")
        self.asked.append(release)
        made = ScoreSum(metric="feedback", version="v", copied=False, count=10, mean=0.5 if release else 1.0)
        return [
            made,
            msgspec.structs.replace(made, copied=True, mean=0.0),
            msgspec.structs.replace(made, metric="judge", mean=0.0),
        ]


def test_means_are_of_all_releases_that_a_service_has() -> None:
    sums, now = Sums(), [1000.0]
    split = Split(
        service="a", ranges=(Range(WHOLE // 2, "r1"), Range(WHOLE, "r2")), salt="s", inside=(Range(WHOLE, "r1"),)
    )
    directory = Directory(
        splits=(split, msgspec.structs.replace(split, service="b", ranges=(Range(WHOLE, "other"),)))
    )
    means = ScoreMeans(sums, lambda: directory, lambda: now[0])
    assert means("a", "feedback", 0.0) == Count(30, 10)
    assert sums.asked == ["", "r1", "r2"]
    assert means("a", "feedback", 0.0) == Count(30, 10)
    assert len(sums.asked) == 3
    now[0] += FRESH_S
    sums.away = True
    assert means("a", "feedback", 60.0) is None


def test_a_budget_on_each_leaves_out_those_with_one_of_their_own() -> None:
    each = Budget(id="each", kind="key", amount_nano=100, period="day")
    own = Budget(id="own", kind="key", subject="k1", amount_nano=1000, period="day")
    zero = Budget(id="zero", kind="global", amount_nano=0, period="day")
    keys = (KeyRecord(id="k2", digest=b"", project="red", role="developer"),)
    spent = {"k1": 900, "k2": 100, "k3": 1}
    directory = Directory(budgets=(each, own, zero), keys=keys)
    found = list(budgets(directory, lambda *_: spent, 1e9))
    assert [(one.id, one.project) for one in found] == [
        ("budget/each/k2/80", "red"),
        ("budget/each/k2/spent", "red"),
        ("budget/own/k1/80", ""),
    ]


@pytest.mark.parametrize(
    ("id", "owner"),
    [
        ("slo/a/b/page", ""),
        ("budget/b/s/80", ""),
        ("store/gw", "gw"),
        ("replica/gw-1/m-1/page", "gw-1"),
        ("shed/x", "x"),
    ],
)
def test_who_alone_knows(id: str, owner: str) -> None:
    assert owner_of(id) == owner
