"""What the replicas of this gateway are at: each is asked every few seconds, and what nobody says stays unknown."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from penstock.control import metrics
from penstock.control.observed.views import ReplicaView
from penstock.core.clock import Clock
from penstock.core.errors import PenstockError
from penstock.core.metrics import Gauge
from penstock.core.serving import Deployment, Replica, ReplicaState
from penstock.engines.telemetry import Telemetry
from penstock.engines.telemetry_http import nearby
from penstock.fleet.census import Taken
from penstock.fleet.gpu import Device

_log = logging.getLogger(__name__)

_AT_ONCE = 16
_NO_PAGE = "its address has no metrics page that is known here"
_ELSEWHERE = "its engine is not asked: the address is not in this network"

Levels = dict[Gauge, dict[tuple[str, ...], float]]


class Pages(Protocol):
    """Who asks an engine."""

    async def ask(self, replica: Replica) -> Telemetry | None:
        """None: it has no page that can be read. Raises ``PenstockError`` when it does not answer."""


class Copies(Protocol):
    """Who knows what copies take of this machine."""

    def taken(self, replica_id: str) -> Taken: ...

    def forget(self, wanted: frozenset[str]) -> None: ...


class Meter(Protocol):
    """Where levels go."""

    def levels(self, gauge: Gauge, levels: Mapping[tuple[str, ...], float]) -> None:
        """All that the gauge tells from now on."""


class Standing(Protocol):
    """How a replica stands with the workers of this gateway."""

    @property
    def breaker(self) -> str: ...

    @property
    def attempts(self) -> int: ...


class Pace(msgspec.Struct, frozen=True):
    """In seconds. What is older than ``stale_s`` is unknown; who has no page is asked again after ``quiet_s``."""

    every_s: float = 5.0
    within_s: float = 2.0
    stale_s: float = 20.0
    quiet_s: float = 600.0


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """The newest that is known of a replica. ``said_at`` is when its engine last answered (``Clock.wall``), ``said``
    what, ``now`` the same on ``Clock.now``. ``accepted`` is the share of drafted tokens lately."""

    said: Telemetry = Telemetry()
    said_at: float | None = None
    now: float = 0.0
    accepted: float | None = None
    taken: Taken = Taken()
    device: Device | None = None
    device_memory: int | None = None
    note: str = ""


class Replicas:
    """``deployment`` is looked up each time, ``standing`` asks the workers; ``devices`` tells the GPUs of this
    machine, and is called in a thread. Belongs to one event loop, but for ``views``."""

    def __init__(
        self,
        deployment: Callable[[], Deployment],
        *,
        pages: Pages,
        copies: Copies,
        devices: Callable[[], Sequence[Device]],
        standing: Callable[[], Awaitable[Mapping[str, Standing]]],
        meter: Meter,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        pace: Pace = Pace(),  # noqa: B008 - frozen
    ) -> None:
        self._deployment = deployment
        self._pages = pages
        self._copies = copies
        self._devices = devices
        self._standing = standing
        self._meter = meter
        self._clock = clock
        self._sleep = sleep
        self._pace = pace
        self._seen: dict[str, Seen] = {}
        self._stands: Mapping[str, Standing] = {}
        self._quiet: dict[str, float] = {}
        self._said: set[tuple[str, str]] = set()

    async def run(self) -> None:
        """Asks until cancelled."""
        while True:
            await self.once()
            await self._sleep(self._pace.every_s)

    async def once(self) -> None:
        """Asks each replica that may be asked, and tells the meter."""
        deployment = self._deployment()
        replicas = [each for ours in deployment.replicas.values() for each in ours]
        ids = frozenset(each.id for each in replicas)
        self._copies.forget(ids)
        self._seen = {id: seen for id, seen in self._seen.items() if id in ids}
        self._quiet = {key: until for key, until in self._quiet.items() if key in {_key(r) for r in replicas}}
        few = asyncio.Semaphore(_AT_ONCE)
        devices, self._stands, _ = await asyncio.gather(
            asyncio.to_thread(self._devices),
            self._stood(),
            asyncio.gather(*(self._ask(each, few) for each in replicas)),
        )
        for each in replicas:
            self._measure(each.id, devices)
        for gauge, levels in self._levels(deployment, replicas).items():
            self._meter.levels(gauge, levels)

    def views(self) -> tuple[ReplicaView, ...]:
        """Every replica of the deployment, as it is known now. May be called from any thread."""
        deployment, stands, seen = self._deployment(), self._stands, self._seen
        return tuple(
            self._view(replica, deployment, stands.get(replica.id), seen.get(replica.id, Seen()))
            for replicas in deployment.replicas.values()
            for replica in replicas
        )

    # -- asking ----------------------------------------------------------------------------------------------------

    async def _ask(self, replica: Replica, few: asyncio.Semaphore) -> None:
        before = self._seen.get(replica.id, Seen())
        if replica.state not in (ReplicaState.READY, ReplicaState.DRAINING) or not replica.base_url:
            self._seen[replica.id] = msgspec.structs.replace(before, note="")
            return
        if not nearby(replica.base_url):
            self._seen[replica.id] = Seen(note=_ELSEWHERE)
            return
        if self._clock.now() < self._quiet.get(_key(replica), 0.0):
            return
        try:
            async with few, asyncio.timeout(self._pace.within_s):
                said = await self._pages.ask(replica)
        except TimeoutError:
            note = f"its engine does not say how it is: no answer in {self._pace.within_s:g} s"
            self._seen[replica.id] = msgspec.structs.replace(before, note=note)
        except PenstockError as error:
            note = "its engine does not say how it is: " + " ".join(error.message.split())
            self._seen[replica.id] = msgspec.structs.replace(before, note=note)
        else:
            if said is None:
                self._quiet[_key(replica)] = self._clock.now() + self._pace.quiet_s
            self._hear(replica, before, said)

    def _hear(self, replica: Replica, before: Seen, said: Telemetry | None) -> None:
        notes = (_NO_PAGE,) if said is None else said.notes
        for note in notes:
            if (replica.model, note) not in self._said:
                self._said.add((replica.model, note))
                _log.info("replica %s of %s: %s", replica.id, replica.model, note)
        if said is None:
            self._seen[replica.id] = Seen(note=_NO_PAGE)
            return
        self._seen[replica.id] = msgspec.structs.replace(
            before,
            said=said,
            said_at=self._clock.wall(),
            now=self._clock.now(),
            accepted=_accepted(before, said),
            note="; ".join(notes),
        )

    async def _stood(self) -> Mapping[str, Standing]:
        try:
            async with asyncio.timeout(self._pace.within_s * 2):
                return await self._standing()
        except (TimeoutError, PenstockError):
            return {}

    def _measure(self, replica_id: str, devices: Sequence[Device]) -> None:
        taken = self._copies.taken(replica_id)
        seen = self._seen.get(replica_id, Seen())
        device = next((each for each in devices if taken.pid is not None and taken.pid in each.processes), None)
        held = [each.processes.get(taken.pid) for each in devices if taken.pid in each.processes] if taken.pid else []
        known = [each for each in held if each is not None]
        self._seen[replica_id] = msgspec.structs.replace(
            seen, taken=taken, device=device, device_memory=sum(known) if known else None
        )

    # -- telling ---------------------------------------------------------------------------------------------------

    def _fresh(self, seen: Seen) -> Telemetry:
        """What its engine said lately; nothing once that is long ago."""
        late = seen.said_at is None or self._clock.now() - seen.now > self._pace.stale_s
        return Telemetry() if late else seen.said

    def _view(self, replica: Replica, deployment: Deployment, stands: Standing | None, seen: Seen) -> ReplicaView:
        said = self._fresh(seen)
        model = deployment.models.get(replica.model)
        device = seen.device
        return ReplicaView(
            id=replica.id,
            model=replica.model,
            engine=said.engine or (model.engine if model is not None else ""),
            state=replica.state.value,
            breaker=stands.breaker if stands is not None else "",
            running=said.running,
            waiting=said.waiting,
            kv_use=said.kv_use,
            memory=seen.taken.memory,
            device_memory=seen.device_memory,
            device_memory_total=None if device is None else device.memory_total,
            utilisation=seen.taken.cpu if device is None else device.utilisation,
            accepted=seen.accepted if said.engine else None,
            attempts=stands.attempts if stands is not None else 0,
            seen_at=seen.said_at,
            note=replica.reason or seen.note,
        )

    def _levels(self, deployment: Deployment, replicas: Iterable[Replica]) -> Levels:
        found: Levels = {gauge: {} for gauge in metrics.REPLICA_ROWS}
        busy: dict[str, list[tuple[int | None, int | None]]] = {}
        for replica in replicas:
            labels = (replica.model, replica.id)
            seen, stands = self._seen.get(replica.id, Seen()), self._stands.get(replica.id)
            said, device = self._fresh(seen), seen.device
            told: dict[Gauge, float | None] = {
                metrics.REPLICA_READY: float(replica.state is ReplicaState.READY),
                metrics.REPLICA_RUNNING: said.running,
                metrics.REPLICA_WAITING: said.waiting,
                metrics.REPLICA_KV_USE: said.kv_use,
                metrics.REPLICA_ACCEPTED: seen.accepted if said.engine else None,
                metrics.REPLICA_MEMORY: seen.taken.memory,
                metrics.REPLICA_CPU: seen.taken.cpu,
                metrics.DEVICE_MEMORY: seen.device_memory,
                metrics.DEVICE_MEMORY_TOTAL: None if device is None else device.memory_total,
                metrics.DEVICE_UTILISATION: None if device is None else device.utilisation,
                metrics.REPLICA_ATTEMPTS: None if stands is None else stands.attempts,
                metrics.BREAKER_OPEN: None if stands is None else float(stands.breaker != "closed"),
            }
            for gauge, value in told.items():
                if value is not None:
                    found[gauge][labels] = float(value)
            if replica.state is ReplicaState.READY:
                busy.setdefault(replica.model, []).append((said.running, replica.slots))
        for model, ours in busy.items():
            if (share := busy_share(ours)) is not None:
                found[metrics.MODEL_UTILISATION][(model,)] = share
        return found


def busy_share(replicas: Iterable[tuple[int | None, int | None]]) -> float | None:
    """How much of a model's replicas is in use: requests that run of those that could at once, by replica; None
    unless all of them are known."""
    running = slots = 0
    for its, most in replicas:
        if its is None or not most:
            return None
        running += min(its, most)
        slots += most
    return running / slots if slots else None


def _accepted(before: Seen, said: Telemetry) -> float | None:
    """What the engine says itself, else the share since it was asked last; the one before where nothing was drafted
    since, as an engine that rests has not become worse."""
    drafted, accepted = said.drafted_tokens, said.accepted_tokens
    if said.accepted is not None or drafted is None or accepted is None:
        return said.accepted
    was, had = before.said.drafted_tokens, before.said.accepted_tokens
    if was is None or had is None or drafted < was:
        was = had = 0.0
    return (accepted - had) / (drafted - was) if drafted > was else before.accepted


def _key(replica: Replica) -> str:
    return f"{replica.id} {replica.base_url}"
