"""The loop: gateways that share a store, people who are told once, a store that goes away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence

import msgspec

from penstock.control.objectives.book import Promises
from penstock.control.objectives.loop import Alerting
from penstock.control.objectives.receivers import Undelivered
from penstock.control.objectives.telling import LEASE_S, Message
from penstock.core.accounts import Budget, Directory, Project
from penstock.core.errors import STORE_UNAVAILABLE, PenstockError
from penstock.core.series import Severity, Silence
from penstock.core.serving import Deployment, Replica, ReplicaState, Service
from penstock.observe import config
from penstock.store.forgetful_series import ForgetfulAlerts, ForgetfulSeries
from tests.control.objectives.rows import AVAILABLE, fed, row
from tests.control.timing import ManualTime


class Phone:
    """A receiver that notes what it is told."""

    name = "phone"
    severities: Sequence[Severity] = ("page", "ticket")

    def __init__(self) -> None:
        self.told: list[Message] = []
        self.refusals: list[Undelivered] = []

    async def send(self, message: Message) -> None:
        if self.refusals:
            raise self.refusals.pop(0)
        self.told.append(message)

    async def aclose(self) -> None:
        pass

    @property
    def said(self) -> list[tuple[str, list[str]]]:
        return [(each.status, [alert.id for alert in each.alerts]) for each in self.told]


class Away(ForgetfulAlerts):
    away = False

    def alerts(self, since):  # type: ignore[no-untyped-def]
        if self.away:
            raise PenstockError(STORE_UNAVAILABLE, "The store is away.")
        return super().alerts(since)


class World:
    """What gateways look at."""

    def __init__(self) -> None:
        self.time = ManualTime()
        self.series, self.alerts = ForgetfulSeries(), Away()
        self.objectives: Promises = {"assistant": [AVAILABLE]}
        self.known = Directory()
        self.replicas: tuple[Replica, ...] = ()
        self.alive: set[str] = {"gw"}
        self.money: Mapping[str, int] = {}

    def promises(self) -> Promises:
        return self.objectives

    def directory(self) -> Directory:
        return self.known

    def deployment(self) -> Deployment:
        return Deployment(
            version=1,
            models={},
            services={"assistant": Service("assistant", ("m",))},
            replicas={"m": self.replicas},
        )

    def standing(self) -> set[str]:
        return self.alive

    @property
    def now(self) -> float:
        return self.time.wall()

    def gateway(self, name: str = "gw", **settings: float) -> tuple[Alerting, Phone]:
        phone = Phone()
        made = Alerting(
            gateway=name,
            sources=self,
            series=self.series,
            means=lambda *_: None,
            spent=lambda *_: self.money,
            alerts=self.alerts,
            receivers=[phone],
            settings=config.Alerts(group_s=settings.get("group_s", 30.0), repeat_s=settings.get("repeat_s", 3600.0)),
            clock=self.time,
            sleep=self.time.sleep,
        )
        return made, phone

    def happen(self, good: int, bad: int) -> None:
        self.series.append_series([row(self.now, good, bad)], fed(self.now))


async def passing(world: World, seconds: float, *gateways: Alerting, good: int = 0, bad: int = 0) -> None:
    """Ticks each 15 s."""
    for _ in range(int(seconds / 15)):
        await world.time.advance(15)
        if good or bad:
            world.happen(good, bad)
        for each in gateways:
            await each.tick()
        await world.time.advance(0)


@contextlib.asynccontextmanager
async def sends(gateways: Sequence[Alerting]) -> AsyncIterator[None]:
    """With what sends running, and the ticks left to the test."""
    lines = [asyncio.create_task(each.delivery.run()) for each in gateways]
    try:
        yield
    finally:
        for line in lines:
            line.cancel()
        await asyncio.wait(lines)


async def test_one_gateway_of_many_tells_people_once_from_begin_to_end() -> None:
    world = World()
    world.alive = {"gw", "b", "c"}
    made = [world.gateway(name) for name in world.alive]
    gateways = [each for each, _ in made]
    async with sends(gateways):
        await passing(world, 60, *gateways, good=100)
        assert not any(phone.told for _, phone in made)
        await passing(world, 300, *gateways, bad=100)
        said = [each for _, phone in made for each in phone.said]
        assert said == [("firing", ["slo/assistant/availability/page"])]
        await passing(world, 1200, *gateways, bad=100)
        assert len([each for _, phone in made for each in phone.said]) == 1
        (ticket, page) = sorted(world.alerts.alerts(world.now), key=lambda a: a.severity, reverse=True)
        assert page.notified_at is not None
        assert ticket.notified_at is None
        await passing(world, 3600, *gateways, good=10_000)
        said = [each for _, phone in made for each in phone.said]
        assert said.count(("resolved", ["slo/assistant/availability/page"])) == 1


async def test_it_is_told_again_while_it_lasts() -> None:
    world = World()
    alerting, phone = world.gateway()
    async with sends([alerting]):
        await passing(world, 2 * 3600 + 900, alerting, bad=100)
        assert [each.repeat for each in phone.told] == [False, True, True]


async def test_a_silence_keeps_it_quiet_and_its_end_does_not() -> None:
    world = World()
    alerting, phone = world.gateway()
    world.alerts.put_silence(Silence(id="s", pattern="slo/assistant/*", created_at=world.now, until=world.now + 900))
    async with sends([alerting]):
        await passing(world, 840, alerting, bad=100)
        assert phone.told == []
        assert {each.silenced_by for each in world.alerts.alerts(world.now)} == {"s"}
        await passing(world, 180, alerting, bad=100)
        assert phone.said == [("firing", ["slo/assistant/availability/page"])]


async def test_who_dies_before_it_was_told_is_followed_by_another() -> None:
    world = World()
    world.alive = {"gw", "b"}
    first, lost = world.gateway("gw")
    second, phone = world.gateway("b")
    async with sends([second]):
        # The first claims, and never sends: nobody runs its lines, as if the process had ended.
        await passing(world, 120, first, bad=100)
        assert any(each.changed_at > each.since for each in world.alerts.alerts(world.now))
        await passing(world, 30, second, bad=100)
        assert phone.told == []
        await passing(world, LEASE_S + 15, second, bad=100)
        assert phone.said == [("firing", ["slo/assistant/availability/page"])]
        assert lost.told == []


async def test_a_delivery_that_takes_long_is_not_taken_over() -> None:
    world = World()
    world.alive = {"gw", "b"}
    first, slow = world.gateway("gw")
    second, phone = world.gateway("b")
    slow.refusals = [Undelivered("busy", after_s=200)]
    async with sends([first, second]):
        await passing(world, 330, first, second, bad=100)
        assert phone.told == []
        assert slow.said == [("firing", ["slo/assistant/availability/page"])]


async def test_a_receiver_that_refuses_is_an_alert_itself() -> None:
    world = World()
    alerting, phone = world.gateway(group_s=0)
    phone.refusals = [Undelivered("no such channel", retry=False)]
    async with sends([alerting]):
        await passing(world, 45, alerting, bad=100)
        ids = {each.id: each for each in world.alerts.alerts(world.now)}
        assert "no such channel" in ids["delivery/gw/phone"].text
        rows = {each.labels: each.values for each in alerting.measured().metrics["penstock_alert_messages"]}
        assert rows[("phone", "failed")] == (1.0,)
        await passing(world, 120, alerting, bad=100)
        # What was not delivered is tried again once the claim has lapsed; then the receiver does well.
        assert "slo/assistant/availability/page" in {id for _, ids in phone.said for id in ids}
        assert "delivery/gw/phone" not in {each.id for each in world.alerts.alerts(world.now) if not each.resolved_at}


async def test_a_store_that_is_away_is_told_of_without_it() -> None:
    world = World()
    alerting, phone = world.gateway()
    async with sends([alerting]):
        await passing(world, 60, alerting, good=10)
        world.alerts.away = True
        await passing(world, 120, alerting)
        assert phone.said == [("firing", ["store/gw"])]
        world.alerts.away = False
        await passing(world, 120, alerting, good=10)
        assert phone.said[1:] == [("resolved", ["store/gw"])]
        (kept,) = world.alerts.alerts(0.0)
        assert kept.resolved_at is not None


async def test_a_replica_that_is_given_up_is_a_page_where_it_was_the_last() -> None:
    world = World()
    alerting, phone = world.gateway(group_s=0)
    world.replicas = (
        Replica("m-1", "m", "u", state=ReplicaState.FAILED, reason="It ran out of memory."),
        Replica("m-2", "m", "u"),
    )
    async with sends([alerting]):
        await passing(world, 30, alerting)
        assert phone.said == [("firing", ["replica/gw/m-1/ticket"])]
        assert "It ran out of memory." in phone.told[0].alerts[0].text
        world.replicas = (world.replicas[0], msgspec.structs.replace(world.replicas[1], state=ReplicaState.DOWN))
        await passing(world, 30, alerting)
        assert ("firing", ["replica/gw/m-1/page"]) in phone.said
        world.replicas = (Replica("m-1", "m", "u"), Replica("m-2", "m", "u"))
        await passing(world, 90, alerting)
        assert not list(world.alerts.alerts(world.now + 1))


async def test_what_a_gateway_that_is_gone_has_left_is_closed() -> None:
    world = World()
    first, _ = world.gateway("gone")
    world.replicas = (Replica("m-1", "m", "u", state=ReplicaState.FAILED),)
    await passing(world, 60, first)
    assert world.alerts.alerts(world.now)
    world.replicas = ()
    second, _ = world.gateway("gw")
    await passing(world, 720, second)
    assert all(each.resolved_at for each in world.alerts.alerts(0.0))


async def test_a_gateway_that_starts_again_goes_on_with_what_it_left() -> None:
    world = World()
    world.replicas = (Replica("m-1", "m", "u", state=ReplicaState.FAILED),)
    first, told = world.gateway(group_s=0)
    async with sends([first]):
        await passing(world, 60, first)
    assert len(told.told) == 1
    again, phone = world.gateway(group_s=0)
    async with sends([again]):
        await passing(world, 120, again)
        assert phone.told == []
        world.replicas = ()
        await passing(world, 720, again)
        assert [status for status, _ in phone.said] == ["resolved"]


async def test_a_budget_that_is_nearly_spent() -> None:
    world = World()
    world.known = Directory(
        projects=(Project(id="red"),),
        budgets=(Budget(id="bud", kind="project", amount_nano=10**9, warn_percent=(80,)),),
    )
    alerting, phone = world.gateway(group_s=0)
    async with sends([alerting]):
        world.money = {"red": 790_000_000, "blue": 0}
        await passing(world, 75, alerting)
        assert phone.told == []
        world.money = {"red": 850_000_000}
        await passing(world, 75, alerting)
        assert phone.said == [("firing", ["budget/bud/red/80"])]
        assert phone.told[0].alerts[0].project == "red"
        assert phone.told[0].alerts[0].text == "$0.85 of $1.00 a month of project 'red' (85 %) is spent."
        world.money = {"red": 1_000_000_000}
        await passing(world, 75, alerting)
        assert ("firing", ["budget/bud/red/spent"]) in phone.said
        world.money = {}
        await passing(world, 180, alerting)
        assert {status for status, _ in phone.said[2:]} == {"resolved"}


async def test_records_that_were_lost() -> None:
    world = World()
    alerting, phone = world.gateway(group_s=0)
    async with sends([alerting]):
        world.series.append_series([], fed(world.now, shed=5))
        await passing(world, 60, alerting)
        assert phone.told == []
        world.series.append_series([], fed(world.now, shed=9))
        await passing(world, 60, alerting)
        assert phone.said == [("firing", ["shed/gw"])]
        await passing(world, 660, alerting)
        assert phone.said[1:] == [("resolved", ["shed/gw"])]


async def test_objectives_as_they_stand_and_of_a_project() -> None:
    world = World()
    alerting, _ = world.gateway()
    assert alerting.standing()[0].budget_left is None
    world.series.append_series([row(world.now - 60, 90, 10), row(world.now - 60, 100, project="q")], fed(world.now))
    await alerting.tick()
    assert alerting.standing()[0].whole == (200, 10)
    assert alerting.standing("q")[0].whole == (100, 0)
    assert alerting.measured().metrics["penstock_error_budget_left"][0].labels == ("assistant", "availability")
