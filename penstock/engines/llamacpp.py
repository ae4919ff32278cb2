"""llama.cpp, run here: how one of its copies is started, and how it is asked.

The wire is that of its own server: https://github.com/ggml-org/llama.cpp/tree/master/tools/server.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path

import msgspec

from penstock.core.chat import Call, Counting, Kind, Upstream, Usage, chunk_view
from penstock.core.clock import Clock, SystemClock
from penstock.core.errors import (
    UNSUPPORTED_OPERATION,
    UPSTREAM_GARBLED,
    UPSTREAM_OVERLOADED,
    PenstockError,
)
from penstock.core.serving import Launch, Replica
from penstock.engines import config
from penstock.engines.assemble import Assembly
from penstock.engines.fanout import Fanout
from penstock.engines.faults import Origin
from penstock.engines.hosted import PREPARED, endpoint, probed, refusal
from penstock.engines.hosted_answers import Streamed, Whole
from penstock.engines.http import Http, Prepared
from penstock.engines.llamacpp_answers import LlamaEvents
from penstock.engines.llamacpp_count import count
from penstock.engines.llamacpp_embeddings import Embedded
from penstock.engines.llamacpp_errors import refused
from penstock.engines.llamacpp_request import Part, embedding_bodies, parts
from penstock.engines.llamacpp_settings import CONNECTIONS, SLOTS, Order
from penstock.engines.openai_answers import whole

_CONNECT_S = 5.0
_DOES = {"chat": (Kind.CHAT, Kind.COMPLETION), "embedding": (Kind.EMBEDDING,)}
_WORDS = {Kind.CHAT: "chat", Kind.COMPLETION: "complete texts", Kind.EMBEDDING: "make embeddings"}


class LlamaCpp:
    """One model served by llama.cpp; see ``engines.Engine`` and ``engines.Launcher``.

    A copy is given at most ``CONNECTIONS`` requests at once, because its own queue has no bound.
    """

    def __init__(self, name: str, settings: config.LlamaCpp, clock: Clock | None = None) -> None:
        self._name = name
        self._settings = settings
        self._clock = clock or SystemClock()
        self._running: dict[str, int] = {}
        self._http = Http(connect_timeout_s=_CONNECT_S, read_timeout_s=settings.timeout_s)
        self._prepared = lru_cache(PREPARED)(self._prepare)

    def weights(self) -> str:
        return self._settings.weights

    def launch(self, weights: Path) -> Launch:
        key = secrets.token_urlsafe(24)
        return Launch(
            argv=(sys.executable, "-P", "-m", "penstock.engines.llamacpp_child"),
            stdin=msgspec.json.encode(Order(str(weights), key, self._settings)),
            key=key,
            ready_within_s=self._settings.ready_within_s,
            slots=self._settings.slots or SLOTS,
        )

    async def start(self, call: Call, replica: Replica, *, connect_s: float | None = None) -> Upstream:
        """As the port says. Chat and completions are asked for as streams, one for each choice."""
        if call.kind not in _DOES[self._settings.task]:
            raise PenstockError(
                UNSUPPORTED_OPERATION,
                f"The model {self._name!r} does not {_WORDS[call.kind]}; its task is {self._settings.task!r}. "
                "Choose another model: GET /v1/models lists them",
                param="model",
            )
        if call.kind is Kind.EMBEDDING:
            return await self._embeddings(call, replica)
        asked = parts(call, self._name)
        stream = await self._asked(call, replica, asked)
        return stream if call.stream else Assembled(stream, call.kind)

    async def probe(self, replica: Replica) -> None:
        """Asks the copy's health, which it answers beside its work."""
        url = endpoint(replica.base_url.removesuffix("/v1"), "/health")
        origin = Origin(self._name, self._name, (replica.key,))
        await probed(self._http, url, _signed(replica.key), self._clock.wall(), origin)

    async def count(self, call: Call, replica: Replica) -> int | None:
        """The tokens of the call's prompt, as the copy will report them; None when it does not say within 2 s."""
        if call.kind not in _DOES[self._settings.task]:
            return None
        return await count(call, replica, self._name, self._http, _signed(replica.key))

    def sockets(self) -> tuple[int, int]:
        """As the port says."""
        return self._http.sockets, self._http.idle_sockets

    async def aclose(self) -> None:
        await self._http.aclose()

    async def _embeddings(self, call: Call, replica: Replica) -> Upstream:
        bodies = embedding_bodies(call, self._name)
        ask = partial(self._embedded, call, replica)
        place = self._place(replica, 1)
        try:
            first = await ask(bodies[0])
        except BaseException:
            place.give_back()
            raise
        return Placed(Embedded(first, bodies[1:], ask), place)

    async def _embedded(self, call: Call, replica: Replica, body: bytes) -> Upstream:
        origin = Origin(self._name, self._name, (replica.key,))
        prepared = self._prepared(replica.base_url, call.kind, replica.key)
        response = await self._http.post(prepared, body, lines=call.trace)
        if response.status != 200:
            raise refused(response.status, await refusal(response), call, self._name)
        return Whole(response, partial(whole, call.kind, origin))

    async def _asked(self, call: Call, replica: Replica, asked: Sequence[Part]) -> Upstream:
        place = self._place(replica, len(asked))
        starts = [asyncio.ensure_future(self._one(call, replica, part)) for part in asked]
        try:
            streams = await asyncio.gather(*starts)
        except BaseException:
            for start in starts:
                start.cancel()
            for begun in await asyncio.gather(*starts, return_exceptions=True):
                if not isinstance(begun, BaseException):
                    await begun.aclose()
            place.give_back()
            raise
        if len(streams) == 1:
            return Placed(streams[0], place)
        return Placed(Fanout(streams, [part.repeats for part in asked]), place)

    async def _one(self, call: Call, replica: Replica, part: Part) -> Upstream:
        origin = Origin(self._name, self._name, (replica.key,))
        prepared = self._prepared(replica.base_url, call.kind, replica.key)
        response = await self._http.post(prepared, part.body, lines=call.trace)
        if response.status != 200:
            raise refused(response.status, await refusal(response), call, self._name)
        return Streamed(response, LlamaEvents(call, part.forced, origin))

    def _prepare(self, base_url: str, kind: Kind, key: str) -> Prepared:
        return self._http.prepared("POST", endpoint(base_url, kind.value), _signed(key))

    def _place(self, replica: Replica, requests: int) -> Place:
        if self._running.get(replica.id, 0) + requests > CONNECTIONS:
            raise PenstockError(
                UPSTREAM_OVERLOADED,
                f"The model {self._name!r} works at {CONNECTIONS} requests already. Try again in a moment",
                retry_after=1.0,
            )
        return Place(self._running, replica.id, requests)


