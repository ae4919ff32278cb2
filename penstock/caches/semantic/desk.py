"""One scope's semantic cache: decides for each request whether the answer of the nearest entry serves, and learns.

    verdict = desk.decide(candidate, coin)    every request that may be served from here, or ``desk.alone()``
    desk.learn(verdict.ticket, same)          a miss was compared with the entry; an audit has come to its end
    lesson = desk.lesson()                    now and then; ``lesson.learnt()`` may run in a thread
    desk.adopt(model)

A desk is used from one thread. It holds no text, and the same calls make the same desk.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.caches.semantic import control, features
from penstock.caches.semantic.control import Limits, Optimism, Standing
from penstock.caches.semantic.ledger import Audit, Ledger
from penstock.caches.semantic.memory import Entries, Ring
from penstock.caches.semantic.model import Lesson, Model, Numbers, Rows, chances
from penstock.caches.semantic.profile import Profile
from penstock.caches.semantic.vetoes import Veto, veto

Vector = NDArray[np.float32]

Reason = Literal["serves", "learning", "risk", "bound", "budget", "alone"] | Veto
"""Why a request is a hit or is none: the same answer serves; too few labels yet; too likely to be wrong; the bound on
wrong hits is at its limit; what audits may cost is spent; there is no entry; or what two texts may not differ in."""

LABELS: Final = 20_000
WINDOW: Final = 6_000
ENTRIES: Final = 100_000
OPEN: Final = 4_096
_EVERY: Final = 100
_GROWTH: Final = 0.35
_HEAVIEST: Final = 20.0


class Candidate(msgspec.Struct, frozen=True):
    """A request and the nearest entry. Embeddings have length 1 and one dimension for all of a scope."""

    asked: Profile
    answered: Profile
    asked_vector: Vector
    answered_vector: Vector
    entry: str


class Verdict(msgspec.Struct, frozen=True):
    """``audited``: the hit is served, and an answer must be generated behind it and compared. ``probability``: of
    that, 1 for a miss, whose answer is generated anyway. ``risk``: of being wrong, in [0, 1], as the model predicts
    it, 1 while it cannot."""

    ticket: int
    hit: bool
    audited: bool
    probability: float
    risk: float
    reason: Reason


class Figures(msgspec.Struct, frozen=True):
    """What a person or a metric may know. ``threshold`` below 0: nothing hits."""

    requests: int
    hits: int
    audits: int
    wrong_seen: int
    wrong_estimate: float
    wrong_at_most: int
    threshold: float
    optimism: float
    probability: float
    labels: int
    model_labels: int


class _Open(msgspec.Struct):
    row: Rows
    entry: str
    risk: float
    audit: Audit | None
    """Of a hit."""
    audited: bool


class Desk:
    """``dimensions`` is of the embeddings."""

    def __init__(self, limits: Limits, dimensions: int) -> None:
        self.limits = limits
        self.dimensions = dimensions
        self.rarity = features.Rarity()
        self.ledger = Ledger(limits.alpha)
        self.labels = Ring(LABELS, features.COUNT + dimensions)
        """With whether the same answer served, and the weight."""
        self.window = Ring(WINDOW, features.COUNT + dimensions)
        """With the model's log odds, and the entry's correction; negative infinity for what cannot hit."""
        self.entries = Entries(ENTRIES)
        self.optimism = Optimism()
        self.model: Model | None = None
        self.requests = 0
        self.threshold = -1.0
        self.tickets = 0
        self.due = limits.first_labels
        self._open: OrderedDict[int, _Open] = OrderedDict()
        self._audits: dict[int, _Open] = {}

    def alone(self) -> Verdict:
        """A request for which there is no entry near: a miss, and counts as a request."""
        self.tickets += 1
        self._count()
        return Verdict(self.tickets, False, False, 1.0, 1.0, "alone")

    def decide(self, candidate: Candidate, coin: float, *, may_hit: bool = True) -> Verdict:
        """``coin`` is uniform in [0, 1), new for each call and unknown to whoever asks: the audits hang on it. A miss
        should be told to ``learn`` when its answer has been compared with the entry's; an audited hit must be. What
        would be a hit is a miss unless ``may_hit``; the caller must not know the coin when he says so."""
        asked, answered = candidate.asked, candidate.answered
        product = candidate.asked_vector * candidate.answered_vector
        row = self._row(asked, answered, product)
        self.rarity.meet(asked.bag)
        against = veto(asked, answered)
        shift = self.entries.shift(candidate.entry)
        score = float(self.model.scores(row[None])[0]) if self.model else 0.0
        risk = 1.0 / (1.0 + math.exp(max(-30.0, min(30.0, score + shift)))) if self.model else 1.0
        reason = self._reason(against, risk, may_hit)
        probability = control.audited(self.limits, self.requests) if reason == "serves" else 1.0
        audit = Audit(probability, risk) if reason == "serves" else None
        audited = audit is not None and coin < probability
        self.tickets += 1
        if not against:
            self._remember(_Open(row, candidate.entry, risk, audit, audited))
        if audit:
            self.ledger.enter(audit, audited)
            if not audited:
                self.optimism.hit(risk, 0.0)
        self.window.add(row, score, -np.inf if against else shift)
        self._count()
        return Verdict(self.tickets, audit is not None, audited, probability, 1.0 if against else risk, reason)

    def learn(self, ticket: int, same: bool) -> None:
        """Whether the entry's answer serves the request of this ticket. Of a miss, or of an audited hit; for a hit
        that was not audited it is somebody's word, which teaches and proves nothing. Passed over where there is
        nothing to learn: a ticket that is not open any more (4,096 are, beside the audits), a pair that could never
        hit."""
        met = self._audits.pop(ticket, None) or self._open.pop(ticket, None)
        if met is None:
            return
        weight = 1.0
        if met.audited and met.audit is not None:
            weight = min(_HEAVIEST, 1.0 / met.audit.probability)
            self.ledger.close(met.audit, not same)
            self.optimism.hit(met.risk, 0.0 if same else 1.0 / met.audit.probability)
        self.labels.add(met.row, float(same), weight)
        if self.model:
            self.entries.label(met.entry, 1.0 - met.risk, same)

    def lost(self, ticket: int) -> None:
        """There will be no label: the comparison failed. A hit whose audit is lost stays counted as wrong."""
        self._open.pop(ticket, None)
        met = self._audits.pop(ticket, None)
        if met is not None and met.audit is not None:
            self.ledger.close(met.audit, wrong=True)

    def lesson(self) -> Lesson | None:
        """What to learn now, ``None`` as long as there is little new. The next is due when labels have grown by a
        third, by half of what is remembered at most."""
        if self.labels.added < self.due:
            return None
        self.due = self.labels.added + 50 + int(min(_GROWTH * self.labels.added, LABELS / 2))
        rows, same, weights = self.labels.kept()
        return Lesson(rows, same > 0.5, weights, self.labels.added, self.model)

    def adopt(self, model: Model) -> None:
        """From now on this model predicts; the threshold is found anew."""
        self.model = model
        count = len(self.window)
        self.window.first[:count] = model.scores(self.window.rows[:count])
        self._aim()

    def figures(self) -> Figures:
        """As of now."""
        return Figures(
            requests=self.requests,
            hits=self.ledger.hits,
            audits=self.ledger.audits,
            wrong_seen=self.ledger.wrong_seen,
            wrong_estimate=self.ledger.estimate,
            wrong_at_most=self.ledger.upper(),
            threshold=self.threshold,
            optimism=self.optimism.ratio(),
            probability=control.audited(self.limits, self.requests),
            labels=self.labels.added,
            model_labels=self.model.labels if self.model else 0,
        )

    def _row(self, asked: Profile, answered: Profile, product: Numbers) -> Rows:
        row = np.empty(features.COUNT + self.dimensions, np.float16)
        row[: features.COUNT] = features.features(asked, answered, float(product.sum()), self.rarity)
        row[features.COUNT :] = product
        return row

    def _reason(self, against: Veto | None, risk: float, may_hit: bool) -> Reason:
        if against:
            return against
        if self.model is None:
            return "learning"
        if risk > self.threshold:
            return "risk"
        if not may_hit:
            return "budget"
        limit = control.allowed(self.limits, self.requests, self.ledger.hits)
        free = len(self._audits) < OPEN and self.ledger.within(limit - 1.0)
        return "serves" if free else "bound"

    def _remember(self, met: _Open) -> None:
        (self._audits if met.audited else self._open)[self.tickets] = met
        if len(self._open) > OPEN:
            self._open.popitem(last=False)

    def _count(self) -> None:
        self.requests += 1
        if self.model and self.requests % _EVERY == 0:
            self._aim()

    def _aim(self) -> None:
        count = len(self.window)
        risks = np.sort(1.0 - chances(self.window.first[:count] + self.window.second[:count]))
        at = Standing(self.requests, self.ledger.hits, self.ledger.upper(), self.ledger.estimate)
        optimism = self.optimism.ratio()
        share = control.aim(self.limits, at, optimism)
        self.threshold = control.threshold(self.limits, risks, share, optimism)
