"""One HTTP/1 connection: requests in order, bounded, each answered by one task; nothing else runs for it.

What a client can make it hold: a head of 64 KiB, as much of a body that nobody has asked for yet, a few requests
sent ahead, and of replies that it does not read ``listening.HIGH_WATER`` and one piece.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque

from penstock.core.errors import BAD_REQUEST, PenstockError, envelope
from penstock.edge.http.forwarded import chain
from penstock.edge.http.http1_exchange import Http1Exchange
from penstock.edge.http.http1_requests import Head, Requests
from penstock.edge.http.listening import FRESH_S, HIGH_WATER, Listening, Taking
from penstock.edge.http.websocket import PATH as WEBSOCKET_PATH
from penstock.edge.http.websocket_connection import WebSocketConnection

# How many requests a client may have sent ahead, and how much of a body nobody has asked for yet, before its
# connection is read no further.
_AHEAD = 8
_UNASKED = 64 << 10
# No more is parsed at once, so that what a client has sent ahead stays bounded: it makes hundreds of requests.
_BITE = 8 << 10
# Read and thrown away, so that a client which is still sending sees its refusal before it sees the connection close.
_LINGER_BYTES = 1 << 20
_NEVER = math.inf


class Http1Connection(asyncio.Protocol):
    """Told of everything by its transport, its exchange and the sweep, all in one loop. Raises nothing."""

    def __init__(self, listening: Listening) -> None:
        self._listening = listening
        self._requests = Requests(self)
        self._transport: asyncio.Transport
        self._taking: Taking
        self._client = ""
        self._proxied = False
        # A head is coming in; the request whose body is; the one that is being answered; those after it.
        self._in_head = False
        self._receiving: Http1Exchange | None = None
        self._current: Http1Exchange | None = None
        self._answered = False
        self._ahead: deque[Http1Exchange] = deque()
        # What has come and is not parsed while the client is read no further.
        self._held: bytes | memoryview = b""
        self._unread = False
        # What was sent waits for the client.
        self._full = False
        self._written = 0
        # Nothing that still comes is listened to; so much of it is read at most.
        self._deaf = False
        self._lingering: int | None = None
        # The client has said that no request follows; and has sent something all the same.
        self._last = self._more = False
        self._retired = self._lost = self._used = False
        self._opened = time.monotonic()
        self._deadline = _NEVER

    # -- what the transport tells --------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._taking = Taking(transport)
        transport.set_write_buffer_limits(high=HIGH_WATER)
        peer = transport.get_extra_info("peername")
        self._client = str(peer[0]) if isinstance(peer, tuple) else ""
        self._proxied = self._listening.proxies.trust(self._client)
        self._listening.open.add(self)
        self._wait(self._listening.patience.head_s)

    def data_received(self, data: bytes) -> None:
        if self._held or self._unread or len(data) > _BITE:
            self._held = memoryview(b"".join((self._held, data)) if self._held else data)
            self._bite()
        else:
            self._feed(data)
            if self._receiving is not None or self._ahead:
                self.flow()

    def eof_received(self) -> None:
        self._gone()

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone()
        self._lost = True
        self._listening.open.discard(self)

    def pause_writing(self) -> None:
        self._full = True
        if self._current is not None:
            self._current.full = True

    def resume_writing(self) -> None:
        self._full = False
        if self._current is not None:
            self._current.drained()
        else:
            self._next()

    # -- what is asked of all connections ------------------------------------------------------------------------

    def look(self, now: float) -> None:
        patience, current = self._listening.patience, self._current
        if self._taking.stalled(self._written, now, patience.write_s):
            self._cut("write")
        elif now >= self._deadline:
            self._overdue()
        elif (
            current is not None
            and current.silent is not None
            and not current.full
            and now - current.sent_at >= patience.heartbeat_s
        ):
            current.silent()

    def retire(self) -> None:
        self._retired = True
        fresh = not self._used and time.monotonic() < self._opened + FRESH_S
        idle = self._current is None and not self._ahead and not self._in_head
        if idle and not fresh and self._lingering is None:
            self._transport.close()

    def stop(self) -> None:
        self._retired = True
        self._ahead.clear()
        if self._current is None:
            self._transport.close()
        else:
            self._current.stop()

    def abort(self) -> None:
        self._gone()
        self._transport.abort()

    # -- what the exchange asks ----------------------------------------------------------------------------------

    @property
    def closing(self) -> bool:
        return (self._retired or self._listening.closing) and not self._ahead

    @property
    def date(self) -> bytes:
        return self._listening.date

    def send(self, data: bytes) -> None:
        if not self._lost:
            self._written += len(data)
            self._transport.write(data)

    def flow(self) -> None:
        receiving = self._receiving
        unread = not self._deaf and (
            len(self._ahead) > _AHEAD
            or (
                receiving is not None
                and receiving.size > _UNASKED
                and not receiving.awaited
                and not receiving.finished
            )
        )
        if unread is self._unread or self._transport.is_closing():
            return
        self._unread = unread
        if unread:
            self._transport.pause_reading()
        else:
            if receiving is not None and receiving is self._current:
                self._wait(self._listening.patience.body_s)
            self._transport.resume_reading()
            self._bite()

    def over(self) -> None:
        self._listening.ended()
        self._answered = True
        self._next()

    # -- requests in order ---------------------------------------------------------------------------------------

    def began(self) -> None:
        if self._last or self._deaf:
            self._more = True
            return
        self._in_head = True
        if self._current is None:
            self._wait(self._listening.patience.head_s)

    def head(self, head: Head) -> None:
        self._in_head = False
        if self._last or self._deaf:
            return
        self._last, self._used = not head.keep_alive, True
        exchange = Http1Exchange(
            self,
            head.method,
            head.path,
            head.query,
            head.headers,
            self._from(head.headers.get(b"x-forwarded-for")) if self._proxied else self._client,
            keep_alive=head.keep_alive,
            minor=head.minor,
        )
        self._receiving = exchange
        if self._current is None and not self._full:
            self._begin(exchange)
        else:
            self._ahead.append(exchange)

    def part(self, data: bytes) -> None:
        if self._receiving is not None:
            self._receiving.fed(data)

    def ended(self) -> None:
        exchange, self._receiving = self._receiving, None
        if exchange is None:
            return
        exchange.fed_all()
        if exchange is self._current:
            self._deadline = _NEVER
            if self._answered:
                self._next()

    def upgrade(self, protocol: bytes, path: str, head: bytes, rest: bytes | memoryview) -> bool:
        if protocol != b"websocket" or path != WEBSOCKET_PATH:
            return False
        if self._current is not None or self._last or self._transport.get_write_buffer_size():
            return False
        self._lost = self._deaf = True
        self._listening.open.discard(self)
        client = self._from(chain(head)) if self._proxied else self._client
        connection = WebSocketConnection(self._listening.sockets, self._transport, head, client)
        self._transport.set_protocol(connection)
        rest, self._held = b"".join((rest, self._held)), b""
        connection.begin(rest)
        return True

    def _from(self, forwarded: bytes | None) -> str:
        return self._listening.proxies.client(self._client, forwarded)

    def _begin(self, exchange: Http1Exchange) -> None:
        self._current = exchange
        self._answered = False
        exchange.full = self._full
        self._deadline = _NEVER
        if not exchange.received:
            self._wait(self._listening.patience.body_s)
        self._listening.begin(exchange)

    def _next(self) -> None:
        """What follows once a request is answered, and read to its end."""
        current = self._current
        if self._lingering is not None:
            return
        if current is not None:
            if not self._answered:
                return
            if not current.finished:
                self._transport.abort()
                return
            if not current.keep_alive:
                self._hang_up(unread=self._more or not self._last or not current.received)
                return
            if not current.received:
                self._wait(self._listening.patience.body_s)
                self.flow()
                return
            self._current = None
        if self._full or self._lost:
            return
        if self._ahead:
            self._begin(self._ahead.popleft())
            self.flow()
        elif self._retired and not self._in_head:
            self._hang_up(unread=True)
        else:
            patience = self._listening.patience
            self._wait(patience.head_s if self._in_head else patience.idle_s)

    def _gone(self) -> None:
        self._shut()
        if self._current is not None:
            self._current.left()

    def _shut(self) -> None:
        self._deaf = True
        self._ahead.clear()
        self._held = b""

    def _hang_up(self, unread: bool) -> None:
        """Closes. ``unread``: the client may still be sending, and would lose the reply were it not listened to."""
        self._current = None
        self._shut()
        if not unread:
            self._transport.close()
        elif self._lingering is None and not self._transport.is_closing():
            self._lingering = _LINGER_BYTES
            self._wait(self._listening.patience.linger_s)
            self.flow()
            self._transport.write_eof()

    # -- time ----------------------------------------------------------------------------------------------------

    def _wait(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds

    def _overdue(self) -> None:
        current, patience = self._current, self._listening.patience
        if self._lingering is not None:
            if self._transport.get_write_buffer_size():
                # That the client takes none of it is seen elsewhere.
                self._wait(patience.linger_s)
            else:
                self._transport.abort()
        elif current is None:
            self._cut("head" if self._in_head else "idle")
        elif current.awaited:
            self._deadline = _NEVER
            self._listening.cut("body")
            current.keep_alive = False
            current.late(patience.body_s)
        elif current.finished:
            self._cut("body")

    def _cut(self, reason: str) -> None:
        self._listening.cut(reason)
        self.abort()

    # -- bytes ---------------------------------------------------------------------------------------------------

    def _bite(self) -> None:
        while self._held and not self._unread:
            bite, self._held = self._held[:_BITE], self._held[_BITE:]
            self._feed(bite)
            self.flow()

    def _feed(self, data: bytes | memoryview) -> None:
        if self._deaf:
            if self._lingering is not None:
                self._lingering -= len(data)
                if self._lingering < 0:
                    self._transport.abort()
            return
        try:
            self._requests.feed(data)
        except PenstockError as error:
            self._refuse(error)
            return
        receiving = self._receiving
        if receiving is not None and receiving is self._current:
            self._wait(self._listening.patience.body_s)

    def _refuse(self, error: PenstockError) -> None:
        """Answers what is no HTTP, and hears no more. What came whole before it is answered first, and it alone."""
        if self._deaf:
            return
        current = self._current
        self._shut()
        if current is not None and (current.received or current.started):
            current.keep_alive = False
            return
        if current is not None:
            current.left()
        body = envelope(error)
        phrase = b"Bad Request" if error.fault is BAD_REQUEST else b"Request Header Fields Too Large"
        self.send(
            b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (error.fault.status, phrase, len(body), body)
        )
        self._hang_up(unread=True)
