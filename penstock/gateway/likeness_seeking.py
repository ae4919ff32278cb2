"""Seeking: a question is embedded and its desk asked, within a deadline; what fails is left alone for a while, so
that requests do not wait for it one after the other."""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Protocol

import msgspec

from penstock.caches.breaker import Breaker
from penstock.core.caching import DeskScope, Learnt, Seek, Sought, Taught, subject_digest
from penstock.core.clock import Clock
from penstock.core.errors import UPSTREAM_GARBLED, PenstockError
from penstock.core.metrics import Meter, Sample
from penstock.gateway import likeness_metrics as metrics
from penstock.gateway.inside import Embed
from penstock.gateway.likeness_audits import Subject
from penstock.gateway.likeness_checks import unit
from penstock.gateway.likeness_question import Question, space, within
from penstock.gateway.record import subject

_log = logging.getLogger("penstock.gateway")

WITHIN_S: Final = 2.0
"""How long a request waits to know; then it is a miss that no desk has counted, or will hear of."""


class Desks(Protocol):
    """The desks of all scopes, which the supervisor has."""

    async def seek(self, ask: Seek) -> Sought:
        """Counts the request and decides. Raises ``PenstockError`` when the supervisor cannot say."""

    def learn(self, what: Learnt) -> None:
        """Never waits and never raises."""

    def keep(self, what: Taught) -> None:
        """The same."""


class Told(msgspec.Struct, frozen=True):
    """What a desk was asked, and what it said."""

    ask: Seek
    sought: Sought


class Seeking:
    """One object per worker, used by all its tasks at once."""

    def __init__(self, desks: Desks, embed: Embed, clock: Clock, meter: Meter) -> None:
        self._desks = desks
        self._embed = embed
        self._clock = clock
        self._meter = meter
        self._late: set[asyncio.Task[Sought]] = set()
        self._breakers: dict[str, Breaker] = {}
        self._failing: set[tuple[str, str]] = set()

    async def __call__(
        self, of: Subject, asked: Question, scope: DeskScope, release: str, may_hit: bool
    ) -> Told | None:
        """What the desk of the scope says of the question. None: nobody can tell; after three times in a row nobody
        is asked for a moment. Waits for ``WITHIN_S`` at most."""
        name = of.service.name
        breaker = self._breakers.setdefault(name, Breaker())
        if not breaker.may(self._clock.now()):
            self._meter.record(Sample(metrics.UNSOUGHT, 1.0, (name, "resting")))
            return None
        reason = "embedding"
        try:
            async with asyncio.timeout(WITHIN_S):
                ask = await self._asking(of, asked, scope, release, may_hit)
                reason = "desk"
                told = Told(ask, await self._sought(ask))
        except TimeoutError:
            breaker.bad(self._clock.now())
            self._failed(name, "late", f"it took longer than {WITHIN_S:g} s")
            return None
        except PenstockError as error:
            if error.fault.retry or error.fault.status >= 500:
                breaker.bad(self._clock.now())
            else:
                # That text, mostly: the next may be embedded.
                breaker.unknown()
            self._failed(name, reason, error.message)
            return None
        except BaseException:
            breaker.unknown()
            raise
        breaker.good()
        self._failing.difference_update({(name, each) for each in ("embedding", "desk", "late")})
        return told

    async def aclose(self) -> None:
        """Waits for nobody any more."""
        late = tuple(self._late)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)

    async def _asking(self, of: Subject, asked: Question, scope: DeskScope, release: str, may_hit: bool) -> Seek:
        semantic = of.semantic
        embedded = space(semantic.embedder, of.admission.snapshot)
        who = subject_digest(subject(of.sent))
        name = f"{of.sent.request_id}:like"
        (vector,) = await self._embed(semantic.embedder, [asked.text], None, name=name, subject=who)
        floats = unit(vector)
        if floats is None:
            raise PenstockError(
                UPSTREAM_GARBLED,
                f"The service '{semantic.embedder}' gave a vector of no length; name one that embeds in `cache: "
                "semantic: embedder`.",
            )
        return Seek(
            scope=scope,
            release=release,
            semantic=semantic,
            request_id=of.sent.request_id,
            text=asked.text,
            rest=within(asked.rest, embedded),
            vector=floats,
            may_hit=may_hit,
        )

    async def _sought(self, ask: Seek) -> Sought:
        asking = asyncio.ensure_future(self._desks.seek(ask))
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            # The desk may have counted it by now: it is to hear that nothing came of it.
            self._late.add(asking)
            asking.add_done_callback(self._came_late)
            raise

    def _came_late(self, asking: asyncio.Task[Sought]) -> None:
        self._late.discard(asking)
        if asking.cancelled() or asking.exception() is not None:
            return
        if ticket := asking.result().ticket:
            self._desks.learn(Learnt(ticket, None))

    def _failed(self, service: str, reason: str, said: str) -> None:
        self._meter.record(Sample(metrics.UNSOUGHT, 1.0, (service, reason)))
        if (service, reason) not in self._failing:
            self._failing.add((service, reason))
            _log.warning(
                "the semantic cache of '%s' is not asked, and may not be for the requests that follow: %s",
                service,
                said,
            )
