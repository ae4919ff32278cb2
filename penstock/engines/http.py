"""The transport of every engine that is reached over HTTP: pooled connections, pieces as they arrive, our errors.

Our own because it is in the way of every request: ``benchmarks/upstream_client.py`` measures it beside aiohttp, which
costs several times as much; a trial with the Rust client pyreqwest left 4,400 requests/s where this kind left 7,500.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Callable, Iterator, Mapping

import msgspec

from penstock.core.errors import STOPPING, UPSTREAM_BROKEN, UPSTREAM_GARBLED, PenstockError
from penstock.engines.http_addresses import Resolver, looked_up
from penstock.engines.http_dial import Dialer, Target, malformed, target
from penstock.engines.http_wire import Connection

_STALE_WITHIN_S = 1.0
"""A pooled connection that its server had closed says so within a round trip; later, work may have begun."""
_IDLE_S = 30.0
_OLDEST_S = 270.0
"""Connections are made anew after this long, so that a name that has moved is followed: they are looked through often
enough that none begins an exchange when it is older than 5 minutes."""
_DEFAULTS = {"content-type": "application/json", "user-agent": "penstock", "accept-encoding": "identity"}
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")


class Prepared(msgspec.Struct, frozen=True):
    """Requests of one kind, rendered as far as they are alike; made by ``Http.prepared`` and used with that pool.

    ``named`` says that ``head`` has an ``X-Request-Id``.
    """

    to: Target
    head: bytes
    named: bool

    def __repr__(self) -> str:
        # The head holds keys.
        return f"Prepared({self.to!r})"


class Headers(Mapping[str, str]):
    """The headers of an answer; names in any case. Of a name that occurs twice, the first."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Mapping[bytes, bytes]) -> None:
        self._fields = fields

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower().encode("latin-1")].decode("latin-1")

    def __iter__(self) -> Iterator[str]:
        return (name.decode("latin-1") for name in self._fields)

    def __len__(self) -> int:
        return len(self._fields)


class Response:
    """One answer whose head has arrived. Close it, unless it has been read to its end. Owned by one task."""

    __slots__ = ("_connection", "_fields", "_http", "_inflate", "_key", "status")

    def __init__(self, http: Http, connection: Connection, key: str) -> None:
        self.status = connection.status
        self._fields = connection.fields
        self._http = http
        self._key = key
        self._connection: Connection | None = connection
        self._inflate = _inflating(connection.fields) if b"content-encoding" in connection.fields else None

    @property
    def headers(self) -> Mapping[str, str]:
        return Headers(self._fields)

    @property
    def content_type(self) -> bytes:
        """As it was sent; empty if it was not."""
        return self._fields.get(b"content-type", b"")

    async def read(self) -> bytes:
        """The next piece, as soon as there is one; ``b""`` at the end, and once closed.

        Raises ``PenstockError`` (the connection is gone then): UPSTREAM_BROKEN when the body ends early,
        UPSTREAM_TIMEOUT when nothing came for ``read_timeout_s``, UPSTREAM_GARBLED when it stops being HTTP.
        """
        while (connection := self._connection) is not None:
            if connection.pieces:
                piece = connection.taken()
                if self._inflate is not None:
                    piece = self._inflated(piece)
                if piece:
                    return piece
            elif connection.complete:
                self._connection = None
                self._http._back(connection, self._key)
            elif connection.error is not None:
                self._drop()
                raise connection.error
            elif connection.lost:
                self._drop()
            else:
                await connection.arrival()
        return b""

    async def pour(self, take: Callable[[bytes], bool]) -> None:
        """Hands pieces to ``take`` the moment they come. Returns when that has given back False, or when ``read`` has
        something to tell. Raises what ``take`` raises."""
        if self._connection is not None and self._inflate is None:
            await self._connection.pour(take)

    async def read_all(self, limit: int) -> bytes:
        """The whole body, of at most ``limit`` bytes; more raises UPSTREAM_GARBLED. Raises as ``read`` does."""
        connection = self._connection
        if connection is not None and connection.complete and self._inflate is None and connection.held <= limit:
            # All of it has come with the head, as most replies do.
            body = connection.taken()
            self._connection = None
            self._http._back(connection, self._key)
            return body
        pieces: list[bytes] = []
        size = 0
        while piece := await self.read():
            size += len(piece)
            if size > limit:
                where = self._connection.where if self._connection is not None else "The upstream"
                self.close()
                raise PenstockError(
                    UPSTREAM_GARBLED, f"{where} sent more than {limit} bytes in one answer; ask it for less"
                )
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def finish(self, within_s: float) -> None:
        """Reads away what is left, so that the connection can serve again, or drops it after ``within_s``.

        Never raises, except when cancelled; the connection is dropped then too.
        """
        connection = self._connection
        if connection is None:
            return
        if connection.complete:
            # All of it has come: nothing to wait for.
            connection.pieces.clear()
            self._connection = None
            self._http._back(connection, self._key)
            return
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

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if connection.complete and not connection.pieces:
            self._http._back(connection, self._key)
        else:
            connection.abort()
            self._http._gone(connection)

    def _inflated(self, piece: bytes) -> bytes:
        assert self._inflate is not None
        try:
            return self._inflate.decompress(piece)
        except zlib.error as error:
            where = self._connection.where if self._connection is not None else "The upstream"
            self._drop()
            raise PenstockError(UPSTREAM_BROKEN, f"{where} sent a body that cannot be unpacked") from error


