"""How many hits were wrong, at most: an upper confidence sequence from audits of a part of them.

Hit i is wrong (w = 1) or not; it is audited (A = 1) with a probability q that was fixed before, and so was the risk m
that a model predicted. The estimate of w is doubly robust: ``m + A (w - m) / q``, whose mean is w whatever m is. Its
error ``X = (w - m)(1 - A / q)`` has mean 0, and a moment generating function that is known exactly for w = 1 and for
w = 0: its logarithms are ``psi1`` and ``psi0``. For a kappa > 0, choose for each hit the lambda for which
``lambda - psi1(lambda) + psi0(lambda) = kappa``. Then

    exp(kappa * W - sum(lambda * estimate + psi0)),    W the number of wrong hits,

is a martingale that begins at 1, however an adversary who sees all earlier audits chooses the next w. The mean over a
grid of kappas is one as well, so by Ville's inequality it ever reaches 1 / alpha with a chance of at most alpha: with
1 - alpha, all W at which it does not are a confidence sequence, valid at every moment and however often one looks
(after Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", JRSS B 2023; here the
betting is on the coins of the audits, which are ours). Hits with q = 1 are counted, not estimated.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

_LEVELS: Final = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5)
"""Predicted risks are rounded down to one of these: the bound holds for any."""


def _kappas() -> Numbers:
    return np.geomspace(0.001, 6.0, 56)


class Audit(msgspec.Struct, frozen=True, gc=False):
    """One hit: with which probability it is audited, in (0, 1], and how likely it was predicted to be wrong."""

    probability: float
    risk: float


class LedgerState(msgspec.Struct, frozen=True):
    """A ledger without what was open: that is lost, and stays counted as wrong."""

    hits: int
    audits: int
    counted: int
    """Hits with q = 1 that were wrong."""
    seen: int
    """Hits with q < 1 that were audited and wrong."""
    unseen: int
    """Hits with q < 1 of which nobody knows."""
    estimate: float
    spent: tuple[float, ...]


class Ledger:
    """Every hit is entered when it is served, once; one that is audited is closed when its audit has come to an end.
    Until then it counts as wrong. ``alpha`` is the chance, in (0, 1), that the bound ever fails."""

    def __init__(self, alpha: float, state: LedgerState | None = None) -> None:
        self._kappas = _kappas()
        self._evidence = math.log(len(self._kappas) / alpha)
        self._rates: dict[tuple[float, float], tuple[Numbers, Numbers]] = {}
        self.hits = state.hits if state else 0
        self.audits = state.audits if state else 0
        self._counted = state.counted if state else 0
        self._seen = state.seen if state else 0
        self._unseen = state.unseen if state else 0
        self._estimate = state.estimate if state else 0.0
        self._spent = np.array(state.spent) if state else np.zeros(len(self._kappas))
        self._held = np.zeros(len(self._kappas))
        self._open_counted = self._open = 0
        self._upper: int | None = None
        self._since = 0

    def enter(self, audit: Audit, audited: bool) -> None:
        """A hit is served. ``audited`` is the coin's word; whoever passes anything else has no bound."""
        self.hits += 1
        self._since += 1
        if audit.probability >= 1.0:
            self._open_counted += 1
            return
        weight, cost = self._rate(audit)
        # A kappa that this probability does not carry is out of the mean, for good.
        self._spent = np.where(np.isinf(weight), np.inf, self._spent)
        if audited:
            self._open += 1
            self._held += self._term(audit, wrong=True)
        else:
            self._unseen += 1
            risk = _level(audit.risk)
            self._estimate += risk
            self._spent += np.where(np.isinf(weight), 0.0, weight) * risk + cost

    def close(self, audit: Audit, wrong: bool) -> None:
        """The audit of a hit that was entered as audited came to this. An audit that failed is ``wrong``: to leave it
        out would let failures hide wrong hits."""
        self.audits += 1
        self._upper = None
        if audit.probability >= 1.0:
            self._open_counted -= 1
            self._counted += wrong
            return
        self._open -= 1
        self._held = self._held - self._term(audit, wrong=True) if self._open else np.zeros(len(self._kappas))
        self._seen += wrong
        risk = _level(audit.risk)
        self._estimate += risk + (wrong - risk) / audit.probability
        self._spent += self._term(audit, wrong)

    @property
    def wrong_seen(self) -> int:
        """Wrong hits that audits found."""
        return self._counted + self._seen

    @property
    def estimate(self) -> float:
        """How many hits were wrong, without bias. May be below 0 or above the bound."""
        return self._counted + self._estimate

    def upper(self) -> int:
        """At most so many hits were wrong, with a chance of ``1 - alpha`` for all moments together."""
        if self._upper is None or self._since:
            known = self._counted + self._open_counted
            sure = self._seen + self._open
            rest = min(sure + self._unseen, max(sure, self._rest())) if sure + self._unseen else 0
            self._upper, self._since = known + rest, 0
        return self._upper

    def within(self, limit: float) -> bool:
        """Whether the bound is at most ``limit``. Cheaper than ``upper``: no hit can be more than one wrong hit."""
        if self._upper is not None and self._upper + self._since <= limit:
            return True
        return self.upper() <= limit

    def state(self) -> LedgerState:
        """To begin again with. What is open is entered as lost."""
        return LedgerState(
            hits=self.hits,
            audits=self.audits,
            counted=self._counted + self._open_counted,
            seen=self._seen + self._open,
            unseen=self._unseen,
            estimate=self._estimate + self._open,
            spent=tuple((self._spent + self._held).tolist()),
        )

    def _rest(self) -> int:
        """The largest number of wrong hits with q < 1 that the evidence leaves possible."""
        spent = self._spent + self._held
        alive = np.isfinite(spent)
        kappas, spent = self._kappas[alive], spent[alive]
        if not len(kappas):
            return self.hits
        # A sum of exponentials is convex, and from above Newton's method never passes the root.
        number = float(((self._evidence + spent) / kappas).min())
        for _ in range(60):
            logs = kappas * number - spent
            top = logs.max()
            parts = np.exp(logs - top)
            step = (top + math.log(parts.sum()) - self._evidence) / (float(parts @ kappas) / parts.sum())
            number -= step
            if step < 1e-7 * (1.0 + abs(number)):
                break
        return math.floor(number + 1e-6)

    def _term(self, audit: Audit, wrong: bool) -> Numbers:
        """``lambda * estimate + psi0`` of an audited hit."""
        weight, cost = self._rate(audit)
        risk = _level(audit.risk)
        estimate = risk + (wrong - risk) / audit.probability
        return np.where(np.isinf(weight), 0.0, weight) * estimate + cost

    def _rate(self, audit: Audit) -> tuple[Numbers, Numbers]:
        """``lambda`` and ``psi0`` for each kappa."""
        key = (audit.probability, _level(audit.risk))
        if (found := self._rates.get(key)) is None:
            if len(self._rates) > 4096:
                self._rates.clear()
            found = self._rates[key] = _solved(self._kappas, *key)
        return found


