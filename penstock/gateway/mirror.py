"""Mirror: copies of requests, for a release that nobody is served by. They cost the client nothing, come after
everybody else, and are never made again."""

from __future__ import annotations

import msgspec

from penstock.core.chat import Call
from penstock.core.clock import Clock
from penstock.core.errors import PenstockError
from penstock.core.metrics import Meter, Sample
from penstock.core.policy import Terms
from penstock.core.releases import Mirror
from penstock.core.serving import Service
from penstock.gateway import metrics
from penstock.gateway.backlog import Backlog
from penstock.gateway.inside import Ask, inner, read, size_of
from penstock.gateway.lot import FORCE, Lot
from penstock.gateway.most import price_of
from penstock.gateway.scoring import Scoring, Subject, counts
from penstock.gateway.settle import Summary
from penstock.gateway.snapshot import Admission, Snapshot

_DAY_S = 86_400

_AT_ONCE = 4
_WAITING = 64
_WAITING_BYTES = 16 << 20
_WITHIN_S = 300.0


class Mirroring:
    """Sends copies, a few at once; some more may wait, the rest is shed. Belongs to one event loop.

    Of a budget this worker has its share, one of ``workers``: what a day's copies come to is no more than that and
    what the copies under way cost. A worker that is started anew has spent nothing.
    """

    def __init__(self, scoring: Scoring, clock: Clock, meter: Meter, workers: int) -> None:
        self._scoring = scoring
        self._clock = clock
        self._meter = meter
        self._workers = workers
        self._backlog = Backlog(at_once=_AT_ONCE, waiting=_WAITING, size=_WAITING_BYTES, within_s=_WITHIN_S)
        self._day = 0
        self._spent: dict[tuple[str, str], int] = {}

    def offer(
        self, lot: Lot, call: Call, terms: Terms, admission: Admission, subject: Subject | None, ask: Ask
    ) -> bool:
        """Whether a copy of the call will be sent to the release that the lot is mirrored to. ``admission`` is the
        client's. ``subject`` is what the copy's scores are of, None: it is not scored."""
        mirror, variant = lot.mirror, lot.mirrored
        assert mirror is not None
        assert variant is not None
        where = (variant.name, mirror.release)
        if not self._paid(mirror, variant, call, admission.snapshot):
            self._count(where, "unpaid")
            return False
        copy = msgspec.structs.replace(call, request_id=f"{call.request_id}:copy")
        named = Terms(terms.timeout_s, headers={FORCE: mirror.release.encode()})
        models = admission.principal.models

        async def send() -> None:
            await self._send(copy, models, named, where, subject, ask)

        if not self._backlog.offer(send, size_of(call)):
            self._count(where, "shed")
            return False
        return True

    async def idle(self) -> None:
        """Returns once every copy has been answered."""
        await self._backlog.idle()

    async def aclose(self) -> None:
        """Breaks off what is under way."""
        await self._backlog.aclose()

    async def _send(
        self,
        copy: Call,
        models: frozenset[str] | None,
        terms: Terms,
        where: tuple[str, str],
        subject: Subject | None,
        ask: Ask,
    ) -> None:
        transcript = None if subject is None else self._scoring.transcript(subject.watched)
        summaries: list[Summary] = []
        error: PenstockError | None = None
        try:
            await read(await ask(copy, inner(models), terms, summaries.append), transcript)
        except PenstockError as failed:
            error = failed
        finally:
            self._spend(where, sum(summary.cost_nano for summary in summaries))
        self._count(where, "failed" if error is not None else "answered")
        if subject is not None and summaries and counts(summaries[0].ending, error, copied=True):
            self._scoring.over(subject, summaries[0], error, copy, transcript, ask)

    def _paid(self, mirror: Mirror, variant: Service, call: Call, on: Snapshot) -> bool:
        if mirror.budget_nano is None:
            return True
        at = self._clock.wall()
        if any(price_of(call, model, on, at) is None for model in variant.models):
            return False
        self._turn(at)
        return self._spent.get((variant.name, mirror.release), 0) < mirror.budget_nano // self._workers

    def _spend(self, where: tuple[str, str], nano: int) -> None:
        self._turn(self._clock.wall())
        self._spent[where] = self._spent.get(where, 0) + nano

    def _turn(self, at: float) -> None:
        if (day := int(at // _DAY_S)) != self._day:
            self._day = day
            self._spent.clear()

    def _count(self, where: tuple[str, str], outcome: str) -> None:
        self._meter.record(Sample(metrics.COPIES, 1.0, (*where, outcome)))