def _signed(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


def _so_far(upstream: Upstream) -> Usage | None:
    return upstream.so_far() if isinstance(upstream, Counting) else None


class Place:
    """Requests that one call holds of what a copy takes at once; given back once, however often it is said."""

    __slots__ = ("_held", "_id", "_running")

    def __init__(self, running: dict[str, int], replica_id: str, requests: int) -> None:
        self._running = running
        self._id = replica_id
        self._held = requests
        running[replica_id] = running.get(replica_id, 0) + requests

    def give_back(self) -> None:
        left = self._running[self._id] - self._held
        self._held = 0
        if left:
            self._running[self._id] = left
        else:
            self._running.pop(self._id)


class Placed:
    """An answer that gives its place back when it is closed."""

    __slots__ = ("_given", "_inner", "_place")

    def __init__(self, inner: Upstream, place: Place) -> None:
        self._inner = inner
        self._place = place
        self._given = False

    async def read(self) -> Sequence[bytes]:
        return await self._inner.read()

    def so_far(self) -> Usage | None:
        return _so_far(self._inner)

    async def aclose(self) -> None:
        if not self._given:
            self._given = True
            self._place.give_back()
        await self._inner.aclose()


class Assembled:
    """A streamed answer as the one whole reply that was asked for."""

    __slots__ = ("_closed", "_done", "_inner", "_kind")

    def __init__(self, inner: Upstream, kind: Kind) -> None:
        self._inner = inner
        self._kind = kind
        self._closed = self._done = False

    async def read(self) -> Sequence[bytes]:
        if self._done or self._closed:
            return ()
        self._done = True
        assembly = Assembly(self._kind)
        while chunks := await self._inner.read():
            for chunk in chunks:
                try:
                    assembly.add(chunk, chunk_view(chunk))
                except msgspec.DecodeError as error:
                    raise PenstockError(
                        UPSTREAM_GARBLED, "llama.cpp sent a chunk that is not JSON; try again"
                    ) from error
        return () if self._closed else (assembly.whole(),)

    def so_far(self) -> Usage | None:
        return _so_far(self._inner)

    async def aclose(self) -> None:
        self._closed = True
        await self._inner.aclose()
