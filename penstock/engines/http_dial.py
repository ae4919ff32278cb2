"""The way to an upstream: where a URL leads, TLS, proxies, and what it means when there is no way."""

from __future__ import annotations

import asyncio
import base64
import functools
import socket
import ssl
import urllib.parse

import msgspec

from penstock.core.errors import (
    BAD_DEPLOYMENT,
    UPSTREAM_TIMEOUT,
    UPSTREAM_UNREACHABLE,
    PenstockError,
)
from penstock.engines.http_addresses import Resolver, connected
from penstock.engines.http_wire import Connection

_PORTS = {"http": 80, "https": 443}


class Target(msgspec.Struct, frozen=True):
    """Where one URL leads. ``origin`` is its scheme, host and port; ``path`` what the request line asks for.

    ``login`` is the value of an ``Authorization`` header, for a URL with a user in it.
    """

    origin: str
    host: str
    port: int
    tls: bool
    path: str
    host_header: str
    login: str = ""

    def __repr__(self) -> str:
        return f"Target({self.origin!r})"


@functools.lru_cache(1024)
def target(url: str) -> Target:
    """Raises ``PenstockError(UPSTREAM_UNREACHABLE)`` for a URL that leads nowhere, which is not repeated."""
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = (parts.hostname or "").encode("idna").decode(), parts.port
        if parts.scheme not in _PORTS or not host or any(ord(letter) <= 32 for letter in url):
            raise ValueError("not an http URL")
    except ValueError:
        raise malformed("the upstream") from None
    shown = f"[{host}]" if ":" in host else host
    if port is not None and port != _PORTS[parts.scheme]:
        shown = f"{shown}:{port}"
    path = urllib.parse.quote(parts.path or "/", safe="/:@!$&'()*+,;=~%") + (f"?{parts.query}" if parts.query else "")
    return Target(
        origin=f"{parts.scheme}://{shown}",
        host=host,
        port=port or _PORTS[parts.scheme],
        tls=parts.scheme == "https",
        path=path,
        host_header=shown,
        login=_basic(parts) if parts.username is not None else "",
    )


def malformed(where: str) -> PenstockError:
    """What is said of a request that cannot be written at all."""
    return PenstockError(
        UPSTREAM_UNREACHABLE,
        f"{where} cannot be asked: its URL or one of its headers is malformed; check base_url, api_key and headers",
    )


class Dialer:
    """Makes connections with one set of authorities, through a proxy if there is one.

    ``proxy`` is ``http://[user:password@]host:port``; ``resolve`` is asked for each connection. Raises
    ``PenstockError`` (BAD_DEPLOYMENT) when ``ca_file`` cannot be read, and for a proxy that is no such URL.
    """

    def __init__(self, proxy: str | None, ca_file: str | None, resolve: Resolver) -> None:
        self._resolve = resolve
        self._proxy = None if proxy is None else _proxy(proxy)
        self._tls = None if ca_file is None else _authorities(ca_file)

    def request_line(self, to: Target) -> tuple[str, str]:
        """What the request line asks for on the way to ``to``, and a header line that the proxy wants, or nothing."""
        if self._proxy is None or to.tls:
            return to.path, ""
        return to.origin + to.path, _proxy_login(self._proxy)

    async def dial(self, to: Target, within_s: float) -> Connection:
        """A connection on which requests may be sent. The name is looked up anew, and its addresses tried.

        Raises ``PenstockError``: UPSTREAM_UNREACHABLE, UPSTREAM_TIMEOUT.
        """
        try:
            async with asyncio.timeout(within_s):
                return await (self._direct(to) if self._proxy is None else self._through(self._proxy, to))
        except TimeoutError:
            raise PenstockError(
                UPSTREAM_TIMEOUT,
                f"{to.origin} gave no connection in time; check that it is up, or raise connect_timeout_s",
            ) from None
        except (OSError, ssl.SSLError, ValueError) as error:
            raise _translated(error, to, self._proxy) from error

    async def _direct(self, to: Target) -> Connection:
        loop = asyncio.get_running_loop()
        make = functools.partial(Connection, to.origin, loop)
        sock = await self._reached(to)
        if not to.tls:
            return (await loop.create_connection(make, sock=sock))[1]
        return (await loop.create_connection(make, sock=sock, ssl=self._context(), server_hostname=to.host))[1]

    async def _reached(self, to: Target) -> socket.socket:
        return await connected(await self._resolve(to.host, to.port))

    async def _through(self, proxy: Target, to: Target) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            transport, connection = await loop.create_connection(
                functools.partial(Connection, proxy.origin, loop), sock=await self._reached(proxy)
            )
        except OSError as error:
            raise _ProxyError(_reason(error)) from error
        if not to.tls:
            connection.where = to.origin
            return connection
        try:
            wanted = f"{to.host}:{to.port}"
            lines = f"CONNECT {wanted} HTTP/1.1\r\nHost: {wanted}\r\n{_proxy_login(proxy)}\r\n"
            # Longer than any limit on connecting, which is what ends the wait.
            connection.begin(86_400.0)
            connection.send(lines.encode("latin-1"), b"")
            try:
                await connection.head()
            except PenstockError as error:
                raise _ProxyError(error.message) from error
            if connection.status != 200:
                raise _ProxyError(f"it answered {connection.status}")
            connection.end()
            inner = Connection(to.origin, loop)
            secured = await loop.start_tls(transport, inner, self._context(), server_hostname=to.host)
            assert secured is not None
            inner.connection_made(secured)
        except BaseException:
            transport.abort()
            raise
        return inner

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls


class _ProxyError(OSError):
    """The proxy is to blame; its text says for what."""


def _proxy(url: str) -> Target:
    try:
        return target(url)
    except PenstockError:
        raise PenstockError(
            BAD_DEPLOYMENT, "proxy is no URL; write it as http://host:port, or http://user:password@host:port"
        ) from None


def _proxy_login(proxy: Target) -> str:
    return f"Proxy-Authorization: {proxy.login}\r\n" if proxy.login else ""


def _basic(parts: urllib.parse.SplitResult) -> str:
    user, password = urllib.parse.unquote(parts.username or ""), urllib.parse.unquote(parts.password or "")
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _authorities(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as exc:
        raise PenstockError(
            BAD_DEPLOYMENT, f"ca_file {ca_file!r} cannot be used ({exc}); give a readable PEM file of certificates"
        ) from exc


def _translated(error: Exception, to: Target, proxy: Target | None) -> PenstockError:
    why = _reason(error)
    if isinstance(error, _ProxyError):
        text = f"The proxy on the way to {to.origin} refused or cannot be reached ({error}); check proxy"
    elif isinstance(error, socket.gaierror):
        text = f"The host of {to.origin} has no address ({why}); check base_url and the name server"
    elif isinstance(error, ssl.SSLCertVerificationError):
        text = f"The certificate of {to.origin} is not trusted ({why}); set ca_file to the authority that signed it"
    elif isinstance(error, ssl.SSLError) or (to.tls and isinstance(error, ConnectionResetError)):
        text = f"{to.origin} does not speak TLS as we do ({why}); check that base_url has the right scheme and port"
    elif isinstance(error, OSError):
        text = f"{to.origin} cannot be reached ({why}); check that it is up and that base_url is right"
    else:
        return malformed(to.origin)
    return PenstockError(UPSTREAM_UNREACHABLE, text)


def _reason(error: Exception) -> str:
    """What the operating system or TLS said, which is about addresses and certificates and never about secrets."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__
