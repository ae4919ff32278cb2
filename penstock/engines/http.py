"""The transport of every engine that is reached over HTTP: pooled connections, pieces as they arrive, our errors.

aiohttp stops at this wall: its exceptions become ours by ``_translated``, and nothing else imports it.
"""

from __future__ import annotations

import asyncio
import io
import ssl
from collections.abc import Mapping
from types import SimpleNamespace

import aiohttp
import yarl

from penstock.core.errors import (
    BAD_DEPLOYMENT,
    STOPPING,
    UPSTREAM_BROKEN,
    UPSTREAM_GARBLED,
    UPSTREAM_TIMEOUT,
    UPSTREAM_UNREACHABLE,
    Fault,
    PenstockError,
)

_STALE_WITHIN_S = 1.0
"""A pooled connection that its server had closed says so within a round trip; later, work may have begun."""
_IDLE_S = 30.0
_BYTES_AT_ONCE = 1 << 20
"""aiohttp sends ``bytes`` in one go, and larger bodies in steps only when they come as a file."""
_DEFAULTS = {"User-Agent": "penstock", "Accept-Encoding": "identity", "Accept": "*/*"}


class _Reuse:
    """Whether one request went out on a connection that had served another."""

    __slots__ = ("seen",)

    def __init__(self) -> None:
        self.seen = False


class Response:
    """One answer whose head has arrived. Close it, unless it has been read to its end. Owned by one task."""

    __slots__ = ("_http", "_inner", "_open", "_url", "headers", "status")

    def __init__(self, http: Http, inner: aiohttp.ClientResponse, url: str) -> None:
        self.status: int = inner.status
        self.headers: Mapping[str, str] = inner.headers
        self._http = http
        self._inner = inner
        self._url = url
        self._open = True

    async def read(self) -> bytes:
        """The next piece, as soon as there is one; ``b""`` at the end, and once closed.

        Raises ``PenstockError`` (the connection is gone then): UPSTREAM_BROKEN when the body ends early,
        UPSTREAM_TIMEOUT when nothing came for ``read_timeout_s``.
        """
        if not self._open:
            return b""
        try:
            piece = await self._inner.content.readany()
        except (aiohttp.ClientError, OSError, TimeoutError) as exc:
            if not self._drop():
                return b""
            raise _translated(exc, self._url) from exc
        if not piece:
            self._done()
        return piece

    async def read_all(self, limit: int) -> bytes:
        """The whole body, of at most ``limit`` bytes; more raises UPSTREAM_GARBLED. Raises as ``read`` does."""
        pieces: list[bytes] = []
        size = 0
        while piece := await self.read():
            size += len(piece)
            if size > limit:
                self.close()
                raise PenstockError(
                    UPSTREAM_GARBLED,
                    f"{_where(self._url)} sent more than {limit} bytes in one answer; ask it for less",
                )
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def finish(self, within_s: float) -> None:
        """Reads away what is left, so that the connection can serve again, or drops it after ``within_s``.

        Never raises, except when cancelled; the connection is dropped then too.
        """
        try:
            async with asyncio.timeout(within_s):
                while await self.read():
                    pass
        except (TimeoutError, PenstockError):
            pass
        finally:
            self.close()

    def close(self) -> None:
        """Drops the connection at once unless the body is complete; the upstream sees it go. Idempotent.

        A ``read`` that waits in another task returns ``b""``.
        """
        self._drop()

    def _drop(self) -> bool:
        """Whether there was anything to drop."""
        if not self._open:
            return False
        connection = self._inner.connection
        if connection is not None and connection.transport is not None:
            # Without this, unsent bytes of the request would hold the connection open until they are taken.
            connection.transport.abort()
        self._inner.close()
        self._done()
        return True

    def _done(self) -> None:
        self._open = False
        self._http._left()


