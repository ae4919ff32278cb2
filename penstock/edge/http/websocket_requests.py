"""One request of a socket, from its frame to its last one: the counterpart of the HTTP pump."""

from __future__ import annotations

import asyncio
import enum
import logging
import math
import os
import time
from collections.abc import Mapping
from typing import Protocol

import msgspec

from penstock.access.scopes import check_endpoint
from penstock.core.errors import UPSTREAM_BROKEN, PenstockError
from penstock.core.metrics import Sample
from penstock.core.money import dollars
from penstock.edge.http.access import told
from penstock.edge.http.dialects import Wire
from penstock.edge.http.dialects.wire import PLAIN
from penstock.edge.http.metrics import RESPONSES
from penstock.edge.http.pump import stopping, unexpected
from penstock.edge.http.websocket import WebSocketSide
from penstock.edge.http.websocket_frames import READS, Start, Voice, events, sound
from penstock.gateway.reply import Reply
from penstock.gateway.settle import Summary
from penstock.gateway.snapshot import Admission

_log = logging.getLogger("penstock.edge")

_CLIENT_GONE = 499


class Caller(msgspec.Struct, frozen=True):
    """Who opened the socket. ``headers`` are the handshake's, by lower-case name, without its key."""

    client: str
    key: str | None
    headers: Mapping[bytes, bytes]

    def __repr__(self) -> str:
        return f"Caller({self.client!r})"


class Out(Protocol):
    """The way to the client."""

    def send(self, *frames: bytes) -> None:
        """Sends text frames; into the void once the socket is closing."""

    async def writable(self) -> None:
        """Returns once the client has taken enough of what was sent before, or is gone."""

    def ended(self, id: str) -> None:
        """The request is over, and its id free."""


class End(enum.Enum):
    """Why a request is broken off."""

    CANCELLED = enum.auto()
    STOPPING = enum.auto()
    GONE = enum.auto()


class SocketRequest:
    """Run by one task; ``cut`` may come at any moment, from the same loop."""

    __slots__ = (
        "_admission",
        "_asked",
        "_began",
        "_caller",
        "_cut",
        "_headers",
        "_out",
        "_over",
        "_sent",
        "_side",
        "_start",
        "_summary",
        "_task",
        "_voice",
        "_wire",
        "request_id",
    )

    def __init__(self, start: Start, caller: Caller, side: WebSocketSide, out: Out) -> None:
        self._start = start
        self._side = side
        self._out = out
        self._voice = Voice(start.id)
        self._caller = caller
        self._wire: Wire | None = None
        self.request_id = "req_" + os.urandom(12).hex()
        self._task: asyncio.Task[None] | None = None
        self._cut: End | None = None
        self._over = self._began = False
        self._headers: Mapping[str, str] = {}
        self._admission: Admission | None = None
        self._asked = ""
        self._summary: Summary | None = None
        self._sent = 0

    def cut(self, end: End) -> None:
        """Breaks it off, unless it is ending already."""
        if self._cut is None and not self._over:
            self._cut = end
            # A task that is cancelled before its first step would say nothing at all.
            if self._task is not None:
                self._task.cancel()

    async def run(self) -> None:
        """To the last frame and the line in the log. Raises nothing."""
        arrived, wall = asyncio.get_running_loop().time(), time.time()
        self._task = asyncio.current_task()
        error = await self._outcome()
        self._over = True
        self._end(error)
        self._record(error, arrived, wall)

    async def _outcome(self) -> PenstockError | None:
        try:
            if self._cut is None:
                await self._answer()
        except PenstockError as error:
            return error
        except asyncio.CancelledError:
            if self._cut is None:
                self._cut = End.STOPPING
        except Exception:  # noqa: BLE001 - the log has it, the client is told
            _log.exception("request %s failed", self.request_id)
            return unexpected(self.request_id)
        return stopping() if self._cut is End.STOPPING else None

    async def _answer(self) -> None:
        gateway, start = self._side.gateway, self._start
        self._admission = admission = await gateway.admitted(self._caller.key, self._caller.client)
        terms = start.terms(self._caller.headers)
        try:
            check_endpoint(admission.principal, start.path)
            asked = READS[start.path](self.request_id, start.body)
        except PenstockError as error:
            dialect = start.path.removeprefix("/v1/")
            gateway.refused(self.request_id, admission, error, took_s=0.0, dialect=dialect, trace=terms.trace)
            raise
        self._asked = asked.call.service
        reply = await gateway.chat(asked.call, admission, terms)
        answer = b""
        try:
            if asked.call.stream:
                await self._stream(reply, asked.wire)
            else:
                answer = await self._whole(reply)
        finally:
            # What the reply settles is on record before the client sees its last frame.
            self._over = True
            await reply.aclose()
            self._summary, self._headers = reply.summary, reply.headers
            if reply.summary is not None:
                self._headers = {**reply.headers, "x-penstock-cost": dollars(reply.summary.cost_nano)}
        if not asked.call.stream:
            self._say(self._voice.reply(asked.wire.whole(answer)))

    async def _stream(self, reply: Reply, wire: Wire) -> None:
        voice, out = self._voice, self._out
        if wire is PLAIN:
            while chunks := await reply.read():
                self._say(*[voice.chunk(chunk) for chunk in chunks])
                await out.writable()
            return
        self._wire = wire
        while chunks := await reply.read():
            self._say_events(wire.chunks(chunks))
            await out.writable()
        self._say_events(wire.end())

    async def _whole(self, reply: Reply) -> bytes:
        answer = b""
        while chunks := await reply.read():
            answer = chunks[-1]
        if not answer:
            raise PenstockError(UPSTREAM_BROKEN, "The engine ended its answer before it had said anything.")
        await self._out.writable()
        return answer

    def _say_events(self, sent: bytes) -> None:
        self._say(*[self._voice.event(name, data) for name, data in events(sent)])

    def _say(self, *frames: bytes) -> None:
        if frames:
            self._began = True
            whole = [sound(frame) for frame in frames]
            self._sent += sum(map(len, whole))
            self._out.send(*whole)

    def _end(self, error: PenstockError | None) -> None:
        headers = {"x-request-id": self.request_id, **self._headers}
        self._out.ended(self._start.id)
        if error is not None:
            if self._wire is not None and self._began:
                self._say_events(self._wire.failure(error))
            headers.update(error.headers)
            if error.retry_after is not None:
                headers["retry-after"] = str(math.ceil(max(0.0, error.retry_after)))
            self._out.send(self._voice.error(error))
        self._out.send(self._voice.done(headers, self._cut is End.CANCELLED))

    def _record(self, error: PenstockError | None, arrived: float, wall: float) -> None:
        status = 200
        if not self._began and (error is not None or self._cut is not None):
            status = error.fault.status if error is not None else _CLIENT_GONE
        side, path = self._side, self._start.path
        side.meter.record(Sample(RESPONSES, 1.0, (path, str(status))))
        if side.log_line is not None:
            side.log_line(
                told(
                    wall=wall,
                    took_s=asyncio.get_running_loop().time() - arrived,
                    request_id=self.request_id,
                    client=self._caller.client,
                    method="WS",
                    path=path,
                    status=status,
                    sent=self._sent,
                    admission=self._admission,
                    asked=self._asked,
                    summary=self._summary,
                    code=error.fault.code if error else "",
                )
            )
