"""Any OpenAI-compatible server, reached by URL.

Source of the wire: https://platform.openai.com/docs/api-reference and what its imitators make of it.
"""

from __future__ import annotations

from functools import lru_cache, partial

import msgspec

from penstock.core import splice
from penstock.core.chat import Call, Kind, Upstream
from penstock.core.clock import Clock, SystemClock
from penstock.core.errors import INVALID_TYPE, UPSTREAM_GARBLED, PenstockError
from penstock.core.serving import Replica
from penstock.engines import config
from penstock.engines.faults import Complaint, Origin, complaint, http_error
from penstock.engines.hosted import PREPARED, endpoint, probed, refusal, secrets_of, usable_keys
from penstock.engines.hosted_answers import Streamed, Whole
from penstock.engines.hosted_keys import HostedKeys
from penstock.engines.http import Http, Prepared
from penstock.engines.openai_answers import Events, whole, whole_as_chunks

_TRUE = msgspec.Raw(b"true")
_ASK_USAGE = msgspec.Raw(b'{"include_usage":true}')
_ASK_EACH = msgspec.Raw(b'{"include_usage":true,"continuous_usage_stats":true}')


class OpenAI:
    """One hosted model; see ``engines.Engine``. Raises ``PenstockError`` (BAD_DEPLOYMENT) for a bad ``ca_file``."""

    def __init__(self, name: str, settings: config.OpenAI, clock: Clock | None = None) -> None:
        self._name = name
        self._model = settings.model or name
        self._headers = dict(settings.headers)
        self._secrets = secrets_of(settings)
        self._clock = clock or SystemClock()
        self._own_auth = any(header.lower() == "authorization" for header in settings.headers)
        self._keys = HostedKeys(name, () if self._own_auth else usable_keys(settings.api_key), self._clock)
        self._takes_stream_options = True
        self._continuous = settings.continuous_usage
        self._sent = msgspec.Raw(msgspec.json.encode(self._model))
        self._plainly = Origin(name, self._model, self._secrets)
        self._http = Http(
            connect_timeout_s=settings.connect_timeout_s,
            read_timeout_s=settings.timeout_s,
            proxy=settings.proxy,
            ca_file=settings.ca_file,
        )
        self._prepared = lru_cache(PREPARED)(self._prepare)

    async def start(self, call: Call, replica: Replica, *, connect_s: float | None = None) -> Upstream:
        """As the port says. A server that refuses ``stream_options`` is asked once more without, and then always."""
        key = replica.key or self._keys.only
        if key is None:
            sent = call.service if self._model == "*" else self._model
            return await self._keys.ask(replica.base_url, sent, partial(self._ask, call, replica, connect_s))
        return await self._ask(call, replica, connect_s, key)

    async def probe(self, replica: Replica) -> None:
        """Asks for the list of models; whoever answers at all, and not with 401, 403 or 5xx, can serve."""
        if replica.key:
            await self._probed(replica.base_url, replica.key)
        else:
            await self._keys.probe(replica.base_url, self._model, partial(self._probed, replica.base_url))

    def sockets(self) -> tuple[int, int]:
        """As the port says."""
        return self._http.sockets, self._http.idle_sockets

    async def aclose(self) -> None:
        """As the port says."""
        await self._http.aclose()

    async def _ask(self, call: Call, replica: Replica, connect_s: float | None, key: str) -> Upstream:
        prepared = self._prepared(replica.base_url, call.kind, key)
        asking = call.stream and self._takes_stream_options
        body = self._body(call, asking)
        post = partial(self._http.post, request_id=call.request_id, connect_s=connect_s, lines=call.trace)
        response = await post(prepared, body)
        origin = self._origin(call, replica)
        if asking and response.status in (400, 422):
            refused = await refusal(response)
            if not _blames_stream_options(complaint(refused)):
                raise http_error(response.status, response.headers, refused, origin, self._clock.wall())
            body = self._body(call, False)
            response = await post(prepared, body)
            if response.status < 300:
                self._takes_stream_options = False
        if not 200 <= response.status < 300:
            raise http_error(response.status, response.headers, await refusal(response), origin, self._clock.wall())
        if not call.stream:
            return Whole(response, partial(whole, call.kind, origin))
        kind = response.content_type
        if kind.startswith(b"text/html"):
            response.close()
            raise PenstockError(
                UPSTREAM_GARBLED,
                f"The upstream of model {self._name!r} answered with a web page; its base_url often ends in /v1",
            )
        if kind.startswith(b"application/json"):
            return Whole(response, partial(whole_as_chunks, call.kind, origin))
        return Streamed(response, Events(call.choices, origin, counted=self._counts(call)))

    async def _probed(self, base_url: str, key: str) -> None:
        origin = Origin(self._name, self._model, (*self._secrets, key) if key else self._secrets)
        await probed(self._http, endpoint(base_url, "/models"), self._signed(key), self._clock.wall(), origin)

    def _counts(self, call: Call) -> bool:
        # Of several choices each chunk counts only its own.
        return self._continuous and self._takes_stream_options and call.choices == 1

    def _origin(self, call: Call, replica: Replica) -> Origin:
        if self._model != "*" and not replica.key:
            return self._plainly
        secrets = (*self._secrets, replica.key) if replica.key else self._secrets
        return Origin(self._name, call.service if self._model == "*" else self._model, secrets)

    def _prepare(self, base_url: str, kind: Kind, key: str) -> Prepared:
        return self._http.prepared("POST", endpoint(base_url, kind.value), self._signed(key))

    def _signed(self, key: str) -> dict[str, str]:
        signed = {"Authorization": f"Bearer {key}"} if key and not self._own_auth else {}
        return signed | self._headers

    def _body(self, call: Call, ask_usage: bool) -> bytes:
        fields = dict(call.fields)
        if self._model != "*":
            fields["model"] = self._sent
        elif "model" not in fields:
            fields["model"] = msgspec.Raw(msgspec.json.encode(call.service))
        if call.kind is not Kind.EMBEDDING:
            # OpenAI refuses stream_options without stream.
            given = fields.pop("stream_options", None)
            if not call.stream:
                fields.pop("stream", None)
            else:
                fields["stream"] = _TRUE
                if options := _stream_options(given, ask_usage, self._counts(call)):
                    fields["stream_options"] = options
        return splice.joined(fields)


def _stream_options(given: msgspec.Raw | None, ask_usage: bool, ask_each: bool) -> msgspec.Raw | None:
    """The client's options with ours; None when nothing is left of them."""
    if given is None or bytes(given) == b"null":
        return (_ASK_EACH if ask_each else _ASK_USAGE) if ask_usage else None
    try:
        options = splice.members(bytes(given))
    except msgspec.DecodeError as exc:
        raise PenstockError(
            INVALID_TYPE, "stream_options must be an object, or be left out", param="stream_options"
        ) from exc
    options.pop("include_usage", None)
    if ask_usage:
        options["include_usage"] = _TRUE
        if ask_each:
            options["continuous_usage_stats"] = _TRUE
    return msgspec.Raw(splice.joined(options)) if options else None


def _blames_stream_options(said: Complaint) -> bool:
    return "stream_options" in said.message or "stream_options" in (said.param or "")
