"""How much may be dared: the threshold below which a predicted risk is a hit, the share of hits that is audited, and
when hits stop. Pure."""

from __future__ import annotations

import math
from typing import Final

import msgspec
import numpy as np

from penstock.caches.semantic.model import Numbers

_AIM: Final = 0.93
"""How much of the budget is aimed at: what is left keeps the stop, which is sudden, from being met."""
_NEAREST: Final = 4000
_BOLDEST: Final = 1.2
"""The share of wrong hits that is aimed at is at most this much of ``max_error``, however much was saved before."""
_WORST: Final = 0.5
_AUDITED: Final = 150.0
_STEP: Final = 0.9
_GRACE: Final = 5
_MEMORY: Final = 0.9995


class Limits(msgspec.Struct, frozen=True):
    """What the operator asks for. ``max_error``: wrong hits per request, in (0, 1); ``max_wrong_per_hit``: wrong hits
    per hit, five of them aside, in (0, 1); ``audit_floor``: the least share of hits that is audited, in (0, 1];
    ``alpha``: the chance that the bound fails."""

    max_error: float
    max_wrong_per_hit: float | None = None
    audit_floor: float = 0.05
    alpha: float = 0.05
    first_labels: int = 1000
    """Before so many labels there are no hits."""


class Standing(msgspec.Struct, frozen=True):
    """Where a scope is: requests and hits so far, at most how many were wrong, and about how many."""

    requests: int
    hits: int
    upper: int
    estimate: float


def audited(limits: Limits, requests: int) -> float:
    """With which probability the next hit is audited: 1 at the beginning, never rising, a power of 0.9 or the floor.
    Audits are many while the budget is so small that a few unseen wrong hits would use it up."""
    wanted = 1.0 / (1.0 + limits.max_error * requests / _AUDITED)
    if wanted > _STEP:
        return 1.0
    return max(limits.audit_floor, _STEP ** math.floor(math.log(wanted) / math.log(_STEP)))


def allowed(limits: Limits, requests: int, hits: int) -> float:
    """How many wrong hits there may be in all, with the next request, if it is a hit."""
    most = limits.max_error * (requests + 1)
    if limits.max_wrong_per_hit is not None:
        most = min(most, limits.max_wrong_per_hit * (hits + 1) + _GRACE)
    return most


def aim(limits: Limits, at: Standing, optimism: float) -> float:
    """Which share of the requests to come may be wrong hits, as the model predicts them: what brings the bound to the
    budget over the next requests (half as many as there were, at least 4,000), less what the bound adds to the truth,
    less what the model is too hopeful by (``optimism``, 1 for a model that is right)."""
    ahead = max(_NEAREST, at.requests / 2)
    left = _AIM * limits.max_error * (at.requests + ahead) - at.upper
    widening = max(1.0, at.upper / max(1.0, at.estimate)) if at.estimate > 5 else 1.0
    share = left / ahead / widening / optimism
    return min(max(share, 0.0), _BOLDEST * limits.max_error)


def threshold(limits: Limits, risks: Numbers, share: float, optimism: float) -> float:
    """The risk up to which requests like these may hit, so that the expected share of wrong hits among all is at most
    ``share``. At most a half: what is more likely wrong than right is no hit, whatever the budget. -1: none may.
    ``risks`` are of recent requests, sorted; 1 for those that can never hit."""
    if not len(risks):
        return -1.0
    wrong = risks.astype(np.float64).cumsum()
    count = int((wrong <= share * len(risks)).sum())
    if limits.max_wrong_per_hit is not None:
        per_hit = optimism * wrong[:count] / np.arange(1, count + 1)
        count = int((per_hit <= _AIM * limits.max_wrong_per_hit).sum())
    return min(_WORST, float(risks[count - 1])) if count else -1.0


class Optimism:
    """Wrong hits that audits found, over those that the model predicted, of about the newest 2,000 hits. A model is
    too hopeful of what it selects itself."""

    def __init__(self, found: float = 0.0, predicted: float = 0.0) -> None:
        self.found = found
        self.predicted = predicted

    def hit(self, risk: float, found: float) -> None:
        """``found``: 1 / q for an audited hit that was wrong, else 0."""
        self.found = _MEMORY * self.found + found
        self.predicted = _MEMORY * self.predicted + risk

    def ratio(self) -> float:
        """1 as long as nothing is known."""
        return (self.found + 5.0) / (self.predicted + 5.0)
