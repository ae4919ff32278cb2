"""What is seen of one gateway: what its workers saw is told, its replicas are asked, its objectives are watched."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Protocol

from penstock import catalog
from penstock.assembly.loops import running
from penstock.assembly.metrics import ROWS
from penstock.assembly.serving import Serving
from penstock.assembly.shared import depths
from penstock.assembly.state import State
from penstock.control import metrics as control
from penstock.control import retention
from penstock.control.board import Board
from penstock.control.directories import Directories
from penstock.control.objectives.book import Promises
from penstock.control.objectives.loop import Alerting
from penstock.control.objectives.means import ScoreMeans
from penstock.control.objectives.receivers import Receiver
from penstock.control.observed.alerts import objectives_of
from penstock.control.observed.standing import Live, ServiceStanding
from penstock.control.observed.views import ObjectiveView, ReplicaView
from penstock.control.recording import Recorder
from penstock.control.replicas import Pages, Replicas
from penstock.core.accounts import Directory
from penstock.core.caching import DeskFigures
from penstock.core.clock import Clock
from penstock.core.errors import PenstockError
from penstock.core.requests import RequestContent, RequestRecord
from penstock.core.serving import Deployment, Replica
from penstock.edge.http import admin
from penstock.engines.telemetry import Telemetry
from penstock.engines.telemetry_http import MetricsPages
from penstock.fleet.census import Census
from penstock.fleet.gpu import Device
from penstock.gateway.directory import readiness
from penstock.gateway.metrics import QUEUE_DEPTH
from penstock.observe import metrics as observe
from penstock.observe.config import ObserveSettings
from penstock.observe.otlp import OtlpSender, Tracing, pushing
from penstock.observe.otlp_form import Sender
from penstock.observe.spool_reader import SpoolReader
from penstock.observe.totals import Report, Totals
from penstock.routing.assignment import shares
from penstock.routing.places import LocalPlaces
from penstock.store import AlertStore, RequestStore, SeriesStore

_log = logging.getLogger(__name__)

_MILLION = 1e6
_LIVE_WITHIN_S = 1.5
_TOLD_WITHIN_S = 5.0
_SENT_WITHIN_S = 2.0


class Workers(Protocol):
    """Whoever asks all workers."""

    async def live(self) -> admin.Live:
        """What is under way."""

    async def measured(self) -> Report:
        """What they have measured."""


class Desks(Protocol):
    """The semantic caches of this gateway."""

    def figures(self) -> Sequence[DeskFigures]:
        """How they stand. Called from any thread."""


class Around:
    """What is looked at, as it is when it is asked; each part is said once, as soon as it is there. Called from any
    thread."""

    def __init__(self, serving: Serving, places: LocalPlaces) -> None:
        self._serving = serving
        self.places = places
        self.board: Board | None = None
        self.directories: Directories | None = None
        self.workers: Workers | None = None
        self.desks: Desks | None = None

    def deployment(self) -> Deployment:
        """What is served."""
        return Deployment(0, {}, {}, {}) if self.board is None else self.board.deployment

    def directory(self) -> Directory:
        """What the store says."""
        return self._serving.now.directory

    def promises(self) -> Promises:
        """The objectives of each service."""
        return {name: each.objectives for name, each in self._serving.now.loaded.file.services.items()}

    def standing(self) -> Collection[str]:
        """The gateways that are alive."""
        return () if self.directories is None else tuple(self.directories.standing)

    async def live(self) -> admin.Live | None:
        """What is under way in all workers; None: there are none yet."""
        return None if self.workers is None else await self.workers.live()

    async def measured(self) -> Report:
        """What all workers, and the supervisor, have measured."""
        return Report() if self.workers is None else await self.workers.measured()


class Sight:
    """What is known of this gateway. Made before anything runs; what it tells then is that nobody knows. Without a
    log of requests ``requests``, ``series`` and ``alerts`` are None."""

    def __init__(self, state: State, settings: ObserveSettings, home: Path, clock: Clock, around: Around) -> None:
        self._state = state
        self._settings = settings
        self._spool = home / "spool"
        self._clock = clock
        self._around = around
        self._meter = Totals((*control.ROWS, *observe.ROWS, QUEUE_DEPTH))
        self._loop = asyncio.get_running_loop()
        self._recorder: Recorder | None = None
        self._replicas: Replicas | None = None
        self._alerting: Alerting | None = None

        on = settings.requests.enabled
        self.requests: RequestStore | None = state.requests if on else None
        self.series: SeriesStore | None = state.series if on else None
        self.alerts: AlertStore | None = state.alerts if on else None

    def kept(self) -> retention.Seen | None:
        """What is kept of what is seen, and for how long; None: nothing."""
        if self.requests is None or self.series is None or self.alerts is None:
            return None
        return retention.Seen(self.requests, self.series, self.alerts, self._settings.requests)

    # -- what is told, in a thread -----------------------------------------------------------------------------------

    def live(self) -> Live:
        """This gateway now."""
        deployment = self._around.deployment()
        states = readiness(deployment).services
        services = tuple(
            ServiceStanding(
                service=name,
                ready=state in ("ready", "fallback", "partly"),
                state=state,
                releases=_shares(deployment, name),
            )
            for name, state in states.items()
        )
        under_way = self._under_way()
        return Live(
            gateway=self._state.gateway,
            services=services,
            # Attempts and not tasks, of which whoever looks at this has some.
            in_flight=None if under_way is None else sum(each.attempts for each in under_way.replicas.values()),
            queued=None if under_way is None else under_way.queued,
            stale_since=None if self._recorder is None else self._recorder.stale_since(),
        )

    def replicas(self) -> Sequence[ReplicaView]:
        """Its replicas."""
        return () if self._replicas is None else self._replicas.views()

    def objectives(self, project: str | None) -> Sequence[ObjectiveView]:
        """How its services' objectives stand."""
        return () if self._alerting is None else objectives_of(self._alerting.standing(project))

    def desks(self) -> Sequence[DeskFigures]:
        """How its semantic caches stand."""
        return () if self._around.desks is None else self._around.desks.figures()

    def flush(self, within_s: float) -> None:
        """Returns when what was seen is in the store. Raises ``TimeoutError``."""
        if self._recorder is not None:
            told = asyncio.run_coroutine_threadsafe(self._recorder.flush(within_s), self._loop)
            told.result(within_s + 1.0)

    def measured(self) -> Report:
        """What is measured here, beside the workers."""
        self._meter.levels(QUEUE_DEPTH, depths(self._around.places))
        alerts = {} if self._alerting is None else self._alerting.measured().metrics
        return Report({**self._meter.report().metrics, **alerts})

    def _under_way(self) -> admin.Live | None:
        asked = asyncio.run_coroutine_threadsafe(self._around.live(), self._loop)
        try:
            return asked.result(_LIVE_WITHIN_S)
        except (TimeoutError, PenstockError):
            asked.cancel()
            return None

    # -- what goes on ------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def looking(self, census: Census, living: Callable[[], Collection[str]]) -> AsyncIterator[None]:
        """Looks for the time of the block; what has been seen then is in the store, as far as it answers. ``census``
        knows the copies that run here, ``living`` are the workers that have not ended."""
        async with contextlib.AsyncExitStack() as held:
            export = await self._exporting(held)
            if self.requests is not None:
                self._recorder = Recorder(
                    SpoolReader(self._spool), self._state.requests, self._state.series, export, self._clock,
                    self._state.gateway, living=living,
                )  # fmt: skip
                await held.enter_async_context(running(self._recorder.run()))
                held.push_async_callback(self._told, self._recorder)
                self._alerting = self._watching()
                await held.enter_async_context(running(self._alerting.run()))
            pages: Pages = _Unasked()
            if self._settings.engine_metrics:
                asked = pages = MetricsPages()
                held.push_async_callback(asked.aclose)
            self._replicas = Replicas(
                self._around.deployment, pages=pages, copies=census, devices=_devices(), standing=self._stood,
                meter=self._meter, clock=self._clock,
            )  # fmt: skip
            await held.enter_async_context(running(self._replicas.run()))
            yield

    def _watching(self) -> Alerting:
        settings, state, around = self._settings.alerts, self._state, self._around
        receivers: list[Receiver] = [
            *(catalog.load("receiver.webhook")(each, n) for n, each in enumerate(settings.webhooks, 1)),
            *(catalog.load("receiver.email")(each, n) for n, each in enumerate(settings.email, 1)),
        ]
        return Alerting(
            gateway=state.gateway, sources=around, series=state.series,
            means=ScoreMeans(state.scores, around.directory, self._clock.wall), spent=state.ledger.spent,
            alerts=state.alerts, receivers=receivers, settings=settings, clock=self._clock,
        )  # fmt: skip

    async def _exporting(
        self, held: contextlib.AsyncExitStack
    ) -> Callable[[Sequence[RequestRecord], Sequence[RequestContent]], None]:
        otlp = self._settings.otlp
        if otlp is None:
            return _nowhere
        attributes = {"service.name": "penstock", "service.instance.id": self._state.gateway}
        sender = OtlpSender(
            otlp, catalog.load("otlp.http")(), Sender(attributes, metadata.version("penstock")), rows=ROWS,
            meter=self._meter, provider=self._provider, clock=self._clock,
        )  # fmt: skip
        held.push_async_callback(sender.aclose)
        await held.enter_async_context(running(sender.run()))
        held.push_async_callback(sender.flush, _SENT_WITHIN_S)
        if otlp.metrics:
            pushed = pushing(sender, self._around.measured, otlp.metrics_every_s)
            await held.enter_async_context(running(pushed))
        return Tracing(sender, self._provider, content=self._settings.traces.content).export

    def _provider(self, model: str) -> str:
        found = self._around.deployment().models.get(model)
        return "" if found is None else found.engine

    async def _stood(self) -> Mapping[str, admin.ReplicaLive]:
        live = await self._around.live()
        return {} if live is None else live.replicas

    async def _told(self, recorder: Recorder) -> None:
        try:
            await recorder.flush(_TOLD_WITHIN_S)
        except TimeoutError:
            _log.warning(
                "the store did not take all that was seen of requests; the spool keeps it for the next start"
            )


class _Unasked:
    """Engines that nobody asks."""

    async def ask(self, _: Replica) -> Telemetry | None:
        return None


def _shares(deployment: Deployment, name: str) -> Mapping[str, float]:
    service = deployment.services[name]
    if service.assignment is None:
        return {service.release: 1.0} if service.release else {}
    return {release: share / _MILLION for release, share in shares(service.assignment.ranges).items()}


def _devices() -> Callable[[], Sequence[Device]]:
    """This machine's GPUs; none where what asks for them is not installed."""
    try:
        found: Callable[[], Sequence[Device]] = catalog.load("devices.nvml")().read
    except PenstockError:
        return tuple
    return found


def _nowhere(_: Sequence[RequestRecord], __: Sequence[RequestContent]) -> None:
    """Nothing is exported."""
