"""Serving the application over a listening socket that somebody else has bound, until told to stop."""

from __future__ import annotations

import asyncio
import socket

from penstock.edge.http.accepting import Accepting
from penstock.edge.http.app import App
from penstock.edge.http.config import Drain, ServerSettings
from penstock.edge.http.http1 import Http1Connection
from penstock.edge.http.listening import Listening, Patience


async def serve(
    app: App,
    sock: socket.socket,
    *,
    stop: asyncio.Future[Drain],
    settings: ServerSettings,
    patience: Patience | None = None,
    max_connections: int = 10_000,
) -> None:
    """Serves in the running loop until ``stop`` has a result. Takes the socket over and closes it; leaves signals
    alone.

    After ``stop`` the gateway is not ready for ``announce_s`` seconds: it still answers all that comes, and tells its
    clients to close their connections. Then none are accepted, those without a request are closed, and requests in
    progress have ``limit_s`` seconds to end. What still runs a second before is broken off and told so. When this is
    cancelled there is no time for anybody. Raises ``OSError`` when the socket cannot listen.
    """
    patience = patience or Patience(heartbeat_s=settings.heartbeat_s)
    listening = Listening(
        app, patience=patience, meter=app.meter, sockets=app.sockets, max_connections=max_connections
    )
    accepting = Accepting(sock, listening, lambda: Http1Connection(listening), lambda: None)
    app.listening = listening
    try:
        accepting.open()
        drain = await asyncio.shield(stop)
        app.draining = listening.closing = True
        await asyncio.sleep(drain.announce_s)
        accepting.close()
        app.sockets.drain()
        await listening.finish(drain.limit_s)
    finally:
        app.draining = listening.closing = True
        await accepting.aclose()
        await listening.aclose()
