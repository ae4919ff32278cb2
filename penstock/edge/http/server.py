"""Serving the application over a listening socket that somebody else has bound, until told to stop."""

from __future__ import annotations

import asyncio
import socket

from penstock.edge.http.accepting import Accepting
from penstock.edge.http.app import App
from penstock.edge.http.config import Drain, ServerSettings
from penstock.edge.http.listening import Listening, Patience
from penstock.edge.http.opening import Opening
from penstock.edge.http.tls import Certificates


async def serve(
    app: App,
    sock: socket.socket,
    *,
    stop: asyncio.Future[Drain],
    settings: ServerSettings,
    patience: Patience | None = None,
) -> None:
    """Serves in the running loop until ``stop`` has a result. Takes the socket over and closes it; leaves signals
    alone.

    After ``stop`` the gateway is not ready for ``announce_s`` seconds: it still answers all that comes, and tells its
    clients to close their connections. Then none are accepted, those without a request are closed, and requests in
    progress have ``limit_s`` seconds to end. What still runs a second before is broken off and told so. When this is
    cancelled there is no time for anybody. Raises ``OSError`` when the socket cannot listen, and
    ``PenstockError(CANNOT_START)`` when the certificate cannot be used.
    """
    certificates = None if settings.tls is None else Certificates(settings.tls)
    patience = patience or Patience(heartbeat_s=settings.heartbeat_s)
    if settings.cors is not None:
        app.sockets.origins = frozenset(origin.lower() for origin in settings.cors.origins)
    listening = Listening(app, settings=settings, patience=patience, meter=app.meter, sockets=app.sockets)
    accepting = Accepting(
        sock,
        listening,
        lambda: Opening(listening),
        lambda: None if certificates is None else certificates.context,
    )
    watching = None if certificates is None else asyncio.create_task(certificates.watch(patience.sweep_s))
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
        if watching is not None:
            watching.cancel()
            await asyncio.wait((watching,))
        await accepting.aclose()
        await listening.aclose()
