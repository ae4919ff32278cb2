"""The worker: a process that answers requests. ``python -m penstock.assembly.worker LINK_FD SOCKET_FD INDEX``.

It holds no truth: what to serve comes over the link, and it ends with the supervisor that holds the other end.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import random
import signal
import socket
import sys
from pathlib import Path

import uvloop

from penstock.assembly import engines
from penstock.assembly.asking import Answerer, Asker
from penstock.assembly.caching import Caches
from penstock.assembly.control import SupervisorControl
from penstock.assembly.entrance import Access, shut
from penstock.assembly.gathering import Stand
from penstock.assembly.link import (
    Ask,
    Begin,
    Cancel,
    Denied,
    Doors,
    Entrance,
    Holding,
    Last,
    Link,
    Listening,
    Measured,
    Oldest,
    Refused,
    Standing,
    Stop,
    Told,
    ToldOfSupervisor,
    ToldOfWorker,
    ToSupervisor,
    ToWorker,
    Update,
    worker_end,
)
from penstock.assembly.link_desks import Gave
from penstock.assembly.metrics import ROWS
from penstock.assembly.recalling import Recalling
from penstock.assembly.shared import RemotePlaces, depths
from penstock.assembly.snapshots import Snapshots
from penstock.assembly.worker_logs import access_log, log_as_json
from penstock.caches.metrics import WAITING
from penstock.core.chat import Call
from penstock.core.clock import SystemClock
from penstock.core.errors import PenstockError
from penstock.core.serving import ReplicaState, Service
from penstock.edge.console.assets import shipped
from penstock.edge.http import tls
from penstock.edge.http.admin import Admin, ReplicaLive
from penstock.edge.http.app import App
from penstock.edge.http.config import Drain, ServerSettings
from penstock.edge.http.console import ConsoleSide
from penstock.edge.http.console_live import Streams
from penstock.edge.http.console_sessions import Sessions
from penstock.edge.http.console_sign_in import Refuse, SignIn
from penstock.edge.http.server import serve
from penstock.gateway.chat import Gateway
from penstock.gateway.metrics import QUEUE_DEPTH
from penstock.gateway.place import Places
from penstock.gateway.prepare import Preparing
from penstock.gateway.recording import Recording
from penstock.gateway.settle import Settling
from penstock.gateway.trial import Trials
from penstock.observe.lines import LineWriter
from penstock.observe.spool import Spool
from penstock.observe.totals import Totals
from penstock.routing.places import LocalPlaces
from penstock.routing.traffic import Traffic

# prctl(2): the signal that the kernel sends this process when its parent ends.
_PR_SET_PDEATHSIG = 1

# Objects made, less those that have gone again, before the garbage collector looks at them.
_YOUNG = 20_000

_log = logging.getLogger(__name__)


class Worker:
    """One worker's wiring. Lives in one event loop."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._clock = SystemClock()
        self._link: Link[ToWorker, ToSupervisor] = worker_end(self._hear)
        self._asker: Asker[ToldOfSupervisor] = Asker(self._link.send)
        self._answerer: Answerer[ToldOfWorker] = Answerer(self._answer, self._link.send)
        self._control = SupervisorControl(self._asker)
        self._meter = Totals(ROWS)
        self._snapshots = Snapshots(engines.build, oldest=lambda version: self._link.send(Oldest(version)))
        self._traffic = Traffic(self._clock, random.Random())
        self._places = LocalPlaces(self._clock)
        self._begin: Begin | None = None
        self._access: Access | None = None
        self._shut: PenstockError | None = None
        self._newest: Update | None = None
        self._told = asyncio.Event()
        self._app: App | None = None
        self._streams = Streams()
        self._trials: Trials | None = None
        self._spool: Spool | None = None
        self._caches: Caches | None = None
        self._recalling: Recalling | None = None
        self._announce: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def run(self, link: socket.socket) -> None:
        """Serves until told to stop. Once the supervisor is gone there is no grace for anybody."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._end, True)
        await self._link.open(link)
        try:
            if (first := await self._first()) is not None:
                await self._run(first.server)
        finally:
            self._asker.broken()
            await self._answerer.aclose()
            if self._recalling is not None:
                await self._recalling.aclose()
            if self._trials is not None:
                await self._trials.aclose()
            if self._spool is not None:
                await asyncio.to_thread(self._spool.close)
            await self._snapshots.aclose()
            if self._caches is not None:
                await self._caches.aclose()
            if self._access is not None:
                await self._access.aclose()
            self._link.send(Last(self._meter.report()))
            await self._link.aclose()

    async def _first(self) -> Update | None:
        """What to serve at first; None when nothing will come."""
        ready = asyncio.create_task(self._ready())
        try:
            await asyncio.wait((ready, self._link.ended, self._announce), return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        return self._newest

    async def _ready(self) -> None:
        await self._told.wait()
        if self._access is not None:
            await self._access.ready()

    async def _run(self, settings: ServerSettings) -> None:
        lines = None
        try:
            if self._newest is not None:
                self._take()
            tls.check(settings.tls)
            lines = access_log(settings)
            assert self._begin is not None
            self._caches = Caches(self._begin.cache, clock=self._clock, meter=self._meter)
        except PenstockError as error:
            self._link.send(Refused(error.message))
            return
        self._app = self._wired(settings, lines, self._caches)
        serving = asyncio.create_task(self._serve(self._app, settings))
        self._link.send(Listening())
        try:
            await asyncio.wait((self._link.ended, serving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            serving.cancel()
            await asyncio.wait((serving,))
            if lines is not None:
                lines.close()
        if not serving.cancelled():
            serving.result()

    async def _serve(self, app: App, settings: ServerSettings) -> None:
        stop: asyncio.Future[Drain] = asyncio.get_running_loop().create_future()
        serving = asyncio.ensure_future(serve(app, self._sock, stop=stop, settings=settings))
        try:
            await asyncio.wait((self._announce, serving), return_when=asyncio.FIRST_COMPLETED)
            if self._announce.done():
                drain = settings.drain
                stop.set_result(drain if self._announce.result() else Drain(announce_s=0, limit_s=drain.limit_s))
            await serving
        finally:
            serving.cancel()
            await asyncio.wait((serving,))

    def _wired(self, settings: ServerSettings, lines: LineWriter | None, caches: Caches) -> App:
        places: Places = self._places
        if settings.workers > 1:
            places = RemotePlaces(self._asker, self._link.send, self._places)
        assert self._access is not None
        workers, journal = settings.workers, self._access.journal
        prepare = Preparing(lambda call, admission: gateway.chat(call, admission))
        self._recalling = Recalling(
            caches, self._asker, self._link, prepare=prepare, gateway=lambda: gateway,
            snapshots=self._snapshots.current, clock=self._clock, meter=self._meter, workers=workers,
        )  # fmt: skip
        self._trials = Trials(journal, self._clock, self._meter, self._recalling.embed, workers=workers)
        caches.invalidate(self._access.invalidations)
        gateway = Gateway(
            snapshots=self._snapshots.current,
            traffic=self._traffic,
            places=places,
            reserving=self._access.reserving,
            settle=Settling(self._clock, self._meter),
            doors=lambda: self._shut,
            learn=self._control.learn,
            clock=self._clock,
            prepare=prepare,
            recall=self._recalling.recall,
            trials=self._trials,
            recording=self._recording(),
        )
        return App(
            gateway,
            max_body_bytes=settings.max_body_bytes,
            meter=self._meter,
            render=self._control.metrics,
            log_line=None if lines is None else lines.write,
            admin=Admin(self._control, gateway.admitted, self._access.note),
            console=self._console(self._access, settings),
            disown=self._recalling.disown,
        )

    def _console(self, access: Access, settings: ServerSettings) -> ConsoleSide | None:
        assert self._begin is not None
        begin, control = self._begin, self._control
        if not begin.observe.console:
            return None
        sessions = Sessions(
            lambda: access.now.keyring,
            self._snapshots.current,
            lambda: access.now.people,
            secure=settings.tls is not None,
        )

        def sign_in(refuse: Refuse) -> SignIn:
            return SignIn(
                sessions,
                begin.access.oidc,
                control,
                learn=control.learn,
                note=access.note,
                refuse=refuse,
                base_url=begin.observe.alerts.console_url,
            )

        return ConsoleSide(control, sessions, sign_in, shipped(), self._streams)

    def _recording(self) -> Recording | None:
        assert self._begin is not None
        begin, requests = self._begin, self._begin.observe.requests
        if not requests.enabled:
            return None
        self._spool = Spool(Path(begin.spool), begin.owner, limit_bytes=requests.spool_bytes)
        return Recording(
            self._spool.put, self._clock, gateway=begin.gateway, worker=begin.index, settings=begin.observe
        )

    def _end(self, announce: bool) -> None:
        if not self._announce.done():
            self._announce.set_result(announce)

    def _take(self) -> None:
        """What was said last of the deployment, and of who may call, is the snapshot of this moment."""
        assert self._newest is not None
        assert self._access is not None
        assert self._access.view is not None
        deployment = self._newest.deployment
        view = self._access.view
        self._snapshots.take(deployment, view.keyring, view.rules, view.prices)
        self._traffic.keep(deployment)

    # -- what the supervisor says --------------------------------------------------------------------------------

    def _hear(self, message: ToWorker) -> None:
        match message:
            case Begin():
                self._begin = message
                self._access = Access(message, self._clock, self._asker, self._link.send, self._count)
            case Entrance():
                assert self._access is not None
                self._access.take(message)
                if self._caches is not None:
                    self._caches.invalidate(message.directory.invalidations)
                self._changed()
            case Doors(code, text):
                self._shut = None if code is None else shut(code, text)
            case Update():
                self._newest = message
                self._changed()
            case Stop(announce):
                self._end(announce)
            case Ask():
                self._answerer.hear(message)
            case Cancel(number):
                self._answerer.cancel(number)
            case Told() | Denied():
                self._asker.hear(message)

    def _changed(self) -> None:
        if self._newest is None or self._access is None or self._access.view is None:
            return
        if self._app is None:
            self._told.set()
            return
        try:
            self._take()
        except PenstockError as error:
            _log.error("a new deployment was not taken: %s", error.message)

    async def _count(self, call: Call, service: Service) -> int | None:
        """Tokens of the prompt, where the engine of the service's first model can count."""
        snapshot = self._snapshots.current()
        model = service.models[0]
        count = getattr(snapshot.engines[model], "count", None)
        ready = [each for each in snapshot.deployment.replicas[model] if each.state is ReplicaState.READY]
        if count is None or not ready:
            return None
        counted: int | None = await count(call, ready[0])
        return counted

    async def _answer(self, _: int, question: ToldOfWorker) -> object:
        match question:
            case Measured():
                self._meter.levels(QUEUE_DEPTH, depths(self._places))
                if self._caches is not None:
                    self._meter.levels(WAITING, self._caches.measured())
                return self._meter.report()
            case Standing():
                return self._stand()
            case Holding():
                return () if self._access is None else tuple(self._access.reserving.held())
            case Gave(request_id, project):
                return None if self._recalling is None else self._recalling.recall.gave(request_id, project)

    def _stand(self) -> Stand:
        """What is under way, but for those who ask just this."""
        listening = None if self._app is None else self._app.listening
        watching = self._control.watching + self._streams.waiting
        used, idle = self._snapshots.sockets()
        return Stand(
            tasks=0 if listening is None else listening.exchanges - watching,
            sockets=used + (0 if listening is None else listening.connections - watching),
            idle_sockets=idle,
            places=sum(self._places.held().values()),
            queued=sum(self._places.waiting().values()),
            replicas=self._replicas(),
        )

    def _replicas(self) -> dict[str, ReplicaLive]:
        known = {state.replica: state for state in self._traffic.states()}
        found: dict[str, ReplicaLive] = {}
        for replicas in self._snapshots.current().deployment.replicas.values():
            for replica in replicas:
                state = known.get(replica.id)
                found[replica.id] = (
                    ReplicaLive(replica.state.value)
                    if state is None
                    else ReplicaLive(replica.state.value, state.breaker, state.requests, state.work)
                )
        return found


async def _run(link_fd: int, sock_fd: int) -> None:
    await Worker(socket.socket(fileno=sock_fd)).run(socket.socket(fileno=link_fd))


def main(arguments: list[str]) -> None:
    """The process."""
    link_fd, sock_fd, _ = map(int, arguments)
    _die_with_parent()
    # The supervisor decides when to stop; Ctrl-C in its terminal is not for us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    log_as_json()
    # What is here now stays: a collection that walks through it would stop every request for milliseconds.
    gc.collect()
    gc.freeze()
    # Next to nothing on the live path is a cycle: looking for one after every 700 objects finds none.
    gc.set_threshold(_YOUNG)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(link_fd, sock_fd))


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1:])
