"""One HTTP/1.1 connection to an upstream, as a protocol of the event loop. Source: RFC 9112; llhttp does the parsing.

Nothing is made per piece that arrives: no task, no timer, no copy. A timer looks after silence; it is armed once and
looks, when it fires, whether something has come since.
"""

from __future__ import annotations

import asyncio

import httptools

from penstock.core.errors import UPSTREAM_BROKEN, UPSTREAM_GARBLED, UPSTREAM_TIMEOUT, Fault, PenstockError

MAX_HEAD_BYTES = 64 << 10
_MOST_HELD = 256 << 10
"""Bytes that wait to be read before the connection is read no further; half of it lets it go on."""


class Connection(asyncio.Protocol):
    """Carries one exchange at a time: ``begin`` and ``send``, then ``head``, then ``more`` until ``complete``.

    ``where`` is the upstream's origin, for messages. Belongs to whoever has it: one task at a time, except ``abort``.
    ``lost`` is true once the connection is gone, ``answered`` once a byte of the answer has come. ``reusable`` says,
    of an exchange that is complete, that another may follow it.
    """

    __slots__ = (
        "_deadline",
        "_held",
        "_interim",
        "_loop",
        "_parser",
        "_paused",
        "_raw",
        "_raw_bytes",
        "_silence_s",
        "_timer",
        "_to_the_end",
        "_waiter",
        "answered",
        "born",
        "busy",
        "complete",
        "error",
        "fields",
        "headed",
        "idle_since",
        "lost",
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
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
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
        self.fields: dict[bytes, bytes] = {}
        self.pieces: list[bytes] = []
        self.error: PenstockError | None = None
        self.answered = self.headed = self.complete = self.reusable = False
        self._raw: list[tuple[bytes, bytes]] = []
        self._raw_bytes = self._held = 0
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
            await self._wait()

    async def more(self) -> None:
        """Returns once ``pieces`` holds something, or the answer is complete, or the connection was aborted.

        Raises ``PenstockError``, with the connection gone.
        """
        while not self.pieces and not self.complete:
            if self.error is not None:
                raise self.error
            if self.lost or not self.busy:
                return
            await self._wait()

    def taken(self) -> bytes:
        """Everything in ``pieces``, which is empty then."""
        pieces = self.pieces
        piece = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._held = 0
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
        if self.reusable and (self.lost or self.transport.is_closing() or self.transport.get_write_buffer_size()):
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
        if self._held > _MOST_HELD and not self._paused and not self.complete:
            self._paused = True
            self.transport.pause_reading()
        if self._waiter is not None:
            self._wake()

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
        self._raw_bytes += len(name) + len(value)
        if self._raw_bytes > MAX_HEAD_BYTES:
            raise ValueError("the head is too long")
        self._raw.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if 100 <= status < 200:
            self._interim = True
            return
        self.status = status
        for name, value in self._raw:
            self.fields.setdefault(name.lower(), value)
        self._to_the_end = b"content-length" not in self.fields and b"transfer-encoding" not in self.fields
        self.headed = True

    def on_body(self, body: bytes) -> None:
        self._held += len(body)
        self.pieces.append(body)

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
            self._raw.clear()
            return
        self.complete = True
        self.reusable = self._parser.should_keep_alive()

    # -- the rest ----------------------------------------------------------------------------------------------------

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

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