class Http:
    """A pool of connections with one set of timeouts. Used from one event loop; built outside of it if need be.

    ``connect_timeout_s`` bounds name, connection and TLS together; ``read_timeout_s`` every silence after that,
    the one before the head of the answer included. ``proxy`` is ``http://[user:password@]host:port``; the
    environment's proxies are not used. ``ca_file`` replaces the system's authorities, ``resolve`` its name service.
    Neither cookies nor redirects are followed. Raises ``PenstockError`` (BAD_DEPLOYMENT) when ``ca_file`` cannot be
    read.
    """

    def __init__(
        self,
        *,
        connect_timeout_s: float,
        read_timeout_s: float,
        proxy: str | None = None,
        ca_file: str | None = None,
        resolve: Resolver = looked_up,
    ) -> None:
        self._connect_s = connect_timeout_s
        self._read_s = read_timeout_s
        self._dialer = Dialer(proxy, ca_file, resolve)
        self._idle: dict[str, list[Connection]] = {}
        self._used: set[Connection] = set()
        self._closed = False
        self._sweeper: asyncio.TimerHandle | None = None

    @property
    def sockets(self) -> int:
        """Connections on which an exchange is running."""
        return len(self._used)

    @property
    def idle_sockets(self) -> int:
        """Connections that wait for one."""
        return sum(not connection.lost for idle in self._idle.values() for connection in idle)

    def prepared(self, method: str, url: str, headers: Mapping[str, str] | None = None) -> Prepared:
        """What ``post`` and ``get`` are given. Of ``headers``, those that we would send ourselves replace ours.

        Raises ``PenstockError`` (UPSTREAM_UNREACHABLE), which repeats no secret, for what cannot be sent.
        """
        to, headers = target(url), headers or {}
        asked, login = self._dialer.request_line(to)
        ours = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        if ours.count("\n") != len(headers) or ours.count("\r") != len(headers) or "\0" in ours:
            raise malformed(to.origin)
        if not all(map(_TOKEN.match, headers)):
            raise malformed(to.origin)
        names = {name.lower() for name in headers}
        defaults = "".join(f"{name}: {value}\r\n" for name, value in _DEFAULTS.items() if name not in names)
        if to.login and "authorization" not in names:
            login += f"Authorization: {to.login}\r\n"
        lines = f"{method} {asked} HTTP/1.1\r\nHost: {to.host_header}\r\n{defaults}{ours}{login}"
        return Prepared(to, lines.encode(), "x-request-id" in names)

    async def post(
        self,
        prepared: Prepared,
        body: bytes,
        *,
        request_id: str = "",
        connect_s: float | None = None,
        lines: bytes = b"",
    ) -> Response:
        """Sends a JSON body and returns once the head of the answer has arrived, whatever its status.

        ``request_id`` travels as ``X-Request-Id``, ``lines`` are sound header lines, each with its CRLF. Sent again,
        on another connection, only if a pooled connection turns out to have been closed before a byte of an answer
        came. ``connect_s`` stands in for ``connect_timeout_s``. Raises ``PenstockError``: UPSTREAM_UNREACHABLE,
        UPSTREAM_BROKEN, UPSTREAM_TIMEOUT, UPSTREAM_GARBLED (not HTTP), STOPPING after ``aclose``.
        """
        to = prepared.to
        if not request_id or prepared.named:
            head = b"%b%bContent-Length: %d\r\n\r\n" % (prepared.head, lines, len(body))
        elif request_id.isascii() and request_id.isprintable():
            name = request_id.encode()
            head = b"%b%bX-Request-Id: %b\r\nContent-Length: %d\r\n\r\n" % (prepared.head, lines, name, len(body))
        else:
            raise malformed(to.origin)
        if self._closed:
            raise _closed()
        while True:
            connection = self._pooled(to.origin)
            fresh = connection is None
            if connection is None:
                connection = await self._dialled(to, connect_s)
            connection.begin(self._read_s)
            began = connection.since
            self._used.add(connection)
            connection.send(head, body)
            try:
                await connection.head()
            except PenstockError as error:
                self._undone(connection)
                quick = asyncio.get_running_loop().time() - began <= _STALE_WITHIN_S
                if fresh or connection.answered or error.fault is not UPSTREAM_BROKEN or not quick:
                    raise
            except BaseException:
                self._undone(connection)
                raise
            else:
                return Response(self, connection, to.origin)

    async def get(self, prepared: Prepared, timeout_s: float) -> Response:
        """As ``post``, without a body and on a connection of its own; ``timeout_s`` bounds the whole exchange, body
        included."""
        if self._closed:
            raise _closed()
        to = prepared.to
        connection = await self._dialled(to, timeout_s)
        connection.begin(timeout_s, timeout_s)
        self._used.add(connection)
        connection.send(prepared.head + b"\r\n", b"")
        try:
            await connection.head()
        except BaseException:
            self._undone(connection)
            raise
        return Response(self, connection, to.origin)

    async def aclose(self) -> None:
        """Refuses new requests and closes the connections: idle ones at once, others when their answer ends.

        Idempotent.
        """
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for idle in self._idle.values():
            for connection in idle:
                connection.transport.abort()
        self._idle.clear()

    def _pooled(self, key: str) -> Connection | None:
        idle = self._idle.get(key)
        while idle:
            connection = idle.pop()
            if not connection.lost and not connection.transport.is_closing():
                return connection
        return None

    async def _dialled(self, to: Target, within_s: float | None) -> Connection:
        connection = await self._dialer.dial(to, self._connect_s if within_s is None else within_s)
        if self._closed:
            connection.transport.abort()
            raise _closed()
        return connection

    def _undone(self, connection: Connection) -> None:
        connection.abort()
        self._used.discard(connection)

    def _gone(self, connection: Connection) -> None:
        self._used.discard(connection)

    def _back(self, connection: Connection, key: str) -> None:
        self._used.discard(connection)
        connection.end()
        now = connection.since
        if not connection.reusable or self._closed or now - connection.born > _OLDEST_S:
            connection.transport.abort()
            return
        connection.idle_since = now
        idle = self._idle.get(key)
        if idle is None:
            self._idle[key] = [connection]
        else:
            idle.append(connection)
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(_IDLE_S / 2, self._sweep)

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        since, born = loop.time() - _IDLE_S, loop.time() - _OLDEST_S
        for key, idle in list(self._idle.items()):
            kept: list[Connection] = []
            for connection in idle:
                if connection.idle_since <= since or connection.born < born:
                    connection.transport.abort()
                elif not connection.lost:
                    kept.append(connection)
            if kept:
                self._idle[key] = kept
            else:
                del self._idle[key]
        self._sweeper = loop.call_later(_IDLE_S / 2, self._sweep) if self._idle else None


def _closed() -> PenstockError:
    return PenstockError(STOPPING, "This connection pool has been closed; send the request again")


def _inflating(fields: Mapping[bytes, bytes]) -> zlib._Decompress | None:
    """For the two codings that servers use unasked; anything else is left as it came."""
    coding = fields[b"content-encoding"].strip().lower()
    return zlib.decompressobj(zlib.MAX_WBITS | 32) if coding in (b"gzip", b"x-gzip", b"deflate") else None
