"""Does every request have the scores that it should have?"""

from __future__ import annotations

import math
from collections import Counter
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
        self._success = [each.metric for each in measures if each.scorer == "success"]
        self._others = [each.metric for each in measures if each.scorer in EVERY and each.scorer != "success"]
        self._counts: Counter[tuple[str, bool, int]] = Counter()
        self._minutes: set[int] = set()

    def add(self, metric: str, at: float, *, candidate: bool) -> None:
        minute = int(at // _MINUTE_S)
        self._minutes.add(minute)
        self._counts[metric, candidate, minute] += 1

    def found(self, now: float, silent: Collection[str]) -> str:
        """Which metric lacks scores, in one sentence; empty: none is known to. Requests of the last three minutes are
        left out: their scores may be on the way; so are ``silent`` metrics, which are known to have none.

        A metric lacks scores where 200 requests of the candidate ended and none was scored; and where, in minutes in
        which it was scored at all, it covers the two arms so differently (by six standard deviations) that the
        difference is none of chance.
        """
        before = int((now - _LATEST_S) // _MINUTE_S)
        minutes = {minute for minute in self._minutes if minute < before}
        requests = sum(self._most(True, minute, self._success + self._others) for minute in minutes)
        for metric in self._others:
            if metric in silent:
                continue
            scored = {minute for minute in minutes if any(self._counts[metric, arm, minute] for arm in (True, False))}
            if not scored and requests >= _ENOUGH:
                return f"Not one of {requests} requests has a score of {metric}."
            mine, other = (sum(self._counts[metric, arm, minute] for minute in scored) for arm in (True, False))
            of, of_other = (sum(self._most(arm, minute, self._others) for minute in scored) for arm in (True, False))
            if _differ(mine, of, other, of_other):
                return (
                    f"{metric} has scores of {mine} of {of} requests of the candidate, and of {other} of {of_other} "
                    "of the champion: it cannot be compared."
                )
        return ""

    def _most(self, arm: bool, minute: int, metrics: Sequence[str]) -> int:
        return max((self._counts[metric, arm, minute] for metric in metrics), default=0)


def _differ(some: int, of: int, others: int, of_others: int) -> bool:
    if not of or not of_others:
        return False
    mean = (some + others) / (of + of_others)
    error = math.sqrt(mean * (1 - mean) * (1 / of + 1 / of_others))
    return abs(some / of - others / of_others) > _DEVIATIONS * error > 0
