"""The tier in Redis, shared by gateways: Redis 7 or later, Valkey too (``pip install 'penstock[redis]'``)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import cast

from penstock.caches import Items, Kept
from penstock.caches.config import RedisSettings
from penstock.caches.redis_connection import RedisConnection

CONNECTIONS = 32
"""Of one process, at most. A call that finds none free waits for one."""
# Entries that are read in one call, which has one deadline: some are large.
_WALKED = 64


class RedisTier:
    """A ``Tier`` in the Redis of ``settings``. It connects when first called, and again after a failure, by itself;
    nothing is ever sent twice. What is put expires there. Values under other namespaces are not touched."""

    name = "redis"

    def __init__(self, settings: RedisSettings) -> None:
        self._prefix = f"{settings.namespace}:cache:".encode()
        self._redis = RedisConnection(settings, CONNECTIONS)

    async def get(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        if not keys:
            return []
        async with self._redis.said():
            return await self._values([self._prefix + key for key in keys])

    async def put(self, items: Sequence[Kept]) -> None:
        if not items:
            return
        async with self._redis.said(), self._redis.client.pipeline(transaction=False) as pipeline:
            for item in items:
                pipeline.set(self._prefix + item.key, item.value, px=max(1, int(item.for_s * 1000)))
            await self._redis.carried_out(pipeline)

    async def delete(self, keys: Sequence[bytes]) -> None:
        if not keys:
            return
        async with self._redis.said():
            await self._redis.client.unlink(*(self._prefix + key for key in keys))

    async def walk(self) -> AsyncIterator[Items]:
        cursor = 0
        while True:
            async with self._redis.said():
                # No byte of a namespace means anything in a pattern.
                cursor, found = await self._redis.client.scan(cursor, match=self._prefix + b"*", count=_WALKED)
                names = cast(list[bytes], found)
                values = await self._values(names) if names else []
            start = len(self._prefix)
            yield [(name[start:], value) for name, value in zip(names, values, strict=True) if value is not None]
            if not cursor:
                return

    async def aclose(self) -> None:
        await self._redis.aclose()

    async def _values(self, names: Sequence[bytes]) -> Sequence[bytes | None]:
        # Answers are bytes, as this client decodes nothing.
        return cast("Sequence[bytes | None]", await self._redis.client.mget(names))
