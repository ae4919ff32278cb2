"""Where gateways tell one another of answers, in Redis 7 or later, or Valkey: a stream for each scope, of the newest.

Source: https://redis.io/docs/latest/develop/data-types/streams/ (XADD, XREAD, XDEL).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final, cast

from penstock.caches.config import RedisSettings
from penstock.caches.redis_connection import RedisConnection

MOST: Final = 20_000
"""About so many answers a scope are there, the newest."""
_CONNECTIONS: Final = 2
_SCANNED: Final = 256


class RedisShared:
    """As ``penstock.control.semantic.sharing.Shared`` has it, in the Redis of ``settings``."""

    def __init__(self, settings: RedisSettings) -> None:
        self._prefix = f"{settings.namespace}:desk:"
        self._redis = RedisConnection(settings, _CONNECTIONS)

    async def put(self, items: Sequence[tuple[str, bytes, float]]) -> None:
        async with self._redis.said(), self._redis.client.pipeline(transaction=False) as pipeline:
            for name, value, for_s in items:
                pipeline.xadd(self._prefix + name, {b"v": value}, maxlen=MOST, approximate=True)
                pipeline.pexpire(self._prefix + name, max(1, int(for_s * 1000)))
            await self._redis.carried_out(pipeline)

    async def after(self, places: Mapping[str, str], most: int) -> Mapping[str, Sequence[tuple[str, bytes]]]:
        if not places:
            return {}
        async with self._redis.said():
            streams = {self._prefix + name: place or "0" for name, place in places.items()}
            found = cast(
                "Sequence[tuple[bytes, Sequence[tuple[bytes, Mapping[bytes, bytes]]]]]",
                await self._redis.client.xread(streams, count=most),  # type: ignore[arg-type]
            )
        start = len(self._prefix)
        return {
            name.decode()[start:]: [(place.decode(), fields.get(b"v", b"")) for place, fields in rows]
            for name, rows in found
        }

    async def names(self) -> AsyncIterator[str]:
        cursor, start = 0, len(self._prefix)
        while True:
            async with self._redis.said():
                # No byte of a namespace means anything in a pattern.
                cursor, found = await self._redis.client.scan(cursor, match=self._prefix + "*", count=_SCANNED)
            for name in cast("Sequence[bytes]", found):
                yield name.decode()[start:]
            if not cursor:
                return

    async def remove(self, name: str, places: Sequence[str]) -> None:
        async with self._redis.said():
            await self._redis.client.xdel(self._prefix + name, *places)

    async def aclose(self) -> None:
        await self._redis.aclose()
