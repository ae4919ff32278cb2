"""What is known of replicas: newest first, stale is unknown, and nobody who hangs holds up the others."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec
import pytest

from penstock.control import metrics
from penstock.control.accounts.operation import Sources
from penstock.control.accounts.turn import Page, Turn
from penstock.control.observed.replicas import REPLICAS
from penstock.control.observed.views import ReplicaView
from penstock.control.replicas import Pace, Replicas, busy_share
from penstock.core.administration import Actor, Ask
from penstock.core.errors import UPSTREAM_UNREACHABLE, PenstockError
from penstock.core.metrics import Gauge
from penstock.core.serving import Deployment, Model, Replica, ReplicaState
from penstock.engines.telemetry import Telemetry
from penstock.fleet.census import Taken
from penstock.fleet.gpu import Device
from penstock.observe.totals import Totals

ONE = Replica("m-0", "m", "http://127.0.0.1:1/v1", slots=4)
TWO = Replica("m-1", "m", "http://127.0.0.1:2/v1", slots=4)
FAR = Replica("far-0", "far", "https://api.openai.com/v1")
BUSY = Telemetry(engine="llama.cpp", running=3, waiting=1, kv_use=0.5)


class Now:
    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> float:
        return self.at

    def wall(self) -> float:
        return self.at + 1e9


class Stands(msgspec.Struct, frozen=True):
    breaker: str = "closed"
    attempts: int = 0


class Street:
    """Everything around the loop. ``says`` is what each replica answers; an event is waited for first."""

    def __init__(self, *replicas: Replica, **pace: float) -> None:
        self.clock = Now()
        by_model: dict[str, tuple[Replica, ...]] = {}
        for each in replicas:
            by_model[each.model] = (*by_model.get(each.model, ()), each)
        models = {name: Model(name, "openai", "d", b"") for name in by_model}
        self.deployment = Deployment(1, models, {}, by_model)
        self.says: dict[str, Telemetry | PenstockError | asyncio.Event | None] = {}
        self.asked: list[str] = []
        self.copies: dict[str, Taken] = {}
        self.kept: frozenset[str] = frozenset()
        self.devices: Sequence[Device] = ()
        self.stands: Mapping[str, Stands] = {}
        self.totals = Totals(metrics.REPLICA_ROWS)
        self.replicas = Replicas(
            lambda: self.deployment,
            pages=self,
            copies=self,
            devices=lambda: self.devices,
            standing=self.standing,
            meter=self.totals,
            clock=self.clock,
            pace=Pace(**pace),
        )

    async def ask(self, replica: Replica) -> Telemetry | None:
        self.asked.append(replica.id)
        said = self.says.get(replica.id)
        if isinstance(said, asyncio.Event):
            await said.wait()
            return BUSY
        if isinstance(said, PenstockError):
            raise said
        return said

    def taken(self, replica_id: str) -> Taken:
        return self.copies.get(replica_id, Taken())

    def forget(self, wanted: frozenset[str]) -> None:
        self.kept = wanted

    async def standing(self) -> Mapping[str, Stands]:
        return self.stands

    def view(self, id: str) -> ReplicaView:
        return next(each for each in self.replicas.views() if each.id == id)

    def level(self, gauge: Gauge, *labels: str) -> float | None:
        found = self.totals.report().metrics[gauge.name]
        return next((each.values[0] for each in found if each.labels == labels), None)


async def test_what_is_known_is_told_to_people_and_to_metrics() -> None:
    street = Street(ONE, TWO)
    street.says = {"m-0": BUSY, "m-1": msgspec.structs.replace(BUSY, running=1)}
    street.copies = {"m-0": Taken(memory=5000, cpu=0.25, pid=11), "m-1": Taken(memory=6000, pid=12)}
    gpu = Device(name="a", memory=70, memory_total=100, utilisation=0.9, processes={12: 60})
    street.devices = (Device(name="b", memory=1, memory_total=100), gpu)
    street.stands = {"m-0": Stands("open", 2)}
    await street.replicas.once()
    assert street.view("m-0") == ReplicaView(
        id="m-0",
        model="m",
        engine="llama.cpp",
        state="ready",
        breaker="open",
        running=3,
        waiting=1,
        kv_use=0.5,
        memory=5000,
        device_memory=None,
        device_memory_total=None,
        utilisation=0.25,
        accepted=None,
        attempts=2,
        seen_at=street.clock.wall(),
        note="",
    )
    other = street.view("m-1")
    assert (other.device_memory, other.device_memory_total, other.utilisation) == (60, 100, 0.9)
    assert street.level(metrics.REPLICA_RUNNING, "m", "m-0") == 3
    assert street.level(metrics.BREAKER_OPEN, "m", "m-0") == 1
    assert street.level(metrics.BREAKER_OPEN, "m", "m-1") is None
    assert street.level(metrics.DEVICE_MEMORY, "m", "m-1") == 60
    assert street.level(metrics.REPLICA_ACCEPTED, "m", "m-0") is None
    assert street.level(metrics.MODEL_UTILISATION, "m") == 0.5
    assert street.kept == {"m-0", "m-1"}


async def test_what_is_old_is_unknown_and_the_time_of_it_is_kept() -> None:
    street = Street(ONE)
    street.says["m-0"] = BUSY
    await street.replicas.once()
    seen_at = street.view("m-0").seen_at
    street.says["m-0"] = PenstockError(UPSTREAM_UNREACHABLE, "refused")
    street.clock.at += 15
    await street.replicas.once()
    assert street.view("m-0").running == 3
    street.clock.at += 15
    await street.replicas.once()
    late = street.view("m-0")
    assert (late.running, late.waiting, late.kv_use, late.seen_at) == (None, None, None, seen_at)
    assert "refused" in late.note
    assert street.level(metrics.REPLICA_RUNNING, "m", "m-0") is None
    assert street.level(metrics.MODEL_UTILISATION, "m") is None
    assert street.level(metrics.REPLICA_READY, "m", "m-0") == 1


async def test_one_that_hangs_holds_up_nobody() -> None:
    street = Street(ONE, TWO, within_s=0.05)
    street.says = {"m-0": asyncio.Event(), "m-1": BUSY}
    async with asyncio.timeout(5):
        await street.replicas.once()
    assert street.view("m-1").running == 3
    assert "no answer in 0.05 s" in street.view("m-0").note


async def test_who_has_no_page_is_left_alone_for_a_while() -> None:
    street = Street(ONE)
    for _ in range(3):
        await street.replicas.once()
        street.clock.at += 5
    assert street.asked == ["m-0"]
    assert "no metrics page" in street.view("m-0").note
    assert street.view("m-0").seen_at is None
    street.clock.at += 600
    street.says["m-0"] = BUSY
    await street.replicas.once()
    assert street.view("m-0").running == 3


async def test_hosts_elsewhere_and_those_that_are_not_up_are_not_asked() -> None:
    down = msgspec.structs.replace(TWO, state=ReplicaState.DOWN, base_url="", reason="it crashed")
    street = Street(FAR, down)
    await street.replicas.once()
    assert street.asked == []
    assert "not in this network" in street.view("far-0").note
    assert (street.view("m-1").note, street.view("m-1").engine) == ("it crashed", "openai")
    assert street.level(metrics.REPLICA_READY, "m", "m-1") == 0


async def test_what_left_the_deployment_leaves_the_metrics() -> None:
    street = Street(ONE, TWO)
    street.says = {"m-0": BUSY, "m-1": BUSY}
    await street.replicas.once()
    street.deployment = msgspec.structs.replace(street.deployment, replicas={"m": (TWO,)})
    await street.replicas.once()
    assert [each.id for each in street.replicas.views()] == ["m-1"]
    assert street.level(metrics.REPLICA_RUNNING, "m", "m-0") is None


async def test_the_accepted_share_is_that_of_lately() -> None:
    street = Street(ONE)
    said = Telemetry(engine="llama.cpp", drafted_tokens=100.0, accepted_tokens=60.0)
    for drafted, accepted, share in (
        (100.0, 60.0, 0.6),
        (200.0, 140.0, 0.8),
        (200.0, 140.0, 0.8),
        # It was started again.
        (10.0, 1.0, 0.1),
    ):
        street.says["m-0"] = msgspec.structs.replace(said, drafted_tokens=drafted, accepted_tokens=accepted)
        await street.replicas.once()
        assert street.view("m-0").accepted == pytest.approx(share)
    street.says["m-0"] = Telemetry(engine="SGLang", accepted=0.7)
    await street.replicas.once()
    assert street.level(metrics.REPLICA_ACCEPTED, "m", "m-0") == 0.7


async def test_a_missing_fact_is_a_note() -> None:
    street = Street(ONE)
    street.says["m-0"] = msgspec.structs.replace(BUSY, kv_use=None, notes=("vLLM does not tell",))
    await street.replicas.once()
    assert street.view("m-0").note == "vLLM does not tell"


@pytest.mark.parametrize(
    ("replicas", "share"),
    [
        ([(2, 4), (4, 4)], 0.75),
        ([(9, 4)], 1.0),
        ([(2, 4), (None, 4)], None),
        ([(2, None)], None),
        ([(0, 0)], None),
        ([], None),
    ],
)
def test_a_model_is_as_busy_as_its_replicas_when_all_are_known(
    replicas: list[tuple[int | None, int | None]], share: float | None
) -> None:
    assert busy_share(replicas) == share


async def test_it_goes_on_until_it_is_cancelled() -> None:
    street = Street(ONE, every_s=0.0)
    street.says["m-0"] = BUSY
    task = asyncio.create_task(street.replicas.run())
    async with asyncio.timeout(5):
        while len(street.asked) < 3:
            await asyncio.to_thread(lambda: None)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_they_are_listed_by_id_or_of_one_model() -> None:
    street = Street(TWO, FAR, ONE)
    nothing = cast(Any, None)
    sources = Sources(nothing, nothing, nothing, replicas=street.replicas.views)
    turn = Turn(actor=Actor(key_id="k", project=""), now=0.0, new_id=nothing, mint=nothing)
    ask = Ask(actor=turn.actor, operation="replicas.list")
    assert REPLICAS.reads is not None
    everything = cast(Page, REPLICAS.reads(sources, turn, None, ask))
    assert [each.id for each in cast(Sequence[ReplicaView], everything.data)] == ["far-0", "m-0", "m-1"]
    one = msgspec.structs.replace(turn, query={"model": "m", "limit": "1"})
    some = cast(Page, REPLICAS.reads(sources, one, None, ask))
    assert ([each.id for each in cast(Sequence[ReplicaView], some.data)], some.has_more) == (["m-0"], True)