def _level(risk: float) -> float:
    return max(level for level in _LEVELS if level <= max(risk, 0.0))


def _solved(kappas: Numbers, q: float, m: float) -> tuple[Numbers, Numbers]:
    if m == 0.0:
        # Then psi0 is 0, and exp(-kappa) = 1 - q + q exp(-lambda / q) has a solution while kappa < -log(1 - q).
        left = 1.0 - (1.0 - np.exp(-kappas)) / q
        return np.where(left > 0.0, -q * np.log(np.maximum(left, 1e-300)), np.inf), np.zeros(len(kappas))
    low, high = np.zeros(len(kappas)), kappas / m
    for _ in range(70):
        middle = (low + high) / 2
        psi1, psi0 = _moments(middle, q, m)
        above = middle - psi1 + psi0 > kappas
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    # Rounded up, the left side is at least kappa: the sum is a supermartingale.
    return high, _moments(high, q, m)[1]


def _moments(weight: Numbers, q: float, m: float) -> tuple[Numbers, Numbers]:
    missed, caught = math.log1p(-q), math.log(q)
    psi1 = np.logaddexp(missed + weight * (1 - m), caught + weight * (1 - m) * (1 - 1 / q))
    psi0 = np.logaddexp(missed - weight * m, caught + weight * m * (1 / q - 1))
    return psi1, psi0