class Http:
    """A pool of connections with one set of timeouts. Used from one event loop; built outside of it if need be.

    ``connect_timeout_s`` bounds name, connection and TLS together; ``read_timeout_s`` every silence after that,
    the one before the head of the answer included. ``proxy`` is ``http://[user:password@]host:port``; the
    environment's proxies are not used. ``ca_file`` replaces the system's authorities. Neither cookies nor
    redirects are followed. Raises ``PenstockError`` (BAD_DEPLOYMENT) when ``ca_file`` cannot be read.
    """

    def __init__(
        self, *, connect_timeout_s: float, read_timeout_s: float, proxy: str | None = None, ca_file: str | None = None
    ) -> None:
        self._timeout = aiohttp.ClientTimeout(total=None, connect=connect_timeout_s, sock_read=read_timeout_s)
        self._proxy = proxy
        self._tls = True if ca_file is None else _authorities(ca_file)
        self._session: aiohttp.ClientSession | None = None
        self._running = 0
        self._closed = False
        self._closing: asyncio.Task[None] | None = None

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], connect_s: float | None = None
    ) -> Response:
        """Sends a JSON body and returns once the head of the answer has arrived, whatever its status.

        Sent again, on another connection, only if a pooled connection turns out to have been closed before a byte
        of an answer came. ``connect_s`` stands in for ``connect_timeout_s``. Raises ``PenstockError``:
        UPSTREAM_UNREACHABLE, UPSTREAM_BROKEN, UPSTREAM_TIMEOUT,
        UPSTREAM_GARBLED (not HTTP), STOPPING after ``aclose``.
        """
        timeout = self._timeout
        if connect_s is not None:
            timeout = aiohttp.ClientTimeout(total=None, connect=connect_s, sock_read=timeout.sock_read)
        merged = {"Content-Type": "application/json", **_DEFAULTS, **headers}
        while True:
            reuse = _Reuse()
            data = body if len(body) < _BYTES_AT_ONCE else io.BytesIO(body)
            loop = asyncio.get_running_loop()
            sent = loop.time()
            try:
                return await self._send("POST", url, merged, timeout, reuse, data)
            except _Stale as stale:
                if not reuse.seen or loop.time() - sent > _STALE_WITHIN_S:
                    raise stale.error from stale.error.__cause__

    async def get(self, url: str, headers: Mapping[str, str], timeout_s: float) -> Response:
        """As ``post``, without a body; ``timeout_s`` bounds the whole exchange, body included."""
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        try:
            return await self._send("GET", url, {**_DEFAULTS, **headers}, timeout, _Reuse(), None)
        except _Stale as stale:
            raise stale.error from stale.error.__cause__

    async def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        timeout: aiohttp.ClientTimeout,
        reuse: _Reuse,
        data: bytes | io.BytesIO | None,
    ) -> Response:
        session = self._opened()
        self._running += 1
        try:
            inner = await session.request(
                method,
                url,
                data=data,
                headers=headers,
                timeout=timeout,
                proxy=self._proxy,
                allow_redirects=False,
                trace_request_ctx=reuse,
            )
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as exc:
            self._left()
            error = _translated(exc, url)
            if isinstance(exc, (aiohttp.ServerDisconnectedError, ConnectionResetError, BrokenPipeError)):
                error.__cause__ = exc
                raise _Stale(error) from exc
            raise error from exc
        except BaseException:
            self._left()
            raise
        return Response(self, inner, url)

    def _opened(self) -> aiohttp.ClientSession:
        if self._closed:
            raise PenstockError(STOPPING, "This connection pool has been closed; send the request again")
        if self._session is None:
            trace = aiohttp.TraceConfig()
            trace.on_connection_reuseconn.append(_note_reuse)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=self._tls, keepalive_timeout=_IDLE_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                trace_configs=[trace],
            )
        return self._session

    def _left(self) -> None:
        self._running -= 1
        if self._closed and not self._running and self._session is not None and self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._session.close())

    async def aclose(self) -> None:
        """Refuses new requests and closes the pool: at once when no answer is running, else when the last one ends.

        Idempotent.
        """
        self._closed = True
        if not self._running and self._session is not None and self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._session.close())
        if self._closing is not None:
            await asyncio.shield(self._closing)


