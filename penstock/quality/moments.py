"""Means, variances, and how much samples of the same units are alike."""

from __future__ import annotations

import math
from typing import Final

_PRIOR_VARIANCE: Final = 0.2
_PRIOR_WEIGHT: Final = 5.0


class Moments:
    """Mean and variance of what has been counted, in [-1, 1]. The variance begins as that of a coin that is a bit
    bent, so that the first stakes are neither timid nor reckless."""

    __slots__ = ("count", "squares", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.squares = 0.0

    def add(self, value: float) -> None:
        self.count += 1
        self.total += value
        self.squares += value * value

    def amend(self, before: float, now: float) -> None:
        self.total += now - before
        self.squares += now * now - before * before

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else 0.0

    @property
    def variance(self) -> float:
        spread = self.squares - self.total * self.total / self.count if self.count else 0.0
        return (_PRIOR_WEIGHT * _PRIOR_VARIANCE + max(0.0, spread)) / (_PRIOR_WEIGHT + self.count)


class Repeats:
    """How much less samples tell when units come again.

    ``n`` samples of one user are worth ``n / (1 + (n - 1) * r)`` of as many users, where ``r`` is the intra-class
    correlation: how alike the samples of one user are. It is estimated from the products of samples of one unit, and
    taken half a standard error higher than that.
    """

    __slots__ = ("_candidates", "_champions", "_products", "_sums", "_together")

    def __init__(self) -> None:
        self._candidates = _Counts()
        self._champions = _Counts()
        self._sums: dict[str, float] = {}
        self._products = 0.0
        self._together = 0

    def add(self, unit: str, deviation: float) -> None:
        """A sample of the candidate, by how far it is from its champions."""
        so_far = self._sums.get(unit, 0.0)
        self._products += 2 * so_far * deviation
        self._sums[unit] = so_far + deviation
        self._together += 2 * self._candidates.add(unit)

    def add_champion(self, unit: str) -> None:
        self._champions.add(unit)

    def amend(self, unit: str, before: float, now: float) -> None:
        """A sample that was counted is ``now`` so far from its champions."""
        others = self._sums[unit] - before
        self._products += 2 * others * (now - before)
        self._sums[unit] = others + now

    def design(self, mean: float, variance: float, candidate_part: float) -> float:
        """How many samples tell as much as one that is independent, at least 1. ``mean`` is of the deviations,
        ``variance`` of the candidate's samples; ``candidate_part`` is how much of a difference's variance comes from
        the candidate's."""
        repeated = candidate_part * self._candidates.repeated + (1 - candidate_part) * self._champions.repeated
        if repeated <= 1:
            return 1.0
        alike = 1.0
        if self._together:
            alike = (self._products / self._together - mean * mean) / variance + math.sqrt(0.5 / self._together)
        return 1 + min(1.0, max(0.0, alike)) * (repeated - 1)


class _Counts:
    __slots__ = ("_of", "_squares", "_total")

    def __init__(self) -> None:
        self._of: dict[str, int] = {}
        self._total = 0
        self._squares = 0

    def add(self, unit: str) -> int:
        """Counts one more; returns how many there had been."""
        before = self._of.get(unit, 0)
        self._of[unit] = before + 1
        self._total += 1
        self._squares += 2 * before + 1
        return before

    @property
    def repeated(self) -> float:
        """How many samples there are of the unit of a sample, in the mean; 1 where nothing has come."""
        return self._squares / self._total if self._total else 1.0
