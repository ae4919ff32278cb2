"""Do as many units get the candidate as should? A share that is off means that assignment, or what is recorded of it,
is broken, and then a difference between the arms means nothing."""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import Final

REFUTED: Final = 10_000.0
"""Evidence at which a share is wrong: it is ever reached with a chance of at most 1 in so many where it holds."""

_TRUST: Final = 200.0
_UNITS: Final = 200_000
_SETTLING_S: Final = 10.0


class Ratio:
    """Counts each unit once for as long as one share holds.

    The test is a mixture over the shares that there could be, likelier near the one there should be (Lindon and
    Malek, "Anytime-valid inference for multinomial count data", 2022): it may be looked at after every unit. What
    came within ten seconds of a change is left out: gateways learn of it one after another.
    """

    def __init__(self) -> None:
        self._since: list[float] = []
        self._spans: list[_Span] = []

    def expect(self, since: float, share: float) -> None:
        """From ``since`` (seconds since the epoch) on, ``share`` of the units that are recorded get the candidate.
        Told in order of time, each before any score of a request that came after it."""
        self._since.append(since)
        self._spans.append(_Span(share))

    def add(self, unit: str, at: float, *, candidate: bool) -> None:
        """Counts a unit, unless it was counted under the same share."""
        place = bisect_right(self._since, at) - 1
        if place >= 0 and at >= self._since[place] + _SETTLING_S:
            self._spans[place].add(unit, candidate=candidate)

    def mismatch(self) -> str:
        """What is wrong, in one sentence; empty: nothing is known to be."""
        for span in self._spans:
            if span.evidence >= math.log(REFUTED * len(self._spans)):
                return (
                    f"{span.candidates} of {span.units} units got the candidate, where {span.share:.1%} should: "
                    "what is compared was not split as it was meant to be."
                )
        return ""


class _Span:
    __slots__ = ("_seen", "candidates", "evidence", "share")

    def __init__(self, share: float) -> None:
        self.share = share
        self.candidates = 0
        self.evidence = 0.0
        self._seen: set[str] = set()

    @property
    def units(self) -> int:
        return len(self._seen)

    def add(self, unit: str, *, candidate: bool) -> None:
        if unit in self._seen or len(self._seen) >= _UNITS or not 0 < self.share < 1:
            return
        total = len(self._seen)
        before = self.candidates if candidate else total - self.candidates
        expected = self.share if candidate else 1 - self.share
        self._seen.add(unit)
        self.candidates += candidate
        self.evidence += math.log((_TRUST * expected + before) / (_TRUST + total) / expected)
