"""The tier in Redis, shared by gateways: Redis 7 or later, Valkey too (``pip install 'penstock[redis]'``)."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import cast

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from penstock.caches import Items, Kept, TierFailed
from penstock.caches.config import RedisSettings
from penstock.core.errors import BAD_DEPLOYMENT, PenstockError

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
        try:
            pool = BlockingConnectionPool.from_url(
                settings.url,
                max_connections=CONNECTIONS,
                # Deadlines are the caller's, and hold for the wait for a connection, too.
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
        self._pool = pool
        self._client = Redis(connection_pool=pool)

    async def get(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        if not keys:
            return []
        async with self._said():
            return await self._values([self._prefix + key for key in keys])

    async def put(self, items: Sequence[Kept]) -> None:
        if not items:
            return
        async with self._said(), self._client.pipeline(transaction=False) as pipeline:
            for item in items:
                pipeline.set(self._prefix + item.key, item.value, px=max(1, int(item.for_s * 1000)))
            # The error that it would raise has the answer in it.
            said = cast(list[object], await pipeline.execute(raise_on_error=False))
            if (failed := next((each for each in said if isinstance(each, Exception)), None)) is not None:
                raise failed

    async def delete(self, keys: Sequence[bytes]) -> None:
        if not keys:
            return
        async with self._said():
            await self._client.unlink(*(self._prefix + key for key in keys))

    async def walk(self) -> AsyncIterator[Items]:
        cursor = 0
        while True:
            async with self._said():
                # No byte of a namespace means anything in a pattern.
                cursor, found = await self._client.scan(cursor, match=self._prefix + b"*", count=_WALKED)
                names = cast(list[bytes], found)
                values = await self._values(names) if names else []
            start = len(self._prefix)
            yield [(name[start:], value) for name, value in zip(names, values, strict=True) if value is not None]
            if not cursor:
                return

    async def aclose(self) -> None:
        await self._client.aclose()
        await self._pool.disconnect()

    async def _values(self, names: Sequence[bytes]) -> Sequence[bytes | None]:
        # Answers are bytes, as this client decodes nothing.
        return cast("Sequence[bytes | None]", await self._client.mget(names))

    @contextlib.asynccontextmanager
    async def _said(self) -> AsyncIterator[None]:
        try:
            yield
        except Exception as error:
            # Connections that nobody uses are to the same server, which may be another one soon.
            await self._pool.disconnect(inuse_connections=False)
            raise TierFailed(f"{type(error).__name__}: {error}") from error
