"""Serving an ASGI application over a listening socket that somebody else has bound."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator

import uvicorn

from penstock.edge.http.app import App
from penstock.edge.http.connection import Connection

_SWEEP_S = 5.0
_KEEP_ALIVE_S = 75
_CANCELLED_WITHIN_S = 5.0


async def serve(app: App, sock: socket.socket, *, stop: asyncio.Event, grace_s: int = 30) -> None:
    """Serves in the running loop until ``stop`` is set. Takes the socket over and closes it. Leaves signals alone.

    After ``stop`` no connection is accepted; requests in progress have ``grace_s`` seconds to end, then they are
    cancelled, told so, and awaited. When this is cancelled they get no grace. Raises ``OSError`` when the socket
    cannot listen.
    """
    server = _Server(
        uvicorn.Config(
            app,
            http=Connection,
            ws="none",
            interface="asgi3",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=grace_s,
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    stopping = asyncio.create_task(stop.wait())
    sweeping = asyncio.create_task(_sweep(server))
    try:
        await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await asyncio.wait((serving,))
    finally:
        server.should_exit = True
        if not serving.done():
            server.config.timeout_graceful_shutdown = 0
            await asyncio.wait((serving,))
        for task in (stopping, sweeping):
            task.cancel()
        if rest := [stopping, sweeping, *server.server_state.tasks]:
            await asyncio.wait(rest, timeout=_CANCELLED_WITHIN_S)
    serving.result()


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _sweep(server: uvicorn.Server) -> None:
    while True:
        await asyncio.sleep(_SWEEP_S)
        now = time.monotonic()
        for connection in list(server.server_state.connections):
            if isinstance(connection, Connection) and connection.overdue(now):
                connection.let_go()
