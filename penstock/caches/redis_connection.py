"""Connections to the Redis of caches: 7 or later, Valkey too (``pip install 'penstock[redis]'``)."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import cast

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from penstock.caches import TierFailed
from penstock.caches.config import RedisSettings
from penstock.core.errors import BAD_DEPLOYMENT, PenstockError


class RedisConnection:
    """``most`` connections to the Redis of ``settings``, made when first asked for, and again after a failure, by
    themselves; nothing is ever sent twice. Deadlines are the caller's, and hold for the wait for a connection, too.
    Raises ``PenstockError(BAD_DEPLOYMENT)`` for a URL that is none."""

    def __init__(self, settings: RedisSettings, most: int) -> None:
        try:
            self._pool = BlockingConnectionPool.from_url(
                settings.url,
                max_connections=most,
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
        self.client = Redis(connection_pool=self._pool)

    @contextlib.asynccontextmanager
    async def said(self) -> AsyncIterator[None]:
        """What fails in the block is a ``TierFailed``."""
        try:
            yield
        except Exception as error:
            # Connections that nobody uses are to the same server, which may be another one soon.
            await self._pool.disconnect(inuse_connections=False)
            raise TierFailed(f"{type(error).__name__}: {error}") from error

    async def carried_out(self, pipeline: Pipeline) -> None:
        """Raises the first error that the server tells of any of its commands."""
        # The error that it would raise has the command in it, and with that the answer.
        said = cast(list[object], await pipeline.execute(raise_on_error=False))
        if (failed := next((each for each in said if isinstance(each, Exception)), None)) is not None:
            raise failed

    async def aclose(self) -> None:
        """Idempotent."""
        await self.client.aclose()
        await self._pool.disconnect()
