"""Anthropic's Messages API, translated both ways. Source: https://platform.claude.com/docs/en/api/messages"""

from __future__ import annotations

from functools import lru_cache, partial

from penstock.core.chat import Call, Kind, Upstream
from penstock.core.clock import Clock, SystemClock
from penstock.core.errors import UNSUPPORTED_OPERATION, PenstockError
from penstock.core.serving import Replica
from penstock.engines import config
from penstock.engines.anthropic_answers import Events, whole
from penstock.engines.anthropic_request import message_body
from penstock.engines.faults import Origin, http_error
from penstock.engines.hosted import PREPARED, endpoint, probed, refusal, secrets_of, usable_keys
from penstock.engines.hosted_answers import Streamed, Whole
from penstock.engines.hosted_keys import HostedKeys
from penstock.engines.http import Http, Prepared


class Anthropic:
    """One hosted model; see ``engines.Engine``. Raises ``PenstockError`` (BAD_DEPLOYMENT) for a bad ``ca_file``.

    Chat only; what the Messages API has no word for is refused, not dropped.
    """

    def __init__(self, name: str, settings: config.Anthropic, clock: Clock | None = None) -> None:
        self._name = name
        self._model = settings.model or name
        self._max_tokens = settings.max_tokens
        self._headers = {"anthropic-version": settings.version} | dict(settings.headers)
        self._secrets = secrets_of(settings)
        self._clock = clock or SystemClock()
        self._keys = HostedKeys(name, usable_keys(settings.api_key), self._clock)
        self._http = Http(
            connect_timeout_s=settings.connect_timeout_s,
            read_timeout_s=settings.timeout_s,
            proxy=settings.proxy,
            ca_file=settings.ca_file,
        )
        self._prepared = lru_cache(PREPARED)(self._prepare)

    async def start(self, call: Call, replica: Replica, *, connect_s: float | None = None) -> Upstream:
        """As the port says."""
        if call.kind is not Kind.CHAT:
            raise PenstockError(
                UNSUPPORTED_OPERATION,
                f"Model {self._name!r} is served by Anthropic, which has chat only; "
                "use /v1/chat/completions, or a model of another engine",
            )
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
        model = call.service if self._model == "*" else self._model
        origin = Origin(self._name, model, (*self._secrets, replica.key) if replica.key else self._secrets)
        body = message_body(call, model, self._max_tokens)
        prepared = self._prepared(replica.base_url, key)
        response = await self._http.post(prepared, body, connect_s=connect_s, lines=call.trace)
        wall = self._clock.wall()
        if not 200 <= response.status < 300:
            status, headers = response.status, response.headers
            raise http_error(status, headers, await refusal(response), origin, wall)
        if call.stream:
            return Streamed(response, Events(int(wall), origin))
        return Whole(response, partial(whole, created=int(wall), origin=origin))

    async def _probed(self, base_url: str, key: str) -> None:
        origin = Origin(self._name, self._model, (*self._secrets, key) if key else self._secrets)
        await probed(self._http, _url(base_url, "models"), self._signed(key), self._clock.wall(), origin)

    def _prepare(self, base_url: str, key: str) -> Prepared:
        return self._http.prepared("POST", _url(base_url, "messages"), self._signed(key))

    def _signed(self, key: str) -> dict[str, str]:
        return ({"x-api-key": key} if key else {}) | self._headers


def _url(base_url: str, path: str) -> str:
    """OpenAI's base URLs end in ``/v1`` and Anthropic's do not; whoever writes it all the same is understood."""
    return endpoint(base_url.rstrip("/").removesuffix("/v1"), f"/v1/{path}")