class _Stale(Exception):
    """The connection went before a byte of an answer; ``error`` is what that means if it was not a stale one."""

    def __init__(self, error: PenstockError) -> None:
        super().__init__()
        self.error = error


async def _note_reuse(
    _session: aiohttp.ClientSession, context: SimpleNamespace, _params: aiohttp.TraceConnectionReuseconnParams
) -> None:
    context.trace_request_ctx.seen = True


def _authorities(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as exc:
        raise PenstockError(
            BAD_DEPLOYMENT, f"ca_file {ca_file!r} cannot be used ({exc}); give a readable PEM file of certificates"
        ) from exc


def _where(url: str) -> str:
    """Scheme, host and port of a URL, for messages: without user, password, path or query."""
    try:
        return str(yarl.URL(url).origin())
    except ValueError:
        return "the upstream"


def _translated(exc: Exception, url: str) -> PenstockError:
    where = _where(url)
    for kinds, fault, text in _TABLE:
        if isinstance(exc, kinds):
            return PenstockError(fault, text.format(where=where, why=_reason(exc)))
    return PenstockError(UPSTREAM_BROKEN, f"The connection to {where} broke ({type(exc).__name__})")


def _reason(exc: BaseException) -> str:
    """What the operating system or TLS said, which is about addresses and certificates and never about secrets."""
    inner = exc.os_error if isinstance(exc, aiohttp.ClientConnectorError) else exc
    if isinstance(exc, aiohttp.ClientConnectorCertificateError):
        return str(exc.certificate_error)
    if isinstance(inner, ConnectionRefusedError):
        return "connection refused"
    if isinstance(inner, OSError) and inner.strerror:
        return inner.strerror
    return type(inner).__name__


# First match wins: subclasses stand before their bases.
_TABLE: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], Fault, str], ...] = (
    (
        aiohttp.ConnectionTimeoutError,
        UPSTREAM_TIMEOUT,
        "{where} gave no connection in time; check that it is up, or raise connect_timeout_s",
    ),
    (TimeoutError, UPSTREAM_TIMEOUT, "{where} was silent for too long; check its load, or raise timeout_s"),
    (
        (aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError),
        UPSTREAM_UNREACHABLE,
        "The proxy on the way to {where} refused or cannot be reached ({why}); check proxy",
    ),
    (
        aiohttp.ClientConnectorDNSError,
        UPSTREAM_UNREACHABLE,
        "The host of {where} has no address ({why}); check base_url and the name server",
    ),
    (
        aiohttp.ClientConnectorCertificateError,
        UPSTREAM_UNREACHABLE,
        "The certificate of {where} is not trusted ({why}); set ca_file to the authority that signed it",
    ),
    (
        aiohttp.ClientSSLError,
        UPSTREAM_UNREACHABLE,
        "{where} does not speak TLS as we do ({why}); check that base_url has the right scheme and port",
    ),
    (
        aiohttp.ClientConnectorError,
        UPSTREAM_UNREACHABLE,
        "{where} cannot be reached ({why}); check that it is up and that base_url is right",
    ),
    (
        aiohttp.ClientResponseError,
        UPSTREAM_GARBLED,
        "{where} answered with something that is not HTTP; check that base_url has the right scheme and port",
    ),
    (
        (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError, ValueError),
        UPSTREAM_UNREACHABLE,
        "{where} cannot be asked: its URL or one of its headers is malformed; check base_url, api_key and headers",
    ),
    (aiohttp.ClientPayloadError, UPSTREAM_BROKEN, "{where} closed the connection in the middle of its answer"),
    (aiohttp.ServerDisconnectedError, UPSTREAM_BROKEN, "{where} closed the connection without an answer"),
)
