"""Where gateways tell one another of answers, in Redis 7 or later, or Valkey: a stream for each scope, of the newest.

Source: https://redis.io/docs/latest/develop/data-types/streams/ (XADD, XREAD, XDEL).
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final, cast

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from penstock.caches import TierFailed
from penstock.caches.config import RedisSettings
from penstock.core.errors import BAD_DEPLOYMENT, PenstockError

MOST: Final = 20_000
"""About so many answers a scope are there, the newest."""
_CONNECTIONS: Final = 2
_SCANNED: Final = 256


class RedisShared:
    """As ``penstock.control.semantic.sharing.Shared`` has it, in the Redis of ``settings``."""

    def __init__(self, settings: RedisSettings) -> None:
        self._prefix = f"{settings.namespace}:desk:"
        try:
            self._pool = BlockingConnectionPool.from_url(
                settings.url,
                max_connections=_CONNECTIONS,
                timeout=None,
                socket_timeout=None,
                socket_connect_timeout=settings.write_s,
                retry=Retry(NoBackoff(), 0),
                retry_on_error=[],
            )
        except ValueError as error:
            raise PenstockError(
                BAD_DEPLOYMENT, "`cache: redis: url` is no URL of a Redis; write redis://HOST:PORT/NUMBER"
            ) from error
        self._client = Redis(connection_pool=self._pool)

    async def put(self, items: Sequence[tuple[str, bytes, float]]) -> None:
        async with self._said(), self._client.pipeline(transaction=False) as pipeline:
            for name, value, for_s in items:
                pipeline.xadd(self._prefix + name, {b"v": value}, maxlen=MOST, approximate=True)
                pipeline.pexpire(self._prefix + name, max(1, int(for_s * 1000)))
            await pipeline.execute()

    async def after(self, places: Mapping[str, str], most: int) -> Mapping[str, Sequence[tuple[str, bytes]]]:
        if not places:
            return {}
        async with self._said():
            streams = {self._prefix + name: place or "0" for name, place in places.items()}
            found = cast(
                "Sequence[tuple[bytes, Sequence[tuple[bytes, Mapping[bytes, bytes]]]]]",
                await self._client.xread(streams, count=most),  # type: ignore[arg-type]
            )
        start = len(self._prefix)
        return {
            name.decode()[start:]: [(place.decode(), fields.get(b"v", b"")) for place, fields in rows]
            for name, rows in found
        }

    async def names(self) -> AsyncIterator[str]:
        cursor, start = 0, len(self._prefix)
        while True:
            async with self._said():
                # No byte of a namespace means anything in a pattern.
                cursor, found = await self._client.scan(cursor, match=self._prefix + "*", count=_SCANNED)
            for name in cast("Sequence[bytes]", found):
                yield name.decode()[start:]
            if not cursor:
                return

    async def remove(self, name: str, places: Sequence[str]) -> None:
        async with self._said():
            await self._client.xdel(self._prefix + name, *places)

    async def aclose(self) -> None:
        await self._client.aclose()
        await self._pool.disconnect()

    @contextlib.asynccontextmanager
    async def _said(self) -> AsyncIterator[None]:
        try:
            yield
        except Exception as error:
            # Connections that nobody uses are to the same server, which may be another one soon.
            await self._pool.disconnect(inuse_connections=False)
            raise TierFailed(type(error).__name__) from error
