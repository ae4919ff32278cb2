"""The worker: the process that answers requests. ``python -m penstock.assembly.worker LINK_FD SOCKET_FD``.

It holds no truth: what to serve comes over the link, and it ends with the supervisor that holds the other end.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import random
import signal
import socket
import sys
from pathlib import Path

import uvloop

from penstock.access.keys import Keyring
from penstock.assembly import engines
from penstock.assembly.link import (
    STOP_GRACE_S,
    Link,
    Listening,
    Refused,
    Stop,
    ToSupervisor,
    ToWorker,
    Update,
    worker_end,
)
from penstock.assembly.metrics import ROWS
from penstock.assembly.snapshots import Snapshots
from penstock.core.clock import SystemClock
from penstock.core.errors import CANNOT_START, PenstockError
from penstock.edge.http.app import App
from penstock.edge.http.config import ServerSettings
from penstock.edge.http.server import serve
from penstock.gateway.chat import Gateway
from penstock.gateway.settle import Settling
from penstock.observe.lines import JsonFormatter, LineWriter
from penstock.observe.prometheus import render
from penstock.observe.totals import Totals
from penstock.routing.places import LocalPlaces
from penstock.routing.traffic import Traffic

# prctl(2): the signal that the kernel sends this process when its parent ends.
_PR_SET_PDEATHSIG = 1

_log = logging.getLogger(__name__)


class Worker:
    """One worker's wiring."""

    def __init__(self, link: Link[ToWorker, ToSupervisor], sock: socket.socket) -> None:
        self._link = link
        self._sock = sock
        self._snapshots = Snapshots(engines.build)
        self._clock = SystemClock()
        self._traffic = Traffic(self._clock, random.Random())
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Serves until told to stop. Once the supervisor is gone there is no grace for anybody."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._stop.set)
        first = await self._link.receive()
        if not isinstance(first, Update):
            return
        try:
            self._take(first)
            lines = _access_log(first.server)
        except PenstockError as error:
            await self._link.send(Refused(error.message))
            return
        hearing = asyncio.create_task(self._hear())
        serving = asyncio.create_task(self._serve(first.server, lines))
        await self._link.send(Listening())
        try:
            await asyncio.wait((hearing, serving), return_when=asyncio.FIRST_COMPLETED)
            if self._stop.is_set():
                await serving
        finally:
            for task in (hearing, serving):
                task.cancel()
            await asyncio.wait((hearing, serving))
            await self._snapshots.aclose()
            if lines is not None:
                lines.close()
        if not serving.cancelled():
            serving.result()

    def _take(self, update: Update) -> None:
        keyring = Keyring(update.deployment.keys, update.pepper)
        self._snapshots.take(update.deployment, keyring)
        self._traffic.keep(update.deployment)

    async def _hear(self) -> None:
        """Ends once nothing more can come."""
        while message := await self._link.receive():
            match message:
                case Stop():
                    self._stop.set()
                    return
                case Update():
                    try:
                        self._take(message)
                    except PenstockError as error:
                        _log.error("a new deployment was not taken: %s", error.message)

    async def _serve(self, settings: ServerSettings, lines: LineWriter | None) -> None:
        clock = self._clock
        meter = Totals(ROWS)
        gateway = Gateway(
            snapshots=self._snapshots.current,
            traffic=self._traffic,
            places=LocalPlaces(clock),
            settle=Settling(clock, meter),
            clock=clock,
        )
        app = App(
            gateway,
            max_body_bytes=settings.max_body_bytes,
            heartbeat_s=settings.heartbeat_s,
            meter=meter,
            render=lambda: render(ROWS, meter.report(), {"worker": os.getpid()}),
            log_line=None if lines is None else lines.write,
        )
        await serve(app, self._sock, stop=self._stop, grace_s=STOP_GRACE_S)


def _access_log(settings: ServerSettings) -> LineWriter | None:
    if settings.access_log == "off":
        return None
    if settings.access_log == "stdout":
        return LineWriter(os.dup(1))
    path = Path(settings.access_log).expanduser()
    try:
        return LineWriter(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise PenstockError(
            CANNOT_START,
            f"The access log {path} cannot be written: {error.strerror}. Mend `server: access_log:`; "
            "it may be stdout, off, or a file.",
        ) from error


def _log_as_json() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


async def _run(link_fd: int, sock_fd: int) -> None:
    link = await worker_end(socket.socket(fileno=link_fd))
    try:
        await Worker(link, socket.socket(fileno=sock_fd)).run()
    finally:
        await link.aclose()


def main(arguments: list[str]) -> None:
    """The process."""
    link_fd, sock_fd = map(int, arguments)
    _die_with_parent()
    # The supervisor decides when to stop; Ctrl-C in its terminal is not for us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _log_as_json()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(link_fd, sock_fd))


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1:])
