"""One WebSocket on a transport that the listener has handed over: frames in, frames out, and the bounds of both."""

from __future__ import annotations

import asyncio
import datetime
import os
import socket
import time
from http import HTTPStatus

from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from penstock.access.keyring import UnknownKid
from penstock.core.errors import PenstockError, envelope
from penstock.core.identity import Principal
from penstock.core.metrics import Sample
from penstock.edge.http.access import AccessLine
from penstock.edge.http.metrics import RESPONSES
from penstock.edge.http.pump import stopping
from penstock.edge.http.websocket import PATH, WebSocketSide
from penstock.edge.http.websocket_frames import Cancel, Refused, Start, Voice, heard
from penstock.edge.http.websocket_handshake import accept, check_origin, read
from penstock.edge.http.websocket_requests import Caller, End, SocketRequest

# Beyond the first bound requests wait with their next read. Beyond the second nothing is read from the client
# either: whatever it sends asks for an answer, if only that it was not understood.
_SHARE = 256 << 10
_FULL = 768 << 10
# The kernel takes only so much that it cannot send yet: else a slow client is served from megabytes of its, and for
# the better part of a minute does not seem to take a byte of ours.
_UNSENT = 128 << 10
# No more than this is looked at before the bound is, and in one turn of the event loop, which others wait for: a few
# bytes of nonsense are answered with some hundred, and cost as much time as a request.
_BITE = 2 << 10
# How often a stalled client is looked at within the time that it has.
_LOOKS = 30

_GOING_AWAY, _UNSUPPORTED, _NOT_UTF8, _NO_ANSWER = 1001, 1003, 1007, 1011


