"""The one pump: from a reply's chunks to the client's socket, whatever the dialect.

A stream's status line waits for the first chunk, so that a failure before it has a status of its own; when nothing
has come for a heartbeat's time, 200 goes out with the first heartbeat, and a later failure is an event.
"""

from __future__ import annotations

import asyncio
import logging

from penstock.core.errors import INTERNAL, STOPPING, UPSTREAM_BROKEN, PenstockError
from penstock.edge.http.asgi import Headers
from penstock.edge.http.dialects import Asked
from penstock.edge.http.exchange import Exchange
from penstock.gateway.chat import Gateway
from penstock.gateway.reply import Reply
from penstock.gateway.snapshot import Admission

_log = logging.getLogger("penstock.edge")

_PING = b": ping\n\n"


def stopping() -> PenstockError:
    """What a request is told that outlived the time a stopping gateway gives."""
    return PenstockError(STOPPING, "The gateway is stopping. Send the request again in a moment.", retry_after=1.0)


def unexpected(request_id: str) -> PenstockError:
    """What a client is told of a fault of ours; what it was is in the log alone."""
    return PenstockError(
        INTERNAL, f"The gateway failed at this request. Its log tells more under the request id {request_id}."
    )


async def pump_whole(exchange: Exchange, gateway: Gateway, asked: Asked, admission: Admission) -> None:
    """Answers in one piece. Raises ``PenstockError`` while nothing has been sent."""
    reply = await gateway.chat(asked.call, admission)
    answer = b""
    try:
        while chunks := await reply.read():
            answer = chunks[-1]
    finally:
        await reply.aclose()
        exchange.summary = reply.summary
    if not answer:
        raise PenstockError(UPSTREAM_BROKEN, "The engine ended its answer before it had said anything.")
    await exchange.reply(200, asked.wire.whole(answer), _extra(reply))


async def pump_stream(
    exchange: Exchange, gateway: Gateway, asked: Asked, admission: Admission, heartbeat_s: float
) -> None:
    """Answers in server-sent events, each read's chunks in one send.

    Raises ``PenstockError``, and anything unexpected, only while nothing has been sent.
    """
    wire = asked.wire
    heart = Heart(exchange, heartbeat_s)
    reply: Reply | None = None
    try:
        reply = await gateway.chat(asked.call, admission)
        if not exchange.started:
            await start_stream(exchange, _extra(reply))
        while chunks := await reply.read():
            if events := wire.chunks(chunks):
                await exchange.write(events)
        last = wire.end()
    except PenstockError as error:
        if not exchange.started:
            raise
        last = _told(exchange, asked, error)
    except asyncio.CancelledError:
        if exchange.gone or not exchange.started:
            raise
        last = _told(exchange, asked, stopping())
    except Exception:
        if not exchange.started:
            raise
        _log.exception("request %s failed in mid-stream", exchange.request_id)
        last = _told(exchange, asked, unexpected(exchange.request_id))
    finally:
        # What the reply settles is on record before the client sees its last byte.
        await heart.stop()
        if reply is not None:
            await reply.aclose()
            exchange.summary = reply.summary
    await exchange.write(last, more=False)


async def start_stream(exchange: Exchange, extra: Headers) -> None:
    """Sends the status line and headers of a stream of events; ``x-accel-buffering`` keeps nginx from holding it."""
    await exchange.start(
        200,
        [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),
            *extra,
        ],
    )


class Heart:
    """Sends a comment whenever a stream has been silent for ``every_s`` seconds; costs the chunks nothing.

    One timer per stream looks when the silence could have become too long, not at every chunk.
    """

    __slots__ = ("_every_s", "_exchange", "_loop", "_ping", "_timer")

    def __init__(self, exchange: Exchange, every_s: float) -> None:
        self._exchange = exchange
        self._every_s = every_s
        self._loop = asyncio.get_running_loop()
        self._ping: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(every_s, self._beat)

    def _beat(self) -> None:
        wait = self._exchange.sent_at + self._every_s - self._loop.time()
        if wait <= 0.001:
            wait = self._every_s
            # A ping that still waits for a slow reader is enough.
            if self._ping is None or self._ping.done():
                self._ping = self._loop.create_task(self._send())
        self._timer = self._loop.call_later(wait, self._beat)

    async def _send(self) -> None:
        if not self._exchange.started:
            await start_stream(self._exchange, [])
        await self._exchange.write(_PING)

    async def stop(self) -> None:
        """Idempotent. No heartbeat goes out after it."""
        self._timer.cancel()
        if self._ping is not None and not self._ping.done():
            self._ping.cancel()
            await asyncio.wait((self._ping,))


def _told(exchange: Exchange, asked: Asked, error: PenstockError) -> bytes:
    exchange.code = error.fault.code
    return asked.wire.failure(error)


def _extra(reply: Reply) -> Headers:
    return [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in reply.headers.items()]
