"""The application: one table of routes, and around every request the same few rings.

From outside: the request's id and its line in the access log; errors in OpenAI's shape; the route; the key, checked
before the body is read; the body, bounded; the client's leaving, which cancels the work. Then the dialect.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from penstock.access.scopes import check_endpoint
from penstock.core.errors import (
    METHOD_NOT_ALLOWED,
    MODEL_NOT_FOUND,
    RESPONSE_NOT_FOUND,
    PenstockError,
)
from penstock.core.metrics import Meter, Sample
from penstock.edge.http import access, feedback, health, openapi
from penstock.edge.http.body import check_head
from penstock.edge.http.dialects import Read, chat, completions, embeddings, models, responses
from penstock.edge.http.exchange import ClientGoneError, Exchange
from penstock.edge.http.listening import Listening
from penstock.edge.http.metrics import RESPONSES
from penstock.edge.http.pump import pump_stream, pump_whole, stopping, unexpected
from penstock.edge.http.routes import CALL, OPEN, Endpoint, Needs, Route, Router, allow_header, endpoint
from penstock.edge.http.terms import terms
from penstock.edge.http.trace_context import trace_parent
from penstock.edge.http.websocket import PATH as WEBSOCKET_PATH
from penstock.edge.http.websocket import WebSocketSide, not_upgraded
from penstock.gateway.chat import Gateway
from penstock.gateway.snapshot import Admission
from penstock.observe.prometheus import Exposed

_log = logging.getLogger("penstock.edge")

_CLIENT_GONE = 499


class Admin(Protocol):
    """What else is served beside the API."""

    def routes(self) -> tuple[Route, ...]: ...


class Console(Protocol):
    """Pages for people, which chat as the API does once they have let somebody in."""

    def routes(self, chat: Endpoint, models: Endpoint, ending: Callable[[], bool]) -> tuple[Route, ...]: ...


class App:
    """One object per worker. ``render`` gives the page of ``/metrics`` for an ``Accept``, or a ``PenstockError``;
    ``log_line`` takes one ``AccessLine`` per request, or is None, and must neither block nor raise. While it is
    ``draining`` the gateway is not ready.
    ``disown`` takes back answers from the cache, None: there is none.
    ``sockets`` are the WebSockets that it answers, ``listening`` all its connections while it is served."""

    def __init__(
        self,
        gateway: Gateway,
        *,
        max_body_bytes: int,
        meter: Meter,
        render: Callable[[str], Awaitable[Exposed]],
        log_line: Callable[[object], None] | None = None,
        admin: Admin | None = None,
        console: Console | None = None,
        disown: feedback.Disown | None = None,
    ) -> None:
        self._gateway = gateway
        self._max_body_bytes = max_body_bytes
        self.meter = meter
        self._render = render
        self._log_line = log_line
        self._admin = admin
        self._console = console
        self._disown = disown
        self.draining = False
        self.listening: Listening | None = None
        self.sockets = WebSocketSide(gateway, meter=meter, max_body_bytes=max_body_bytes, log_line=log_line)
        self._openapi = openapi.document()
        self._feedback_pace = feedback.Pace()
        self._router = Router(self.routes())

    def routes(self) -> tuple[Route, ...]:
        """Everything that is served here."""
        return (
            _route("/v1/chat/completions", CALL, POST=self._asked("/v1/chat/completions", chat.read)),
            _route("/v1/completions", CALL, POST=self._asked("/v1/completions", completions.read)),
            _route("/v1/embeddings", CALL, POST=self._asked("/v1/embeddings", embeddings.read)),
            _route("/v1/responses", CALL, POST=self._asked("/v1/responses", responses.read)),
            _route(
                "/v1/responses/{id}",
                CALL,
                **dict.fromkeys(("GET", "DELETE", "POST"), self._no_response),
            ),
            _route("/v1/feedback", CALL, POST=self._feedback),
            _route("/v1/models", CALL, GET=self._list_models),
            _route("/v1/models/{id}", CALL, GET=self._retrieve_model, DELETE=self._delete_model),
            # What is no WebSocket is told so; one that is asks for the key itself.
            _route(WEBSOCKET_PATH, OPEN, GET=not_upgraded),
            _route("/healthz", OPEN, GET=self._healthz),
            _route("/readyz", OPEN, GET=self._readyz),
            _route("/metrics", OPEN, GET=self._metrics),
            _route("/openapi.json", OPEN, GET=self._openapi_json),
            *(self._admin.routes() if self._admin is not None else ()),
            *(self._console_routes(self._console) if self._console is not None else ()),
        )

    def _console_routes(self, console: Console) -> tuple[Route, ...]:
        chat_completions = self._asked("/v1/chat/completions", chat.read)
        return console.routes(chat_completions, self._list_models, lambda: self.draining)

    async def answer(self, exchange: Exchange) -> None:
        """Answers one exchange, whatever becomes of it; at the end it is over. Raises nothing."""
        route_path = "unknown"
        try:
            exchange.begun = True
            if exchange.gone:
                raise ClientGoneError
            if exchange.stopped:
                raise stopping()
            route, place = self._router.find(exchange.path)
            route_path = route.path
            if exchange.method == "OPTIONS":
                exchange.reply(204, b"", allow_header(route))
            else:
                await self._answer(exchange, route, place)
        except ClientGoneError:
            pass
        except asyncio.CancelledError:
            if not exchange.gone and not exchange.started:
                exchange.fail(stopping())
        except PenstockError as error:
            exchange.fail(error)
        except Exception:  # noqa: BLE001 - the log has it, the client is told
            _log.exception("request %s failed", exchange.request_id)
            if not exchange.started:
                exchange.fail(unexpected(exchange.request_id))
        finally:
            if not exchange.status:
                exchange.status = _CLIENT_GONE
            self.meter.record(Sample(RESPONSES, 1.0, (route_path, str(exchange.status))))
            if self._log_line is not None:
                self._log_line(access.line(exchange))
            exchange.over()

    async def _answer(self, exchange: Exchange, route: Route, place: str) -> None:
        try:
            found = endpoint(route, exchange.method)
        except PenstockError as error:
            exchange.fail(error, allow_header(route))
            return
        await found(exchange, place)

    async def _admit(self, exchange: Exchange, path: str) -> Admission:
        # The console has let somebody in by a session.
        admission = exchange.admission or await self._gateway.admitted(exchange.presented_key(), exchange.client)
        exchange.admission = admission
        check_endpoint(admission.principal, path)
        CALL.check(admission.principal)
        return admission

    # -- what engines answer -------------------------------------------------------------------------------------

    def _asked(self, path: str, read: Read) -> Endpoint:
        async def answer(exchange: Exchange, _: str) -> None:
            headers = exchange.headers
            try:
                admission = await self._admit(exchange, path)
                wishes = terms(headers)
                check_head(headers, self._max_body_bytes)
                asked = read(exchange.request_id, await exchange.body(self._max_body_bytes))
            except PenstockError as error:
                if exchange.admission is not None:
                    self._refused(exchange, exchange.admission, path, error)
                raise
            exchange.asked = asked.call.service
            if asked.call.stream:
                await pump_stream(exchange, self._gateway, asked, admission, wishes)
            else:
                await pump_whole(exchange, self._gateway, asked, admission, wishes)

        return answer

    def _refused(self, exchange: Exchange, admission: Admission, path: str, error: PenstockError) -> None:
        self._gateway.refused(
            exchange.request_id,
            admission,
            error,
            took_s=time.monotonic() - exchange.arrived,
            dialect=path.removeprefix("/v1/"),
            trace=trace_parent(exchange.headers),
        )

    # -- what is known here --------------------------------------------------------------------------------------

    async def _list_models(self, exchange: Exchange, _: str) -> None:
        admission = await self._admit(exchange, "/v1/models")
        exchange.reply(200, models.listed(self._gateway.services(admission)))

    async def _retrieve_model(self, exchange: Exchange, name: str) -> None:
        admission = await self._admit(exchange, "/v1/models")
        if name in ("", "*"):
            raise PenstockError(
                MODEL_NOT_FOUND, "Name one model after /v1/models/. GET /v1/models lists them all.", param="model"
            )
        exchange.reply(200, models.retrieved(name, self._gateway.service(name, admission)))

    async def _delete_model(self, exchange: Exchange, _: str) -> None:
        await self._admit(exchange, "/v1/models")
        error = PenstockError(
            METHOD_NOT_ALLOWED,
            "Models are not deleted through the API. Take the service out of the deployment file instead.",
        )
        exchange.fail(error, [(b"allow", b"GET, HEAD, OPTIONS")])

    async def _no_response(self, exchange: Exchange, _: str) -> None:
        await self._admit(exchange, "/v1/responses")
        raise PenstockError(
            RESPONSE_NOT_FOUND,
            "Responses are not stored here, so none can be fetched, changed or deleted. "
            "Keep what POST /v1/responses returns, and send earlier items in 'input'.",
        )

    async def _feedback(self, exchange: Exchange, _: str) -> None:
        admission = await self._admit(exchange, "/v1/feedback")
        self._feedback_pace.check(admission.principal.key_id, time.monotonic())
        check_head(exchange.headers, self._max_body_bytes)
        asked = feedback.read(await exchange.body(self._max_body_bytes))
        scores = feedback.scores(asked, admission.principal, time.time())
        if scores:
            self._gateway.note(scores)
        taken = await feedback.taken(asked, scores, admission.principal, self._disown)
        exchange.reply(202, msgspec.json.encode(taken))

    async def _healthz(self, exchange: Exchange, _: str) -> None:
        exchange.reply(200, health.alive())

    async def _readyz(self, exchange: Exchange, _: str) -> None:
        status, body = health.ready(self._gateway.readiness(), self.draining)
        exchange.reply(status, body)

    async def _metrics(self, exchange: Exchange, _: str) -> None:
        page = await self._render(exchange.headers.get(b"accept", b"").decode("latin-1"))
        exchange.reply(200, page.body, [(b"content-type", page.content_type.encode())])

    async def _openapi_json(self, exchange: Exchange, _: str) -> None:
        exchange.reply(200, self._openapi)


def _route(path: str, needs: Needs, **endpoints: Endpoint) -> Route:
    return Route(path, endpoints, dict.fromkeys(endpoints, needs))
