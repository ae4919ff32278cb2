"""Does every request have the scores that it should have?"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Final

from penstock.core.releases import Measure, Scorer

EVERY: Final[frozenset[Scorer]] = frozenset(("success", "latency", "speed", "cost", "format", "similarity"))
"""Scorers that say something of every request, but for answers of a cache, of which only ``success`` speaks. Models
that judge may judge a part, and people say what they like."""

_MINUTE_S: Final = 60.0
_LATEST_S: Final = 180.0
_ENOUGH: Final = 200
_DEVIATIONS: Final = 6.0


class Missing:
    """Counts scores by metric, arm and minute of their request."""

    def __init__(self, measures: Sequence[Measure]) -> None:
        every = [each for each in measures if each.scorer in EVERY]
        self._places = {each.metric: place for place, each in enumerate(every)}
        self._others = [place for place, each in enumerate(every) if each.scorer != "success"]
        self._minutes: dict[int, tuple[list[int], list[int]]] = {}
        # What each minute adds to the sums; those that have changed are summed again when somebody asks.
        self._parts: dict[int, _Part] = {}
        self._changed: set[int] = set()
        self._sum = _Part(len(every))

    def add(self, metric: str, at: float, *, candidate: bool) -> None:
        """Counts a score of a request that came ``at``."""
        place = self._places.get(metric)
        if place is None:
            return
        minute = int(at // _MINUTE_S)
        counts = self._minutes.get(minute)
        if counts is None:
            counts = self._minutes[minute] = ([0] * len(self._places), [0] * len(self._places))
        counts[0 if candidate else 1][place] += 1
        self._changed.add(minute)

    def found(self, now: float, silent: Collection[str]) -> str:
        """Which metric lacks scores, in one sentence; empty: none is known to. Requests of the last three minutes are
        left out: their scores may be on the way; so are ``silent`` metrics, which are known to have none.

        A metric lacks scores where 200 requests of the candidate ended and none was scored; and where, in minutes in
        which it was scored at all, it covers the two arms so differently (by six standard deviations) that the
        difference is none of chance.
        """
        summed = self._until(int((now - _LATEST_S) // _MINUTE_S))
        for metric, place in self._places.items():
            if place not in self._others or metric in silent:
                continue
            mine, other, of, of_other = summed.coverage[place]
            if not mine + other and summed.requests >= _ENOUGH:
                return f"Not one of {summed.requests} requests has a score of {metric}."
            if _differ(mine, of, other, of_other):
                return (
                    f"{metric} has scores of {mine} of {of} requests of the candidate, and of {other} of {of_other} "
                    "of the champion: it cannot be compared."
                )
        return ""

    def _until(self, before: int) -> _Part:
        """The sum of all minutes up to ``before``, not included."""
        for minute in self._changed:
            if minute in self._parts:
                self._sum.add(self._parts[minute], -1)
            part = self._parts[minute] = self._part(minute)
            self._sum.add(part, 1)
        self._changed.clear()
        summed = _Part(len(self._places))
        summed.add(self._sum, 1)
        for minute in range(before, max(self._minutes, default=before) + 1):
            if minute in self._parts:
                summed.add(self._parts[minute], -1)
        return summed

    def _part(self, minute: int) -> _Part:
        mine, other = self._minutes[minute]
        fullest = [max((counts[place] for place in self._others), default=0) for counts in (mine, other)]
        part = _Part(len(self._places))
        part.requests = max(mine, default=0)
        for place in self._others:
            if mine[place] or other[place]:
                part.coverage[place] = (mine[place], other[place], fullest[0], fullest[1])
        return part


class _Part:
    """``requests`` of the candidate; by metric, how many of the candidate's and of the champion's requests have a
    score, and of how many of each."""

    __slots__ = ("coverage", "requests")

    def __init__(self, metrics: int) -> None:
        self.requests = 0
        self.coverage = [(0, 0, 0, 0)] * metrics

    def add(self, other: _Part, sign: int) -> None:
        self.requests += sign * other.requests
        self.coverage = [
            (a + sign * e, b + sign * f, c + sign * g, d + sign * h)
            for (a, b, c, d), (e, f, g, h) in zip(self.coverage, other.coverage, strict=True)
        ]


def _differ(some: int, of: int, others: int, of_others: int) -> bool:
    if not of or not of_others:
        return False
    mean = (some + others) / (of + of_others)
    error = math.sqrt(mean * (1 - mean) * (1 / of + 1 / of_others))
    return abs(some / of - others / of_others) > _DEVIATIONS * error > 0
