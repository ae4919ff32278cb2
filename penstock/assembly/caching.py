"""Where answers and embeddings are kept, as the deployment file says: made in each worker, and in the supervisor for
what is done once for all.

What is missing or wrong in the file stops a start. A server that is away does not: its tier is a miss until it is
back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping

from penstock import catalog
from penstock.caches import Tier
from penstock.caches.answers import Answers
from penstock.caches.chain import Chain
from penstock.caches.config import CacheSettings, RedisSettings, S3Settings
from penstock.caches.embeddings import Embeddings
from penstock.caches.guarded import GuardedTier
from penstock.caches.tier_memory import MemoryTier
from penstock.core.caching import Invalidation
from penstock.core.clock import Clock
from penstock.core.metrics import Meter
from penstock.core.serving import Service
from penstock.gateway.vectors import Vectors

CLOSES_WITHIN_S = 3.0
VECTORS_FOR_S = 30 * 86400.0
"""How long an embedding is kept. A model's version gives a text the same one at any time."""

_log = logging.getLogger("penstock.caches")


class Caches:
    """One chain of tiers and what lies on it: ``answers``, ``embeddings``, and ``vectors`` of requests.
    For one event loop; ``aclose`` it.

    With ``memory`` False only what gateways share is in the chain. Nothing is connected to before it is asked for.
    Raises ``PenstockError(BAD_DEPLOYMENT)`` when a package that a tier needs is not installed, or its settings are
    wrong.
    """

    def __init__(self, settings: CacheSettings, *, clock: Clock, meter: Meter, memory: bool = True) -> None:
        kept = MemoryTier(settings.memory, clock) if memory and settings.memory else None
        tiers = [
            GuardedTier(
                tier,
                read_s=of.read_s,
                write_s=of.write_s,
                compress_from=settings.compress_from,
                most_waiting=settings.write_queue,
                most_waiting_bytes=settings.write_queue_bytes,
                clock=clock,
                meter=meter,
            )
            for tier, of in _tiers(settings)
        ]
        self._chain = Chain(kept, tiers, clock=clock, meter=meter)
        self.answers = Answers(self._chain, clock=clock)
        self.embeddings = Embeddings(self._chain, clock=clock, ttl_s=VECTORS_FOR_S)
        self.vectors = Vectors(self.embeddings, self.answers, clock)
        self._invalid: tuple[Invalidation, ...] = ()
        self._sweeping: asyncio.Task[None] | None = None

    def invalidate(self, records: tuple[Invalidation, ...]) -> None:
        """What all of ``records`` name is not served from now on, and memory forgets it in a moment."""
        if records == self._invalid:
            return
        self._invalid = records
        self.answers.invalidate(records)
        if self._sweeping is None or self._sweeping.done():
            self._sweeping = asyncio.get_running_loop().create_task(self._sweep())

    async def _sweep(self) -> None:
        swept: tuple[Invalidation, ...] | None = None
        while swept != self._invalid:
            swept = self._invalid
            await self.answers.sweep_memory()

    def measured(self) -> Mapping[tuple[str, ...], float]:
        """Has the meter up to date, and tells the levels of ``penstock.caches.metrics.WAITING``."""
        return self._chain.measured()

    async def aclose(self) -> None:
        """What waits to be written is written, as far as the tiers take it within ``CLOSES_WITHIN_S`` seconds.
        Idempotent."""
        await self.vectors.aclose()
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.wait((self._sweeping,))
        try:
            async with asyncio.timeout(CLOSES_WITHIN_S):
                await self._chain.aclose()
        except TimeoutError:
            _log.warning("a tier of the cache did not close in time; what it was not told yet is made anew")


def check(services: Iterable[Service]) -> None:
    """Raises ``PenstockError(BAD_DEPLOYMENT)`` when one of them compares questions and what that takes is not
    installed."""
    if any(service.policy.cache is not None and service.policy.cache.semantic is not None for service in services):
        catalog.load("semantic.index")


def _tiers(settings: CacheSettings) -> list[tuple[Tier, RedisSettings | S3Settings]]:
    """The fastest first. What a tier needs is loaded only where it is set."""
    found: list[tuple[Tier, RedisSettings | S3Settings]] = []
    if settings.redis is not None:
        found.append((catalog.load("tier.redis")(settings.redis), settings.redis))
    if settings.s3 is not None:
        found.append((catalog.load("tier.s3")(settings.s3), settings.s3))
    return found
