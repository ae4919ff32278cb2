"""One HTTP/2 connection (RFC 9113): every stream is an exchange; ``h2`` knows the protocol, this the bounds.

What a client can make it hold: for each of at most 100 streams 64 KiB of a body that nobody has asked for, and of
replies that it does not take its share of 1 MiB, at most ``listening.HIGH_WATER``, and one piece; beside them what
the transport holds. What is of no use to anybody is bounded in ``http2_frames``.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time

from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, RequestReceived, StreamEnded, StreamReset
from h2.exceptions import DenialOfServiceError, ProtocolError

from penstock.core.errors import PenstockError, envelope
from penstock.edge.http.http2_exchange import Http2Exchange, read
from penstock.edge.http.http2_frames import FloodError, Frames
from penstock.edge.http.http2_protocol import STREAMS, begun, goaway
from penstock.edge.http.listening import FRESH_S, HIGH_WATER, Listening, Taking

_SHARED = 1 << 20
# Room for what the bodies on all streams may hold unasked, and more, so that none waits for another.
_ROOM = 8 << 20
# What the body of a stream is given once somebody waits for it, beside what it has.
_ASKED = 1 << 20
# What of control frames may wait for a client that does not read, before it is not read either.
_CONTROL = 256 << 10
# Read and thrown away, so that a client which is still sending sees the last it was sent before the end.
_LINGER_BYTES = 1 << 20
_ANY_STREAM = (1 << 31) - 1
_NEVER = math.inf


class Http2Connection(asyncio.Protocol):
    """Told of everything by its transport, its exchanges and the sweep, all in one loop. Raises nothing."""

    def __init__(self, listening: Listening) -> None:
        self._listening = listening
        self._transport: asyncio.Transport
        self._taking: Taking
        self._client = ""
        self._proxied = False
        self._opened = time.monotonic()
        self._h2 = begun()
        self._frames = Frames(self._opened)
        self._streams: dict[int, Http2Exchange] = {}
        # The newest stream that was let in.
        self._newest = 0
        # What was sent waits for the client; it is read no further.
        self._full = self._unread = False
        self._written = 0
        # The client has been told to open no more streams, and those that it opens are refused.
        self._announced = self._retired = False
        self._deaf = self._lost = False
        self._lingering: int | None = None
        # While there is no stream.
        self._deadline = self._opened + listening.patience.head_s

    # -- what the transport tells --------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._taking = Taking(transport)
        transport.set_write_buffer_limits(high=HIGH_WATER)
        peer = transport.get_extra_info("peername")
        self._client = str(peer[0]) if isinstance(peer, tuple) else ""
        self._proxied = self._listening.proxies.trust(self._client)
        self._listening.open.add(self)
        self._h2.increment_flow_control_window(_ROOM)
        self._flush()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            if self._lingering is not None:
                self._lingering -= len(data)
                if self._lingering < 0:
                    self._transport.abort()
            return
        try:
            for event in self._h2.receive_data(self._frames.feed(data, time.monotonic())):
                self._hear(event)
        except (FloodError, DenialOfServiceError):
            self._listening.cut("flood")
            self._goaway(self._newest, ErrorCodes.ENHANCE_YOUR_CALM)
            self._gone()
            self._hang_up()
            return
        except (ProtocolError, ValueError):
            self._flush()
            self._gone()
            self._hang_up()
            return
        self._pump()
        self._rest()

    def eof_received(self) -> None:
        self._gone()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._gone()
        self._listening.open.discard(self)

    def pause_writing(self) -> None:
        self._full = True
        for exchange in self._streams.values():
            exchange.full = True

    def resume_writing(self) -> None:
        self._full = False
        if self._unread:
            self._unread = False
            self._transport.resume_reading()
        self._pump()

    # -- what is asked of all connections ------------------------------------------------------------------------

    def look(self, now: float) -> None:
        patience = self._listening.patience
        if self._taking.stalled(self._written, now, patience.write_s):
            self._cut("write")
        elif now >= self._deadline:
            self._overdue()
        elif self._frames.since is not None and now - self._frames.since >= patience.head_s and not self._deaf:
            self._cut("head")
        else:
            if self._listening.closing and not self._announced:
                self._announced = True
                self._goaway(_ANY_STREAM)
            for exchange in list(self._streams.values()):
                self._watch(exchange, now)

    def retire(self) -> None:
        if self._newest or time.monotonic() >= self._opened + FRESH_S:
            self._refuse_more()
        self._rest()

    def stop(self) -> None:
        self._refuse_more()
        for exchange in list(self._streams.values()):
            exchange.stop()
        self._rest()

    def abort(self) -> None:
        self._gone()
        self._transport.abort()

    def _refuse_more(self) -> None:
        if not self._retired:
            self._retired = self._announced = True
            self._goaway(self._newest)

    # -- what exchanges ask --------------------------------------------------------------------------------------

    @property
    def date(self) -> bytes:
        return self._listening.date

    def wanted(self, exchange: Http2Exchange) -> None:
        try:
            if exchange.expects and not exchange.size:
                self._h2.send_headers(exchange.id, [(b":status", b"100")])
            exchange.expects = False
            self._h2.increment_flow_control_window(_ASKED, exchange.id)
        except ProtocolError:
            # The stream is closed already, which the exchange is told.
            return
        self._take(exchange)
        self._flush()

    def push(self, exchange: Http2Exchange) -> None:
        if self._lost or exchange.gone:
            exchange.drop()
            return
        while not self._full and self._turn(exchange):
            pass
        self._flush()
        self._fill(exchange)

    def over(self, exchange: Http2Exchange) -> None:
        self._listening.ended()
        exchange.done = True
        if not exchange.finished and not exchange.ended:
            self._reset(exchange, ErrorCodes.INTERNAL_ERROR)
        self._settle(exchange)
        self._rest()

    # -- streams -------------------------------------------------------------------------------------------------

    def _hear(self, event: Event) -> None:
        match event:
            case RequestReceived(stream_id=int(id), headers=headers):
                self._request(id, [(bytes(name), bytes(value)) for name, value in headers or ()])
            case DataReceived(stream_id=int(id), data=data, flow_controlled_length=int(length)):
                exchange = self._streams.get(id)
                if exchange is None:
                    self._h2.acknowledge_received_data(length, id)
                    return
                exchange.heard_at = time.monotonic()
                exchange.held += length
                exchange.fed(data or b"")
                if exchange.awaited or exchange.finished:
                    self._take(exchange)
            case StreamEnded(stream_id=int(id)):
                if exchange := self._streams.get(id):
                    exchange.fed_all()
            case StreamReset(stream_id=int(id), remote_reset=theirs):
                if not theirs:
                    self._frames.charge()
                if exchange := self._streams.get(id):
                    self._leave(exchange)

    def _request(self, id: int, pairs: list[tuple[bytes, bytes]]) -> None:
        if self._retired or len(self._streams) >= STREAMS:
            self._frames.charge()
            self._close(id, ErrorCodes.REFUSED_STREAM)
            return
        self._newest = id
        try:
            head = read(pairs)
        except PenstockError as error:
            self._refuse(id, error)
            return
        client = self._client
        if self._proxied:
            client = self._listening.proxies.client(client, head.headers.get(b"x-forwarded-for"))
        self._deadline = _NEVER
        exchange = self._streams[id] = Http2Exchange(self, id, head, client)
        exchange.full = self._full
        self._listening.begin(exchange)

    def _refuse(self, id: int, error: PenstockError) -> None:
        """The answer is short, and bounded by what the client is read."""
        body = envelope(error)
        status, length = b"%d" % error.fault.status, b"%d" % len(body)
        head = [(b":status", status), (b"content-type", b"application/json"), (b"content-length", length)]
        # The client may have closed it already.
        with contextlib.suppress(ProtocolError):
            self._h2.send_headers(id, head)
            if self._h2.local_flow_control_window(id) >= len(body):
                self._h2.send_data(id, body, end_stream=True)
            self._h2.reset_stream(id, ErrorCodes.NO_ERROR)

    def _take(self, exchange: Http2Exchange) -> None:
        """The client gets new room for as much of the body as has come."""
        held, exchange.held = exchange.held, 0
        if held and not self._lost:
            self._h2.acknowledge_received_data(held, exchange.id)

    def _leave(self, exchange: Http2Exchange) -> None:
        exchange.drop()
        exchange.left()
        exchange.drained()
        self._settle(exchange)

    def _settle(self, exchange: Http2Exchange) -> None:
        """Forgets a stream once its task has ended, and all of its reply has been sent."""
        if exchange.done and exchange.ended and self._streams.pop(exchange.id, None) is not None:
            self._take(exchange)
            if not self._streams:
                self._deadline = time.monotonic() + self._listening.patience.idle_s

    def _reset(self, exchange: Http2Exchange, code: ErrorCodes) -> None:
        exchange.drop()
        if not self._lost:
            self._close(exchange.id, code)
            self._flush()

    def _close(self, id: int, code: ErrorCodes) -> None:
        # The client may have been quicker.
        with contextlib.suppress(ProtocolError):
            self._h2.reset_stream(id, code)

    # -- sending -------------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Sends of every stream what may be sent, a frame in turn."""
        waiting = [exchange for exchange in self._streams.values() if exchange.waiting]
        while waiting and not self._full:
            waiting = [exchange for exchange in waiting if self._turn(exchange)]
        self._flush()
        for exchange in list(self._streams.values()):
            if exchange.full:
                self._fill(exchange)
            self._settle(exchange)
        self._rest()

    def _turn(self, exchange: Http2Exchange) -> bool:
        """Sends the next of a stream; whether more can follow."""
        if self._full or not exchange.waiting:
            return False
        id = exchange.id
        try:
            if exchange.head is not None:
                head, exchange.head = exchange.head, None
                exchange.ended = exchange.sealed and not exchange.queue
                self._h2.send_headers(id, head, end_stream=exchange.ended)
            elif exchange.queue:
                room = min(self._h2.local_flow_control_window(id), self._h2.max_outbound_frame_size)
                if room <= 0:
                    return False
                data = bytes(exchange.queue[:room])
                del exchange.queue[:room]
                exchange.ended = exchange.sealed and not exchange.queue
                exchange.moved_at = time.monotonic()
                self._h2.send_data(id, data, end_stream=exchange.ended)
                self._frames.paid()
            else:
                exchange.ended = True
                self._h2.end_stream(id)
            if exchange.ended and not exchange.received:
                # RFC 9113, section 8.1: the client need not send the rest.
                self._h2.reset_stream(id, ErrorCodes.NO_ERROR)
        except ProtocolError:
            self._leave(exchange)
            return False
        self._flush()
        return exchange.waiting

    def _fill(self, exchange: Http2Exchange) -> None:
        share = min(HIGH_WATER, _SHARED // max(1, len(self._streams)))
        if self._full or len(exchange.queue) > share:
            exchange.full = True
        elif exchange.full:
            exchange.drained()

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data and not self._lost:
            self._write(data)
        if self._full and not (self._unread or self._deaf) and self._transport.get_write_buffer_size() > _CONTROL:
            self._unread = True
            self._transport.pause_reading()

    def _write(self, data: bytes) -> None:
        self._written += len(data)
        self._transport.write(data)

    def _goaway(self, last: int, code: int = 0) -> None:
        self._flush()
        if not self._lost:
            self._write(goaway(last, code))

    # -- time, and the end ---------------------------------------------------------------------------------------

    def _watch(self, exchange: Http2Exchange, now: float) -> None:
        patience = self._listening.patience
        if exchange.waiting and not self._full and now - exchange.moved_at >= patience.write_s:
            if self._h2.outbound_flow_control_window <= 0:
                self._cut("write")
                return
            self._listening.cut("write")
            self._reset(exchange, ErrorCodes.CANCEL)
            self._leave(exchange)
        elif exchange.awaited and now - exchange.heard_at >= patience.body_s:
            self._listening.cut("body")
            exchange.late(patience.body_s)
        elif exchange.silent is not None and not exchange.full and now - exchange.sent_at >= patience.heartbeat_s:
            exchange.silent()

    def _overdue(self) -> None:
        if self._lingering is not None:
            if self._transport.get_write_buffer_size():
                self._deadline = time.monotonic() + self._listening.patience.linger_s
            else:
                self._transport.abort()
        elif self._newest:
            self._listening.cut("idle")
            self._goaway(self._newest)
            self._hang_up()
        else:
            self._cut("head")

    def _rest(self) -> None:
        """Hangs up once there is nothing left to do here."""
        if not self._streams and (self._retired or self._frames.leaving) and not self._deaf:
            self._hang_up()

    def _hang_up(self) -> None:
        if self._lingering is not None or self._transport.is_closing():
            return
        self._deaf = True
        self._lingering = _LINGER_BYTES
        self._deadline = time.monotonic() + self._listening.patience.linger_s
        if self._unread:
            self._transport.resume_reading()
        self._transport.write_eof()

    def _gone(self) -> None:
        self._deaf = True
        for exchange in list(self._streams.values()):
            self._leave(exchange)

    def _cut(self, reason: str) -> None:
        self._listening.cut(reason)
        self.abort()