class WebSocketConnection(asyncio.Protocol):
    """How a listener makes one is told in ``penstock.edge.http.websocket``. ``client`` is the client's address.

    Owns the transport and one task per request. ``closed`` is done once all of them are gone.
    """

    def __init__(self, side: WebSocketSide, transport: asyncio.Transport, head: bytes, client: str = "") -> None:
        self._loop = loop = asyncio.get_running_loop()
        self._side = side
        self._transport = transport
        self._upgrade = read(head)
        self._caller = Caller(client, self._upgrade.key, self._upgrade.headers)
        self._protocol = ServerProtocol(max_size=side.max_body_bytes)
        self.closed: asyncio.Future[None] = loop.create_future()
        self._requests: dict[str, SocketRequest] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = self._lost = False
        # A message in several frames, as far as it has come.
        self._parts: bytearray | None = None
        # What has come and is not looked at: while the client does not take what it is sent, or until the next turn.
        self._held = b""
        self._biting = False
        self._room = asyncio.Event()
        self._room.set()
        self._written = 0
        self._heard = True
        self._beat_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._end_timer: asyncio.TimerHandle | None = None
        self._request_id = "req_" + os.urandom(12).hex()
        self._arrived, self._wall = loop.time(), time.time()
        self._status, self._code = 101, ""
        self._principal: Principal | None = None

    def begin(self, rest: bytes = b"") -> None:
        """Answers the handshake, then reads ``rest``, what the client has sent beyond it."""
        self._side.opened(self)
        self._transport.set_write_buffer_limits(high=_SHARE, low=_SHARE // 4)
        sock = self._transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)
        try:
            check_origin(self._upgrade.headers, self._side.origins)
            self._principal = self._admitted()
            if self._side.draining:
                raise stopping()
            self._write(accept(self._upgrade, self._protocol, self._request_id))
        except PenstockError as error:
            self._refuse(error)
            return
        self._beat_timer = self._loop.call_later(self._side.times.ping_every_s, self._beat)
        if rest:
            self.data_received(rest)

    def _admitted(self) -> Principal | None:
        try:
            return self._side.gateway.admit(self._caller.key, self._caller.client).principal
        except UnknownKid:
            # Each request asks the issuer, and is refused by itself.
            return None

    @property
    def running(self) -> int:
        return len(self._tasks)

    def drain(self) -> None:
        self._draining = True
        if not self._tasks:
            self._close(_GOING_AWAY)

    def stop(self) -> None:
        self._draining = True
        self._cut_all(End.STOPPING)
        self._end_soon()
        if not self._tasks:
            self._close(_GOING_AWAY)

    # -- what the transport tells --------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._status != 101:
            return
        self._heard = True
        self._held += data
        if not self._biting:
            self._bite()

    def eof_received(self) -> None:
        if self._status == 101:
            self._protocol.receive_eof()
            self._ending()

    def pause_writing(self) -> None:
        self._room.clear()
        if self._stall_timer is None:
            self._look(self._loop.time(), self._taken())

    def resume_writing(self) -> None:
        self._room.set()
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None
        if self._held and not self._biting:
            self._bite()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._ending()
        for timer in (self._stall_timer, self._end_timer):
            if timer is not None:
                timer.cancel()
        self._room.set()
        self._maybe_closed()

    # -- what the client says ------------------------------------------------------------------------------------

    def _bite(self) -> None:
        self._biting = False
        if self._lost:
            return
        if self._transport.get_write_buffer_size() > _FULL and self._open():
            self._transport.pause_reading()
            return
        bite, self._held = self._held[:_BITE], self._held[_BITE:]
        self._protocol.receive_data(bite)
        for event in self._protocol.events_received():
            if isinstance(event, Frame) and self._open():
                self._frame(event)
        self._flush()
        if not self._open():
            self._ending()
        if self._held:
            self._transport.pause_reading()
            self._biting = True
            self._loop.call_soon(self._bite)
        elif not self._transport.is_reading():
            self._transport.resume_reading()

    def _frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.BINARY:
            self._protocol.fail(_UNSUPPORTED, "Send text frames")
        elif frame.opcode is Opcode.TEXT or frame.opcode is Opcode.CONT:
            if frame.fin and self._parts is None:
                self._message(bytes(frame.data))
                return
            if self._parts is None:
                self._parts = bytearray()
            self._parts += frame.data
            if frame.fin:
                message, self._parts = bytes(self._parts), None
                self._message(message)

    def _message(self, message: bytes) -> None:
        if not message.isascii():
            try:
                message.decode()
            except UnicodeDecodeError:
                self._protocol.fail(_NOT_UTF8, "A message is not UTF-8")
                return
        match heard(message, self._requests, self._draining):
            case Start() as start:
                request = SocketRequest(start, self._caller, self._side, self)
                self._requests[start.id] = request
                task = self._loop.create_task(request.run())
                self._tasks.add(task)
                task.add_done_callback(self._done)
            case Cancel(id):
                self._requests[id].cut(End.CANCELLED)
            case Refused(id, error):
                voice = Voice(id)
                self.send(voice.error(error), *([voice.done({})] if id is not None else []))

    # -- what requests ask ---------------------------------------------------------------------------------------

    def send(self, *frames: bytes) -> None:
        if self._open():
            for frame in frames:
                self._protocol.send_text(frame)
            self._flush()

    async def writable(self) -> None:
        while not self._room.is_set():
            await self._room.wait()

    def ended(self, id: str) -> None:
        del self._requests[id]

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not self._tasks:
            if self._draining:
                self._close(_GOING_AWAY)
            self._maybe_closed()

    # -- time ----------------------------------------------------------------------------------------------------

    def _beat(self) -> None:
        self._heard = False
        self._protocol.send_ping(b"")
        self._flush()
        self._beat_timer = self._loop.call_later(self._side.times.pong_within_s, self._check, self._taken())

    def _check(self, taken: int) -> None:
        times = self._side.times
        # A client that still takes what was sent before the ping has not seen it yet.
        behind = self._transport.get_write_buffer_size() > 0 and self._taken() > taken
        if self._heard or behind:
            rest = max(0.0, times.ping_every_s - times.pong_within_s)
            self._beat_timer = self._loop.call_later(rest, self._beat)
        else:
            self._close(_NO_ANSWER, "No answer to a ping")

    def _look(self, since: float, taken: int) -> None:
        """``since`` is when the client took its last byte, as far as is known, and ``taken`` how many it had then."""
        now, had = self._loop.time(), self._taken()
        if had > taken:
            since = now
        stalled_s = self._side.times.stalled_s
        if now - since >= stalled_s:
            self._transport.abort()
        else:
            self._stall_timer = self._loop.call_later(stalled_s / _LOOKS, self._look, since, had)

    def _taken(self) -> int:
        return self._written - self._transport.get_write_buffer_size()

    # -- the end -------------------------------------------------------------------------------------------------

    def _refuse(self, error: PenstockError) -> None:
        self._status, self._code = error.fault.status, error.fault.code
        body = envelope(error)
        lines = [
            f"HTTP/1.1 {self._status} {HTTPStatus(self._status).phrase}",
            "content-type: application/json",
            f"content-length: {len(body)}",
            f"x-request-id: {self._request_id}",
            "connection: close",
            *(["www-authenticate: Bearer"] if self._status == 401 else []),
        ]
        self._write("\r\n".join([*lines, "", ""]).encode("ascii") + body)
        self._hang_up()

    def _close(self, code: int, reason: str = "") -> None:
        if self._open():
            self._protocol.send_close(code, reason)
            self._flush()
            self._ending()

    def _ending(self) -> None:
        """The socket takes no more messages: who is still at work for it may stop."""
        if self._beat_timer is not None:
            self._beat_timer.cancel()
        self._cut_all(End.GONE)
        self._flush()
        if not self._lost:
            self._end_soon()

    def _end_soon(self) -> None:
        if self._end_timer is None:
            self._end_timer = self._loop.call_later(self._side.times.close_within_s, self._transport.abort)

    def _hang_up(self) -> None:
        """Says that nothing follows, and waits for the client to say so too: closed while it still sends, it would
        lose what it was sent last."""
        if self._transport.is_closing():
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()
        self._end_soon()

    def _cut_all(self, end: End) -> None:
        for request in self._requests.values():
            request.cut(end)

    def _maybe_closed(self) -> None:
        if self._lost and not self._tasks and not self.closed.done():
            self.closed.set_result(None)
            self._record()

    def _record(self) -> None:
        side = self._side
        side.meter.record(Sample(RESPONSES, 1.0, (PATH, str(self._status))))
        if side.log_line is not None:
            side.log_line(
                AccessLine(
                    time=datetime.datetime.fromtimestamp(self._wall, datetime.UTC),
                    request_id=self._request_id,
                    client=self._caller.client,
                    method="GET",
                    path=PATH,
                    status=self._status,
                    ms=round((self._loop.time() - self._arrived) * 1000, 3),
                    bytes=self._written,
                    key=self._principal.key_id if self._principal else "",
                    project=self._principal.project if self._principal else "",
                    code=self._code,
                )
            )

    # -- bytes ---------------------------------------------------------------------------------------------------

    def _open(self) -> bool:
        return self._protocol.state is State.OPEN and not self._lost

    def _flush(self) -> None:
        parts = self._protocol.data_to_send()
        if not parts:
            return
        last = parts[-1] == b""
        if data := b"".join(parts):
            self._write(data)
        if last:
            self._hang_up()

    def _write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._written += len(data)
            self._transport.write(data)
