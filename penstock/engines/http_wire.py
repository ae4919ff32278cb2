"""One HTTP/1.1 connection to an upstream, as a protocol of the event loop. Source: RFC 9112; llhttp does the parsing.

Nothing is made per piece that arrives: no task, no timer, no copy. A timer looks after silence; it is armed once and
looks, when it fires, whether something has come since.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httptools

from penstock.core.errors import UPSTREAM_BROKEN, UPSTREAM_GARBLED, UPSTREAM_TIMEOUT, Fault, PenstockError

MAX_HEAD_BYTES = 64 << 10
_MOST_HELD = 256 << 10
"""Bytes that wait to be read before the connection is read no further; half of it lets it go on."""


class Connection(asyncio.Protocol):
    """Carries one exchange at a time: ``begin`` and ``send``, then ``head``, then ``arrival`` until there are
    ``pieces`` or it is ``complete``.

    ``where`` is the upstream's origin, for messages; ``held`` at least the size of ``pieces`` together. Belongs to
    whoever has it: one task at a time, except ``abort``. ``lost`` is true once the connection is gone, ``answered``
    once a byte of the answer has come; ``error`` says why it will not complete. ``reusable`` says, of an exchange
    that is complete, that another may follow it.
    """

    __slots__ = (
        "_deadline",
        "_head_bytes",
        "_interim",
        "_loop",
        "_parser",
        "_paused",
        "_silence_s",
        "_timer",
        "_to_the_end",
        "_waiter",
        "_wants",
        "answered",
        "born",
        "busy",
        "complete",
        "error",
        "fields",
        "headed",
        "held",
        "idle_since",
        "lost",
        "on_body",
        "pieces",
        "reusable",
        "since",
        "status",
        "transport",
        "where",
    )

    def __init__(self, where: str, loop: asyncio.AbstractEventLoop) -> None:
        self.where = where
        self._loop = loop
        self.pieces: list[bytes] = []
        # What the parser calls for each piece of a body costs least when it is no function of ours.
        self.on_body = self.pieces.append
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._wants: Callable[[bytes], bool] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._silence_s = 0.0
        self._paused = False
        self.transport: asyncio.Transport
        self.born = self.idle_since = self.since = loop.time()
        self.busy = self.lost = False
        self._reset()

    def _reset(self) -> None:
        self.status = 0
        self.pieces.clear()
        self.fields: dict[bytes, bytes] = {}
        self.error: PenstockError | None = None
        self.answered = self.headed = self.complete = self.reusable = False
        self._head_bytes = self.held = 0
        self._interim = self._to_the_end = False

    # -- one exchange ------------------------------------------------------------------------------------------------

    def begin(self, silence_s: float, total_s: float | None = None) -> None:
        """An exchange begins. It fails after ``silence_s`` without a byte, and ``total_s`` after now."""
        self._reset()
        self.busy = True
        self.since = self._loop.time()
        self._silence_s = silence_s
        if self._timer is None:
            self._timer = self._loop.call_later(silence_s, self._look)
        if total_s is not None:
            self._deadline = self._loop.call_later(total_s, self._silent)

    def send(self, head: bytes, body: bytes) -> None:
        """Sends the request: in one go when it is small."""
        if len(body) < 1 << 16:
            self.transport.write(head + body)
        else:
            self.transport.write(head)
            self.transport.write(body)

    async def head(self) -> None:
        """Returns once ``status`` and ``fields`` are there. Raises ``PenstockError``, with the connection gone."""
        while not self.headed:
            if self.error is not None:
                raise self.error
            await self.arrival()

    def arrival(self) -> asyncio.Future[None]:
        """Done when something has come, or the connection is gone. Only one may be waited for at a time."""
        self._waiter = self._loop.create_future()
        return self._waiter

    async def pour(self, take: Callable[[bytes], bool]) -> None:
        """Hands what comes to ``take``, at once. Returns when that has given back False, or there is more to tell
        than a piece: the end, or ``error``. Raises what ``take`` raises."""
        if self.pieces or self.complete or self.error is not None or self.lost:
            return
        self._wants = take
        try:
            await self.arrival()
        finally:
            self._wants = None

    def taken(self) -> bytes:
        """Everything in ``pieces``, which is empty then."""
        pieces = self.pieces
        piece = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self.held = 0
        if self._paused and not self.lost:
            self._paused = False
            self.since = self._loop.time()
            self.transport.resume_reading()
        return piece

    def end(self) -> None:
        """The exchange is over; whether another may follow is for the owner to see."""
        self.busy = False
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self.reusable and self.transport.get_write_buffer_size():
            self.reusable = False

    def abort(self) -> None:
        """Drops the connection at once; the upstream sees it go. Who waits is woken. Idempotent."""
        if self.busy:
            self.reusable = False
            self.end()
        self.transport.abort()
        self._wake()

    # -- what the event loop calls -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if not self.busy:
            # Nobody has asked: this server and we do not agree where its last answer ended.
            self.transport.abort()
            return
        self.since = self._loop.time()
        self.answered = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if self.complete:
                self.reusable = False
            else:
                self._fail(
                    UPSTREAM_GARBLED,
                    f"{self.where} answered with something that is not HTTP; check that base_url has the right "
                    "scheme and port",
                )
        if self._wants is not None and self.error is None and not self.complete:
            self._poured(self._wants)
            return
        if self.pieces:
            self.held += len(data)
            if self.held > _MOST_HELD and not self._paused and not self.complete:
                self._paused = True
                self.transport.pause_reading()
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.reusable = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.busy and not self.complete and self.error is None:
            if self.headed and self._to_the_end and exc is None:
                self.complete = True
            elif self.headed:
                self._fail(UPSTREAM_BROKEN, f"{self.where} closed the connection in the middle of its answer")
            else:
                self._fail(UPSTREAM_BROKEN, f"{self.where} closed the connection without an answer")
        self._wake()

    # -- what the parser calls ---------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self.complete:
            raise ValueError("nobody has asked for another answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > MAX_HEAD_BYTES:
            raise ValueError("the head is too long")
        if not self.headed:
            self.fields.setdefault(name.lower(), value)

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if 100 <= status < 200:
            self._interim = True
            return
        self.status = status
        fields = self.fields
        self._to_the_end = b"content-length" not in fields and b"transfer-encoding" not in fields
        self.headed = True

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
            self.fields.clear()
            return
        self.complete = True
        self.reusable = self._parser.should_keep_alive()

    # -- the rest ----------------------------------------------------------------------------------------------------

    def _poured(self, take: Callable[[bytes], bool]) -> None:
        if not self.pieces:
            return
        try:
            if take(self.taken()):
                return
        except Exception as error:  # noqa: BLE001 - it is for whoever waits
            waiter, self._waiter = self._waiter, None
            if waiter is not None and not waiter.done():
                waiter.set_exception(error)
        self._wants = None
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _fail(self, fault: Fault, message: str) -> None:
        self.error = PenstockError(fault, message)
        self.transport.abort()

    def _look(self) -> None:
        self._timer = None
        if not self.busy or self.complete:
            return
        wait = self._silence_s
        if not self._paused and not self.pieces:
            wait = self.since + self._silence_s - self._loop.time()
            if wait <= 0.001:
                self._silent()
                return
        self._timer = self._loop.call_later(wait, self._look)

    def _silent(self) -> None:
        self._deadline = None
        if self.busy and not self.complete and self.error is None:
            self._fail(UPSTREAM_TIMEOUT, f"{self.where} was silent for too long; check its load, or raise timeout_s")
            self._wake()
