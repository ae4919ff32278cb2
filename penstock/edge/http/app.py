"""The ASGI application: one table of routes, and around every request the same few rings.

From outside: the request's id and its line in the access log; errors in OpenAI's shape; the route; the key, checked
before the body is read; the body, bounded; the client's leaving, which cancels the work. Then the dialect.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from penstock.core.errors import (
    METHOD_NOT_ALLOWED,
    MODEL_NOT_FOUND,
    RESPONSE_NOT_FOUND,
    PenstockError,
)
from penstock.core.metrics import Meter, Sample
from penstock.edge.http import access, health, openapi
from penstock.edge.http.asgi import Receive, Scope, Send
from penstock.edge.http.body import read_body
from penstock.edge.http.dialects import Read, chat, completions, embeddings, models, responses
from penstock.edge.http.exchange import ClientGoneError, Exchange
from penstock.edge.http.metrics import RESPONSES
from penstock.edge.http.pump import pump_stream, pump_whole, stopping, unexpected
from penstock.edge.http.routes import Endpoint, Route, Router, allow_header, endpoint
from penstock.gateway.chat import Gateway
from penstock.gateway.snapshot import Admission

_log = logging.getLogger("penstock.edge")

_CLIENT_GONE = 499


class App:
    """One object per worker. ``heartbeat_s`` is the silence in a stream after which a comment is sent;
    ``body_idle_s`` bounds each wait for more of a request's body. ``render`` gives the page of ``/metrics``;
    ``log_line`` takes one ``AccessLine`` per request, or is None, and must neither block nor raise."""

    def __init__(
        self,
        gateway: Gateway,
        *,
        max_body_bytes: int,
        heartbeat_s: float,
        meter: Meter,
        render: Callable[[], bytes],
        log_line: Callable[[object], None] | None = None,
        body_idle_s: float = 30.0,
    ) -> None:
        self._gateway = gateway
        self._max_body_bytes = max_body_bytes
        self._heartbeat_s = heartbeat_s
        self._meter = meter
        self._render = render
        self._log_line = log_line
        self._body_idle_s = body_idle_s
        self._openapi = openapi.document()
        self._router = Router(self.routes())

    def routes(self) -> tuple[Route, ...]:
        """Everything that is served here."""
        return (
            Route("/v1/chat/completions", {"POST": self._asked(chat.read)}),
            Route("/v1/completions", {"POST": self._asked(completions.read)}),
            Route("/v1/embeddings", {"POST": self._asked(embeddings.read)}),
            Route("/v1/responses", {"POST": self._asked(responses.read)}),
            Route("/v1/responses/{id}", dict.fromkeys(("GET", "DELETE", "POST"), self._no_response)),
            Route("/v1/models", {"GET": self._list_models}),
            Route("/v1/models/{id}", {"GET": self._retrieve_model, "DELETE": self._delete_model}),
            Route("/healthz", {"GET": self._healthz}),
            Route("/readyz", {"GET": self._readyz}),
            Route("/metrics", {"GET": self._metrics}),
            Route("/openapi.json", {"GET": self._openapi_json}),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        loop = asyncio.get_running_loop()
        exchange = Exchange(scope, receive, send, loop.time())
        route_path = ""
        try:
            route, place = self._router.find(exchange.path)
            route_path = route.path
            if exchange.method == "OPTIONS":
                await exchange.reply(204, b"", allow_header(route))
            else:
                await self._answer(exchange, route, place)
        except ClientGoneError:
            pass
        except asyncio.CancelledError:
            if not exchange.gone and not exchange.started:
                await exchange.fail(stopping())
        except PenstockError as error:
            await exchange.fail(error)
        except Exception:
            _log.exception("request %s failed", exchange.request_id)
            if exchange.started:
                raise
            await exchange.fail(unexpected(exchange.request_id))
        finally:
            status = exchange.status or _CLIENT_GONE
            exchange.status = status
            self._meter.record(Sample(RESPONSES, 1.0, (route_path or "unknown", str(status))))
            if self._log_line is not None:
                self._log_line(access.line(exchange, loop.time()))

    async def _answer(self, exchange: Exchange, route: Route, place: str) -> None:
        try:
            found = endpoint(route, exchange.method)
        except PenstockError as error:
            await exchange.fail(error, allow_header(route))
            return
        await found(exchange, place)

    def _admit(self, exchange: Exchange) -> Admission:
        admission = self._gateway.admit(exchange.presented_key())
        exchange.admission = admission
        return admission

    # -- what engines answer -------------------------------------------------------------------------------------

    def _asked(self, read: Read) -> Endpoint:
        async def answer(exchange: Exchange, _: str) -> None:
            admission = self._admit(exchange)
            body = await read_body(exchange, self._max_body_bytes, self._body_idle_s)
            asked = read(exchange.request_id, body)
            exchange.asked = asked.call.service
            work = asyncio.current_task()
            watcher = asyncio.create_task(_cancel_when_gone(exchange, work))
            try:
                if asked.call.stream:
                    await pump_stream(exchange, self._gateway, asked, admission, self._heartbeat_s)
                else:
                    await pump_whole(exchange, self._gateway, asked, admission)
            finally:
                watcher.cancel()
                await asyncio.wait((watcher,))

        return answer

    # -- what is known here --------------------------------------------------------------------------------------

    async def _list_models(self, exchange: Exchange, _: str) -> None:
        await exchange.reply(200, models.listed(self._gateway.services(self._admit(exchange))))

    async def _retrieve_model(self, exchange: Exchange, name: str) -> None:
        admission = self._admit(exchange)
        if name in ("", "*"):
            raise PenstockError(
                MODEL_NOT_FOUND, "Name one model after /v1/models/. GET /v1/models lists them all.", param="model"
            )
        await exchange.reply(200, models.retrieved(name, self._gateway.service(name, admission)))

    async def _delete_model(self, exchange: Exchange, _: str) -> None:
        self._admit(exchange)
        error = PenstockError(
            METHOD_NOT_ALLOWED,
            "Models are not deleted through the API. Take the service out of the deployment file instead.",
        )
        await exchange.fail(error, [(b"allow", b"GET, HEAD, OPTIONS")])

    async def _no_response(self, exchange: Exchange, _: str) -> None:
        self._admit(exchange)
        raise PenstockError(
            RESPONSE_NOT_FOUND,
            "Responses are not stored here, so none can be fetched, changed or deleted. "
            "Keep what POST /v1/responses returns, and send earlier items in 'input'.",
        )

    async def _healthz(self, exchange: Exchange, _: str) -> None:
        await exchange.reply(200, health.alive())

    async def _readyz(self, exchange: Exchange, _: str) -> None:
        status, body = health.ready(self._gateway.readiness())
        await exchange.reply(status, body)

    async def _metrics(self, exchange: Exchange, _: str) -> None:
        await exchange.reply(200, self._render(), [(b"content-type", b"text/plain; version=0.0.4; charset=utf-8")])

    async def _openapi_json(self, exchange: Exchange, _: str) -> None:
        await exchange.reply(200, self._openapi)


async def _cancel_when_gone(exchange: Exchange, work: asyncio.Task[None] | None) -> None:
    await exchange.until_gone()
    if not exchange.finished and work is not None:
        exchange.gone = True
        work.cancel()
