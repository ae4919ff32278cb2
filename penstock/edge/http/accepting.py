"""Taking connections in, in one loop beside others that share the socket, and what is done when there are too many.

The loop's own servers are not used: libuv closes what it has no file descriptor for without a word.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import resource
import socket
import ssl
from collections.abc import Callable

from penstock.core.errors import OUT_OF_RESOURCES, PenstockError, envelope
from penstock.edge.http.listening import Listening
from penstock.edge.http.secure import SecureTransport

_log = logging.getLogger("penstock.edge")

_BACKLOG = 2048
# Taken in at once, so that workers which share a socket share what comes.
_AT_ONCE = 8
_AT_THE_END = 4096
# At a limit of the machine: how long it is before the next try, and how often it is said.
_PAUSE_S = 0.1
_SAID_EVERY_S = 10.0
_HANDSHAKE_S = 10.0
# The kernel takes only so much that it cannot send yet: else a slow client is served from megabytes of its, and for
# the better part of a minute does not seem to take a byte of ours.
_UNSENT = 128 << 10
_LIMITS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Accepting:
    """Owns the socket. ``tls`` gives the context of a new connection, None for one without."""

    def __init__(
        self,
        sock: socket.socket,
        listening: Listening,
        protocol: Callable[[], asyncio.Protocol],
        tls: Callable[[], ssl.SSLContext | None],
    ) -> None:
        self._sock = sock
        self._listening = listening
        self._protocol = protocol
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[None]] = set()
        self._paused: asyncio.TimerHandle | None = None
        self._silent_until = 0.0
        self._open = False

    def open(self) -> None:
        """Raises ``OSError`` when the socket cannot listen."""
        sock = self._sock
        sock.setblocking(False)
        sock.listen(_BACKLOG)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            # Both are inherited by what is accepted.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if hasattr(socket, "TCP_NOTSENT_LOWAT"):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)
        self._open = True
        self._loop.add_reader(sock, self._accept)

    def close(self) -> None:
        """Takes in who waits already, then closes the socket. Idempotent."""
        if not self._open:
            return
        self._open = False
        if self._paused is None:
            self._loop.remove_reader(self._sock)
            self._accept(_AT_THE_END)
        if self._paused is not None:
            self._paused.cancel()
        self._sock.close()

    async def aclose(self) -> None:
        """Closes, and gives up on handshakes."""
        self.close()
        for task in self._opening:
            task.cancel()
        if self._opening:
            await asyncio.wait(self._opening)

    def _accept(self, most: int = _AT_ONCE) -> None:
        for _ in range(most):
            try:
                sock, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _LIMITS:
                    self._pause(error)
                    return
                # The client has gone again.
                continue
            if self._listening.connections >= self._listening.max_connections:
                self._refuse(sock)
                continue
            task = self._loop.create_task(self._connect(sock))
            self._opening.add(task)
            self._listening.opening += 1
            task.add_done_callback(self._opened)

    def _opened(self, task: asyncio.Task[None]) -> None:
        self._opening.discard(task)
        self._listening.opening -= 1

    async def _connect(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        context = self._tls()
        try:
            if context is None:
                await self._loop.connect_accepted_socket(self._protocol, sock)
            else:
                await self._secure(sock, context)
        except OSError as error:
            # A handshake that failed, or a client that has gone.
            _log.debug("a connection did not open: %s", error)
            sock.close()

    async def _secure(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        secured = SecureTransport(context, self._protocol)
        await self._loop.connect_accepted_socket(lambda: secured, sock)
        try:
            async with asyncio.timeout(_HANDSHAKE_S):
                await secured.opened
        except (TimeoutError, asyncio.CancelledError):
            secured.abort()
            raise

    def _pause(self, error: OSError) -> None:
        if self._open:
            self._loop.remove_reader(self._sock)
            self._paused = self._loop.call_later(_PAUSE_S, self._resume)
        now = self._loop.time()
        if now >= self._silent_until:
            self._silent_until = now + _SAID_EVERY_S
            _log.error(
                "no connection can be accepted: %s (the limit of open files is %d; %d connections are open). "
                "Raise it, with 'ulimit -n' or systemd's LimitNOFILE, or lower 'server: max_connections'.",
                error.strerror,
                resource.getrlimit(resource.RLIMIT_NOFILE)[0],
                self._listening.connections,
            )

    def _resume(self) -> None:
        self._paused = None
        self._loop.add_reader(self._sock, self._accept)
        self._accept()

    def _refuse(self, sock: socket.socket) -> None:
        self._listening.cut("limit")
        with sock:
            if self._tls() is not None:
                return
            body = envelope(
                PenstockError(
                    OUT_OF_RESOURCES,
                    "The gateway has as many connections as it takes. Close some, try again in a moment, or raise "
                    "'server: max_connections' in the deployment file.",
                )
            )
            head = (
                b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
                b"retry-after: 1\r\nconnection: close\r\n\r\n"
            )
            sock.setblocking(False)
            try:
                sock.send(head % len(body) + body)
                sock.shutdown(socket.SHUT_WR)
            except OSError as error:
                _log.debug("a refused client has gone: %s", error)
