"""The one pump: from a reply's chunks to the client's socket, whatever the dialect.

A stream's status line waits for the first chunk, so that a failure before it has a status of its own; when nothing
has come for a heartbeat's time, 200 goes out with the first heartbeat, and a later failure is an event.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from penstock.core.errors import INTERNAL, STOPPING, UPSTREAM_BROKEN, PenstockError
from penstock.core.money import dollars
from penstock.core.policy import Terms
from penstock.edge.http.dialects import Asked
from penstock.edge.http.exchange import Exchange, Headers, encoded
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


async def pump_whole(exchange: Exchange, gateway: Gateway, asked: Asked, admission: Admission, terms: Terms) -> None:
    """Answers in one piece. Raises ``PenstockError`` while nothing has been sent."""
    reply = await gateway.chat(asked.call, admission, terms)
    answer = b""
    try:
        while chunks := await reply.read():
            answer = chunks[-1]
    finally:
        await _closed(reply, exchange)
    if not answer:
        raise PenstockError(UPSTREAM_BROKEN, "The engine ended its answer before it had said anything.")
    headers = encoded(reply.headers.items())
    if reply.summary is not None:
        headers.append((b"x-penstock-cost", dollars(reply.summary.cost_nano).encode()))
    exchange.reply(200, asked.wire.whole(answer), headers)


async def pump_stream(exchange: Exchange, gateway: Gateway, asked: Asked, admission: Admission, terms: Terms) -> None:
    """Answers in server-sent events, each read's chunks in one send.

    Raises ``PenstockError``, and anything unexpected, only while nothing has been sent.
    """
    wire = asked.wire
    reply: Reply | None = None

    def send(chunks: Sequence[bytes]) -> bool:
        if events := wire.chunks(chunks):
            exchange.write(events)
        return not exchange.full

    exchange.silent = lambda: _ping(exchange)
    try:
        reply = await gateway.chat(asked.call, admission, terms)
        if not exchange.started:
            start_stream(exchange, encoded(reply.headers.items()))
        while chunks := await reply.read():
            if not send(chunks):
                await exchange.room()
            await reply.pour(send)
            if exchange.full:
                await exchange.room()
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
        exchange.silent = None
        if reply is not None:
            await _closed(reply, exchange)
    exchange.write(last, more=False)


def start_stream(exchange: Exchange, extra: Headers) -> None:
    """Begins a stream of events; ``x-accel-buffering`` keeps nginx from holding it."""
    exchange.start(
        200,
        [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),
            *extra,
        ],
    )


def _ping(exchange: Exchange) -> None:
    if not exchange.started:
        start_stream(exchange, [])
    exchange.write(_PING)


async def _closed(reply: Reply, exchange: Exchange) -> None:
    try:
        await reply.aclose()
    finally:
        exchange.summary = reply.summary


def _told(exchange: Exchange, asked: Asked, error: PenstockError) -> bytes:
    exchange.code = error.fault.code
    return asked.wire.failure(error)
