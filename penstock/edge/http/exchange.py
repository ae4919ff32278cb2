"""Exchange: one HTTP request and its reply, as the rest of the edge sees them, whatever protocol carries them."""

from __future__ import annotations

import abc
import asyncio
import functools
import math
import random
import re
import time
from collections.abc import Callable, Iterable, Mapping

from penstock.core.errors import REQUEST_TIMEOUT, STOPPING, PenstockError, envelope
from penstock.edge.http.body import too_large, too_slow
from penstock.gateway.settle import Summary
from penstock.gateway.snapshot import Admission

Headers = list[tuple[bytes, bytes]]
"""Names in lower case; neither names nor values hold a line break."""

_SANE_ID = re.compile(rb"[\x21-\x7e]{1,128}\Z")
_UNFIT = re.compile(r"[\x00-\x1f\x7f]")
_JSON = (b"content-type", b"application/json")
# Pieces of a body that are smaller share their room: each for itself would take thirty times as much.
_LARGE = 1 << 10


class ClientGoneError(Exception):
    """The client closed the connection before it had sent its request or got its reply."""


class Exchange(abc.ABC):
    """Answered by one task; the connection that carries it tells what comes in, from the same loop.

    ``query`` is what stands after ``?``, as it came. ``headers`` are the request's, by lower-case name; of a name
    that occurs twice, the last. ``request_id`` is the client's own ``x-request-id`` when it is 1 to 128 printable
    ASCII characters, else ours. ``arrived`` and ``sent_at``, that of the last bytes sent, are monotonic seconds.
    ``full``: what was sent waits for a client that does not read; ``room`` waits with it. ``silent``, unless None, is
    called when nothing has been sent for the time of a heartbeat. ``beside`` are headers that every reply carries.
    """

    __slots__ = (
        "_drained",
        "_limit",
        "_parts",
        "_waiter",
        "admission",
        "arrived",
        "asked",
        "begun",
        "beside",
        "client",
        "code",
        "finished",
        "full",
        "gone",
        "headers",
        "method",
        "path",
        "query",
        "received",
        "request_id",
        "sent",
        "sent_at",
        "silent",
        "size",
        "started",
        "status",
        "stopped",
        "summary",
        "task",
        "wall",
    )

    def __init__(self, method: str, path: str, query: bytes, headers: dict[bytes, bytes], client: str) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.client = client
        theirs = headers.get(b"x-request-id")
        self.request_id = (
            theirs.decode("ascii")
            if theirs is not None and _SANE_ID.match(theirs)
            else f"req_{random.getrandbits(96):024x}"
        )
        self.arrived = self.sent_at = time.monotonic()
        self.wall = time.time()
        self.task: asyncio.Task[None] | None = None
        self.silent: Callable[[], None] | None = None
        self.begun = self.started = self.finished = self.received = False
        self.gone = self.stopped = self.full = False
        self.status = self.sent = self.size = 0
        self.beside: Headers = []
        self._parts: list[bytes | bytearray] = []
        self._limit: int | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        # What the access log tells beside: who asked, for what, and how it ended.
        self.admission: Admission | None = None
        self.asked = ""
        self.code = ""
        self.summary: Summary | None = None

    # -- the request -------------------------------------------------------------------------------------------------

    def presented_key(self) -> str | None:
        """The API key that the client sent, in any of the headers that clients use; None when there is none."""
        return key_in(self.headers)

    async def body(self, limit: int) -> bytes:
        """The whole body, at most ``limit`` bytes; does not wait when it is here already.

        Raises ``PenstockError`` (BODY_TOO_LARGE, REQUEST_TIMEOUT) and ``ClientGoneError``.
        """
        if self.size > limit:
            raise too_large(limit)
        if not self.received:
            self._limit = limit
            self._waiter = asyncio.get_running_loop().create_future()
            self._wanted()
            try:
                await self._waiter
            finally:
                self._waiter = None
        parts, self._parts = self._parts, []
        return bytes(parts[0]) if len(parts) == 1 else b"".join(parts)

    @property
    def awaited(self) -> bool:
        """Whether the rest of the body is being waited for."""
        return self._waiter is not None

    # -- what the connection tells -----------------------------------------------------------------------------------

    def fed(self, data: bytes) -> None:
        """More of the body."""
        self.size += len(data)
        if self.finished:
            return
        if self._limit is not None and self.size > self._limit:
            self._wake(too_large(self._limit))
        elif not self._parts or len(data) >= _LARGE:
            self._parts.append(data)
        elif isinstance(last := self._parts[-1], bytearray):
            last += data
        else:
            self._parts.append(bytearray(data))

    def fed_all(self) -> None:
        """The body is here."""
        self.received = True
        if self._waiter is not None:
            self._wake(None)

    def late(self, idle_s: float) -> None:
        """No more of the body has come for this long."""
        self._wake(too_slow(idle_s))

    def drained(self) -> None:
        """The client has taken enough of what was sent to it."""
        self.full = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def left(self) -> None:
        """The client has gone: what is done for it ends."""
        if self.gone or self.finished:
            return
        self.gone = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(ClientGoneError())
        elif self.task is not None and self.begun:
            # A task that is cancelled before its first step would leave no trace at all.
            self.task.cancel()

    def stop(self) -> None:
        """The gateway stops: what is done is broken off, and the client told so."""
        if self.finished or self.stopped:
            return
        self.stopped = True
        if self.task is not None and self.begun:
            self.task.cancel()

    def _wake(self, error: Exception | None) -> None:
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        if error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(error)

    # -- the reply ---------------------------------------------------------------------------------------------------

    def start(self, status: int, headers: Headers) -> None:
        """Begins a reply that comes in pieces; it goes out with the first of them."""
        self.started = True
        self.status = status
        self._head(status, [*headers, *self.beside, (b"x-request-id", self.request_id.encode("ascii"))])

    def write(self, data: bytes, more: bool = True) -> None:
        """Sends a piece of the body, whole events of a stream; without ``more`` it is the last.

        Never waits: who sends much looks at ``full`` and awaits ``room``.
        """
        self.sent += len(data)
        if not more:
            self.finished = True
        self.sent_at = time.monotonic()
        self._piece(data, more)

    async def room(self) -> None:
        """Returns once the client has taken enough of what was sent before, or has gone."""
        while self.full and not self.gone:
            self._drained = asyncio.get_running_loop().create_future()
            try:
                await self._drained
            finally:
                self._drained = None

    def reply(self, status: int, body: bytes, headers: Headers | None = None) -> None:
        """Sends a whole reply. JSON, unless ``headers`` name another content type."""
        self.started = self.finished = True
        self.status = status
        self.sent = len(body)
        all_headers = [] if status == 204 else [(b"content-length", b"%d" % len(body))]
        if headers is None:
            all_headers.append(_JSON)
        else:
            all_headers += headers
            if body and b"content-type" not in dict(headers):
                all_headers.append(_JSON)
        all_headers += self.beside
        all_headers.append((b"x-request-id", self.request_id.encode("ascii")))
        self._whole(status, all_headers, body)

    def fail(self, error: PenstockError, headers: Headers | None = None) -> None:
        """Sends an error in OpenAI's shape; nothing may have been sent before."""
        self.code = error.fault.code
        all_headers = [(b"x-should-retry", b"true" if _may_retry(error) else b"false"), *(headers or ())]
        if error.headers:
            all_headers += encoded(error.headers.items())
        if error.retry_after is not None:
            wait_ms = max(0, math.ceil(error.retry_after * 1000))
            all_headers.append((b"retry-after", b"%d" % -(-wait_ms // 1000)))
            all_headers.append((b"retry-after-ms", b"%d" % wait_ms))
        if error.fault.status == 401:
            all_headers.append((b"www-authenticate", b"Bearer"))
        self.reply(error.fault.status, envelope(error), all_headers)

    # -- what carries it ---------------------------------------------------------------------------------------------

    @abc.abstractmethod
    def _wanted(self) -> None:
        """The rest of the body is waited for from now on."""

    @abc.abstractmethod
    def _head(self, status: int, headers: Headers) -> None:
        """Prepares the head of a reply in pieces."""

    @abc.abstractmethod
    def _piece(self, data: bytes, more: bool) -> None:
        """Sends one of them; into the void once the client is gone."""

    @abc.abstractmethod
    def _whole(self, status: int, headers: Headers, body: bytes) -> None:
        """Sends a whole reply; into the void once the client is gone."""

    @abc.abstractmethod
    def over(self) -> None:
        """Nothing more is done for it. A reply that is not finished is broken off, so that the client can tell."""


def key_in(headers: Mapping[bytes, bytes]) -> str | None:
    """The API key in a request's headers, names in lower case; None when there is none."""
    authorization = headers.get(b"authorization", b"")
    if authorization[:7].lower() == b"bearer ":
        key = authorization[7:].strip()
    else:
        key = headers.get(b"x-api-key") or headers.get(b"api-key") or b""
    if not key:
        return None
    try:
        return key.decode()
    except UnicodeDecodeError:
        return key.decode("latin-1")


def encoded(headers: Iterable[tuple[str, str]]) -> Headers:
    """Header names and values as bytes. What may not stand in a value, a line break say, becomes a space."""
    # Times and amounts are seldom the same twice: remembering them costs more than it saves.
    return [(_name(name), _fit(value)) if value[:1].isdigit() else _encoded(name, value) for name, value in headers]


@functools.lru_cache(4096)
def _encoded(name: str, value: str) -> tuple[bytes, bytes]:
    return name.encode("latin-1"), _fit(value)


@functools.lru_cache(512)
def _name(name: str) -> bytes:
    return name.encode("latin-1")


def _fit(value: str) -> bytes:
    return (value if value.isprintable() else _UNFIT.sub(" ", value)).encode("latin-1", "replace")


def _may_retry(error: PenstockError) -> bool:
    return error.fault.retry or error.retry_after is not None or error.fault in (STOPPING, REQUEST_TIMEOUT)
