"""What an admin may ask of the gateway: what is under way in it, and what it serves from now on."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol
from urllib.parse import parse_qsl

import msgspec

from penstock.core.accounts import EVERYWHERE
from penstock.core.administration import Answer, Ask
from penstock.core.errors import BODY_TOO_LARGE, INVALID_VALUE, PenstockError
from penstock.core.identity import Principal
from penstock.core.serving import Applied
from penstock.core.usage import Act
from penstock.edge.http.administration import administrative_routes
from penstock.edge.http.door import Admit, Door
from penstock.edge.http.exchange import Exchange
from penstock.edge.http.routes import Endpoint, Needs, Route

LONGEST_DEPLOYMENT = 1 << 20
"""Bytes of a deployment file that is sent."""

_YAML = [(b"content-type", b"application/yaml; charset=utf-8")]
# From what takes requests to what takes none.
_BREAKERS = ("closed", "half_open", "resting", "open")


class ReplicaLive(msgspec.Struct, frozen=True):
    """How a replica stands. ``attempts`` are in progress, of about ``outstanding`` tokens.

    ``state`` is the deployment's word, ``breaker`` closed, half_open, resting or open: of several workers, that of
    the one which spares it most.
    """

    state: str
    breaker: str = "closed"
    attempts: int = 0
    outstanding: int = 0


class WorkerLive(msgspec.Struct, frozen=True):
    """What is under way in one worker; nothing of it counts the admin's own request. Of one that does not answer
    nothing but its leases is known.

    ``tasks``: requests in progress. ``sockets``: client connections, and upstream connections in use.
    ``idle_sockets``: upstream connections kept for the next request. ``leases``: places held in services, and
    attempts in progress at replicas. ``queued``: requests that wait for a place.
    """

    worker: int
    pid: int
    answers: bool
    tasks: int
    sockets: int
    idle_sockets: int
    leases: int
    queued: int
    replicas: Mapping[str, ReplicaLive] = {}


class Live(msgspec.Struct, frozen=True):
    """The sums over all workers, then each of them. ``silent`` workers do not answer."""

    tasks: int
    sockets: int
    idle_sockets: int
    leases: int
    queued: int
    silent: int
    replicas: Mapping[str, ReplicaLive]
    workers: Sequence[WorkerLive]


class Control(Protocol):
    """Whoever can tell, and change, all of the gateway. Each raises ``PenstockError`` when it cannot be asked."""

    async def live(self) -> Live:
        """What is under way."""

    async def deployment(self) -> str:
        """The text of the deployment file that is served."""

    async def apply(self, text: str, dry_run: bool, act: Act) -> Applied:
        """Serves ``text`` from now on, or says what that would change. ``act`` is who asks; the audit hears of it,
        with what came of it, unless it is only tried. Raises ``PenstockError`` (BAD_DEPLOYMENT with a line for every
        mistake), and nothing has changed then."""

    async def administer(self, ask: Ask) -> Answer:
        """Carries out an operation of ``penstock.control.accounts.operations``. Raises ``PenstockError``."""


def summed(workers: Sequence[WorkerLive]) -> Live:
    """All of them as one."""
    replicas: dict[str, ReplicaLive] = {}
    for worker in workers:
        for id, replica in worker.replicas.items():
            replicas[id] = _together(replicas[id], replica) if id in replicas else replica
    return Live(
        tasks=sum(worker.tasks for worker in workers),
        sockets=sum(worker.sockets for worker in workers),
        idle_sockets=sum(worker.idle_sockets for worker in workers),
        leases=sum(worker.leases for worker in workers),
        queued=sum(worker.queued for worker in workers),
        silent=sum(not worker.answers for worker in workers),
        replicas=replicas,
        workers=workers,
    )


def _together(one: ReplicaLive, other: ReplicaLive) -> ReplicaLive:
    return ReplicaLive(
        state=one.state,
        breaker=max(one.breaker, other.breaker, key=_BREAKERS.index),
        attempts=one.attempts + other.attempts,
        outstanding=one.outstanding + other.outstanding,
    )


_LIVE = Needs(("live:read",), everywhere=True)
_DEPLOYED = Needs(("deployment:read",), everywhere=True)
_DEPLOY = Needs(("deployment:write",), everywhere=True)


class Admin:
    """The routes below ``/admin``, and what a caller may ask of its own usage. ``admit`` and ``note`` are as ``Door``
    has them."""

    def __init__(self, control: Control, admit: Admit, note: Callable[[Act], None]) -> None:
        self._control = control
        self._door = Door(admit, note)

    def routes(self) -> tuple[Route, ...]:
        deployment = {
            "GET": self._only(_DEPLOYED, "/admin/deployment", self._deployment),
            "PUT": self._only(_DEPLOY, "/admin/deployment", self._apply),
        }
        return (
            Route("/admin/live", {"GET": self._only(_LIVE, "/admin/live", self._live)}, {"GET": _LIVE}),
            Route("/admin/deployment", deployment, {"GET": _DEPLOYED, "PUT": _DEPLOY}),
            *administrative_routes(self._control, self._door),
        )

    def _only(self, needs: Needs, path: str, found: Callable[[Exchange, Principal], Awaitable[None]]) -> Endpoint:
        async def admitted(exchange: Exchange, _: str) -> None:
            await found(exchange, await self._door.let_in(exchange, needs, path))

        return admitted

    async def _live(self, exchange: Exchange, _: Principal) -> None:
        exchange.reply(200, msgspec.json.encode(await self._control.live()))

    async def _deployment(self, exchange: Exchange, _: Principal) -> None:
        exchange.reply(200, (await self._control.deployment()).encode(), _YAML)

    async def _apply(self, exchange: Exchange, principal: Principal) -> None:
        dry_run = _dry_run(parse_qsl(exchange.query.decode("latin-1"), keep_blank_values=True))
        try:
            body = await exchange.body(LONGEST_DEPLOYMENT)
        except PenstockError as error:
            if error.fault is not BODY_TOO_LARGE:
                raise
            raise PenstockError(
                BODY_TOO_LARGE, f"A deployment file may have at most {LONGEST_DEPLOYMENT} bytes."
            ) from None
        try:
            text = body.decode()
        except UnicodeDecodeError as error:
            raise PenstockError(
                INVALID_VALUE, f"The deployment file is not UTF-8 (byte {error.start}). Save it as UTF-8."
            ) from None
        act = Act(
            at=time.time(),
            actor=principal.key_id,
            project=EVERYWHERE,
            action="deployment.apply",
            address=exchange.client,
            request_id=exchange.request_id,
        )
        exchange.reply(200, msgspec.json.encode(await self._control.apply(text, dry_run, act)))


def _dry_run(query: Iterable[tuple[str, str]]) -> bool:
    """Whoever mistypes it must not change what is served."""
    dry_run = "false"
    for name, value in query:
        if name != "dry_run" or value not in ("true", "false"):
            raise PenstockError(
                INVALID_VALUE,
                "The query of this route may say 'dry_run=true' or 'dry_run=false', and nothing else.",
                param="dry_run",
            )
        dry_run = value
    return dry_run == "true"
