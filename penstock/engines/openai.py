"""Any OpenAI-compatible server, reached by URL.

Source of the wire: https://platform.openai.com/docs/api-reference and what its imitators make of it.
"""

from __future__ import annotations

import itertools
from functools import partial

import msgspec

from penstock.core import splice
from penstock.core.chat import Call, Kind, Upstream
from penstock.core.clock import Clock, SystemClock
from penstock.core.errors import INVALID_TYPE, UPSTREAM_GARBLED, PenstockError
from penstock.core.serving import Replica
from penstock.engines import config
from penstock.engines.faults import Complaint, Origin, complaint, http_error
from penstock.engines.hosted import endpoint, probed, refusal, secrets_of, usable_keys
from penstock.engines.hosted_answers import Streamed, Whole
from penstock.engines.http import Http
from penstock.engines.openai_answers import Events, whole


class OpenAI:
    """One hosted model; see ``engines.Engine``. Raises ``PenstockError`` (BAD_DEPLOYMENT) for a bad ``ca_file``."""

    def __init__(self, name: str, settings: config.OpenAI, clock: Clock | None = None) -> None:
        self._name = name
        self._model = settings.model or name
        self._headers = dict(settings.headers)
        self._own_auth = any(header.lower() == "authorization" for header in settings.headers)
        self._keys = usable_keys(settings.api_key)
        self._turn = itertools.cycle(self._keys or ("",))
        self._secrets = secrets_of(settings)
        self._clock = clock or SystemClock()
        self._takes_stream_options = True
        self._http = Http(
            connect_timeout_s=settings.connect_timeout_s,
            read_timeout_s=settings.timeout_s,
            proxy=settings.proxy,
            ca_file=settings.ca_file,
        )

    async def start(self, call: Call, replica: Replica, *, connect_s: float | None = None) -> Upstream:
        """As the port says. A server that refuses ``stream_options`` is asked once more without, and then always."""
        url = endpoint(replica.base_url, call.kind.value)
        headers = self._signed(replica, call.request_id)
        origin = self._origin(call, replica)
        asking = call.stream and self._takes_stream_options
        response = await self._http.post(url, self._body(call, asking), headers, connect_s)
        if asking and response.status in (400, 422):
            body = await refusal(response)
            said = complaint(body)
            if not _blames_stream_options(said):
                raise http_error(response.status, response.headers, body, origin, self._clock.wall())
            response = await self._http.post(url, self._body(call, False), headers, connect_s)
            if response.status < 300:
                self._takes_stream_options = False
        if not 200 <= response.status < 300:
            status, found = response.status, response.headers
            raise http_error(status, found, await refusal(response), origin, self._clock.wall())
        kind = response.headers.get("content-type", "")
        if not call.stream:
            return Whole(response, partial(whole, kind=call.kind, origin=origin, as_chunks=False))
        if kind.startswith("text/html"):
            response.close()
            raise PenstockError(
                UPSTREAM_GARBLED,
                f"The upstream of model {self._name!r} answered with a web page; its base_url often ends in /v1",
            )
        if kind.startswith("application/json"):
            return Whole(response, partial(whole, kind=call.kind, origin=origin, as_chunks=True))
        return Streamed(response, Events(call.choices, origin))

    async def probe(self, replica: Replica) -> None:
        """Asks for the list of models; whoever answers at all, and not with 401, 403 or 5xx, can serve."""
        origin = Origin(self._name, self._model, self._secrets)
        url = endpoint(replica.base_url, "/models")
        await probed(self._http, url, self._signed(replica, ""), self._clock.wall(), origin)

    def sockets(self) -> tuple[int, int]:
        """As the port says."""
        return self._http.sockets, self._http.idle_sockets

    async def aclose(self) -> None:
        """As the port says."""
        await self._http.aclose()

    def _origin(self, call: Call, replica: Replica) -> Origin:
        secrets = (*self._secrets, replica.key) if replica.key else self._secrets
        return Origin(self._name, call.service if self._model == "*" else self._model, secrets)

    def _signed(self, replica: Replica, request_id: str) -> dict[str, str]:
        key = replica.key or next(self._turn)
        headers = {"X-Request-Id": request_id} if request_id else {}
        if key and not self._own_auth:
            headers["Authorization"] = f"Bearer {key}"
        return headers | self._headers

    def _body(self, call: Call, ask_usage: bool) -> bytes:
        model = call.fields.get("model") if self._model == "*" else None
        owned: dict[str, object] = {"model": self._model if self._model != "*" else model or call.service}
        if call.kind is not Kind.EMBEDDING:
            # OpenAI refuses stream_options without stream.
            owned["stream"] = call.stream or None
            owned["stream_options"] = _stream_options(call, ask_usage) if call.stream else None
        return splice.joined(call.fields, **owned)


def _stream_options(call: Call, ask_usage: bool) -> dict[str, object] | None:
    """The client's options with ours; None when nothing is left of them."""
    given = call.fields.get("stream_options")
    options: dict[str, object] = {}
    if given is not None and bytes(given) != b"null":
        try:
            options.update(splice.members(bytes(given)))
        except msgspec.DecodeError as exc:
            raise PenstockError(
                INVALID_TYPE, "stream_options must be an object, or be left out", param="stream_options"
            ) from exc
    options.pop("include_usage", None)
    return {**options, "include_usage": True} if ask_usage else options or None


def _blames_stream_options(said: Complaint) -> bool:
    return "stream_options" in said.message or "stream_options" in (said.param or "")
