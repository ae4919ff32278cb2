"""Trial: what is done with one request for the sake of a rollout, once it is over: it is scored, and copied."""

from __future__ import annotations

import msgspec

from penstock.core.caching import GIVEN
from penstock.core.chat import Call
from penstock.core.clock import Clock
from penstock.core.errors import PenstockError
from penstock.core.metrics import Meter
from penstock.core.policy import Terms
from penstock.core.releases import Score, Scored
from penstock.core.serving import Watched
from penstock.core.trail import Ending, Trail
from penstock.gateway.capture import Transcript
from penstock.gateway.inside import Ask, Embed
from penstock.gateway.lease import Lease
from penstock.gateway.lot import Lot
from penstock.gateway.means import Journal
from penstock.gateway.mirror import Mirroring
from penstock.gateway.scoring import Scoring, Subject, counts
from penstock.gateway.settle import Settle, Summary
from penstock.gateway.snapshot import Admission
from penstock.gateway.tries import Try


class Trials:
    """One object per worker, used by all its tasks at once. ``embed`` embeds answers that are compared, ``workers``
    is how many of them share a copy's budget."""

    def __init__(self, journal: Journal, clock: Clock, meter: Meter, embed: Embed, *, workers: int = 1) -> None:
        self._journal = journal
        self._scoring = Scoring(journal, clock, meter, embed)
        self._mirroring = Mirroring(self._scoring, clock, meter, workers)

    def begin(self, lot: Lot, call: Call, terms: Terms, admission: Admission, ask: Ask) -> Trial:
        """That of a request as the client sent it, which has drawn ``lot``. ``ask`` asks the gateway."""
        return Trial(self._scoring, self._mirroring, lot, call, terms, admission, ask)

    def note(self, scores: tuple[Score, ...]) -> None:
        """Has what a client says of answers in the journal. Raises ``PenstockError(JOURNAL_FULL)``."""
        self._journal.write(Scored(scores))

    async def idle(self) -> None:
        """Returns once nothing is left to do."""
        await self._mirroring.idle()
        await self._scoring.idle()

    async def aclose(self) -> None:
        """Breaks off what is under way."""
        await self._mirroring.aclose()
        await self._scoring.aclose()


class Trial:
    """One request's. ``hearing`` takes down what its client is told."""

    __slots__ = ("_admission", "_ask", "_call", "_lot", "_mirroring", "_scoring", "_terms", "hearing")

    def __init__(
        self,
        scoring: Scoring,
        mirroring: Mirroring,
        lot: Lot,
        call: Call,
        terms: Terms,
        admission: Admission,
        ask: Ask,
    ) -> None:
        self._scoring = scoring
        self._mirroring = mirroring
        self._lot = lot
        self._call = call
        self._terms = terms
        self._admission = admission
        self._ask = ask
        transcript = None if lot.watched is None else scoring.transcript(lot.watched)
        self.hearing: tuple[Transcript, ...] = () if transcript is None else (transcript,)

    def settling(self, settle: Settle) -> Settle:
        """``settle``, and then what is to be done."""

        def settled(
            trail: Trail, ending: Ending, error: PenstockError | None, lease: Lease | None, won: Try | None
        ) -> Summary:
            summary = settle(trail, ending, error, lease, won)
            if summary.cache not in GIVEN and counts(ending, error):
                self._over(summary, error)
            return summary

        return settled

    def _over(self, summary: Summary, error: PenstockError | None) -> None:
        lot = self._lot
        watched = lot.watched
        subject = None if watched is None else self._subject(watched, summary)
        if lot.mirror is not None:
            copied = None
            if subject is not None and subject.paired:
                champion = self.hearing[0] if self.hearing else None
                copied = msgspec.structs.replace(subject, release=lot.mirror.release, copied=True, champion=champion)
            sent = self._mirroring.offer(lot, self._call, self._terms, self._admission, copied, self._ask)
            if not sent and not lot.recorded:
                # Its scores would have been of use beside the copy's alone.
                subject = None
        if subject is not None:
            transcript = self.hearing[0] if self.hearing else None
            self._scoring.over(subject, summary, error, self._call, transcript, self._ask)

    def _subject(self, watched: Watched, summary: Summary) -> Subject:
        return Subject(
            request_id=summary.request_id,
            at=summary.wall,
            service=summary.service,
            release=summary.release,
            unit=self._lot.unit,
            watched=watched,
            paired=self._lot.mirror is not None and self._lot.mirror.release == watched.candidate,
        )
