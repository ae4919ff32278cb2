"""Exchange: one HTTP request and its reply, as the rest of the edge sees them."""

from __future__ import annotations

import asyncio
import os
import re
import time

from penstock.core.errors import REQUEST_TIMEOUT, STOPPING, PenstockError, envelope
from penstock.edge.http.asgi import Headers, Message, Receive, Scope, Send
from penstock.gateway.settle import Summary
from penstock.gateway.snapshot import Admission

# What is left of a refused body is read and thrown away for this long and this far, so that the client sees the
# refusal before it sees the connection close.
_LINGER_S = 1.0
_LINGER_BYTES = 1 << 20
# A body this small is cheaper to swallow than its connection is to lose.
_SWALLOWED = 64 << 10

_SANE_ID = re.compile(rb"[\x21-\x7e]{1,128}\Z")
_JSON = (b"content-type", b"application/json")


class ClientGoneError(Exception):
    """The client closed the connection before it had sent its request or got its reply."""


class Exchange:
    """Owned by one task. What the reply pump sends is whole events, so a heartbeat may go out between any two.

    ``headers`` are the request's, by lower-case name; of a name that occurs twice, the last.
    ``sent_at`` is the loop's time of the last bytes sent, or of the arrival. ``request_id`` is the client's own
    ``x-request-id`` when it is 1 to 128 printable ASCII characters, else ours.
    """

    __slots__ = (
        "_receive",
        "_send",
        "admission",
        "arrived",
        "asked",
        "body_read",
        "code",
        "finished",
        "gone",
        "headers",
        "method",
        "path",
        "request_id",
        "scope",
        "sent",
        "sent_at",
        "started",
        "status",
        "summary",
        "wall",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send, now: float) -> None:
        self.scope = scope
        self._receive = receive
        self._send = send
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        theirs = self.headers.get(b"x-request-id")
        self.request_id = (
            theirs.decode("ascii") if theirs is not None and _SANE_ID.match(theirs) else "req_" + os.urandom(12).hex()
        )
        self.arrived = self.sent_at = now
        self.wall = time.time()
        self.started = self.finished = self.gone = False
        self.body_read = b"content-length" not in self.headers and b"transfer-encoding" not in self.headers
        self.status = 0
        self.sent = 0
        # What the access log tells beside: who asked, for what, and how it ended.
        self.admission: Admission | None = None
        self.asked = ""
        self.code = ""
        self.summary: Summary | None = None

    def presented_key(self) -> str | None:
        """The API key that the client sent, in any of the headers that clients use; None when there is none."""
        headers = self.headers
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

    async def receive(self) -> Message:
        """The next ASGI message. Raises ``ClientGoneError`` instead of giving a disconnect."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.gone = True
            raise ClientGoneError
        return message

    async def until_gone(self) -> None:
        """Returns once the client has closed the connection, or the reply is complete."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def start(self, status: int, headers: Headers) -> None:
        self.started = True
        self.status = status
        headers.append((b"x-request-id", self.request_id.encode("ascii")))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, data: bytes, more: bool = True) -> None:
        """Sends a piece of the body; waits while the client is too slow to take what was sent before."""
        self.sent += len(data)
        if not more:
            self.finished = True
        await self._send({"type": "http.response.body", "body": data, "more_body": more})
        self.sent_at = asyncio.get_running_loop().time()

    async def reply(self, status: int, body: bytes, headers: Headers | None = None) -> None:
        """Sends a whole reply. JSON, unless ``headers`` name another content type."""
        all_headers = [] if status == 204 else [(b"content-length", b"%d" % len(body))]
        if headers is None:
            all_headers.append(_JSON)
        else:
            all_headers += headers
            if body and not any(name == b"content-type" for name, _ in headers):
                all_headers.append(_JSON)
        if self._swallows():
            await self.start(status, all_headers)
            await self.write(body, more=False)
            return
        all_headers.append((b"connection", b"close"))
        await self.start(status, all_headers)
        await self.write(body)
        await self._linger()
        await self.write(b"", more=False)

    async def fail(self, error: PenstockError, headers: Headers | None = None) -> None:
        """Sends an error in OpenAI's shape; nothing may have been sent before."""
        self.code = error.fault.code
        all_headers = [(b"x-should-retry", b"true" if _may_retry(error) else b"false"), *(headers or ())]
        if error.retry_after is not None:
            wait_ms = max(0, round(error.retry_after * 1000))
            all_headers.append((b"retry-after", b"%d" % -(-wait_ms // 1000)))
            all_headers.append((b"retry-after-ms", b"%d" % wait_ms))
        if error.fault.status == 401:
            all_headers.append((b"www-authenticate", b"Bearer"))
        await self.reply(error.fault.status, envelope(error), all_headers)

    def _swallows(self) -> bool:
        if self.body_read:
            return True
        declared = self.headers.get(b"content-length", b"")
        return declared.isdigit() and int(declared) <= _SWALLOWED

    async def _linger(self) -> None:
        left = _LINGER_BYTES
        try:
            async with asyncio.timeout(_LINGER_S):
                while left > 0:
                    message = await self._receive()
                    if message["type"] == "http.disconnect" or not message.get("more_body"):
                        return
                    left -= len(message["body"])
        except TimeoutError:
            return


def _may_retry(error: PenstockError) -> bool:
    return error.fault.retry or error.fault in (STOPPING, REQUEST_TIMEOUT)
