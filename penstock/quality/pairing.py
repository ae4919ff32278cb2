"""Which samples of the candidate are compared with which of the champion.

Traffic drifts: mornings differ from evenings, and a step changes who is asked. So a sample is compared only with
those that came around it, and each sample is used once. The decision rests on the order in which samples of the two
arms came and never on their values, as betting requires.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

MOST = 16
"""Samples of one arm that wait at most, and are in one pair at most. The mean of 16 has a sixteenth of the variance
of one: more would gain nothing that is worth their memory and their age."""

_PATIENCE = 8
_MEMORY = 1 - 1 / 128

T = TypeVar("T")


class Pairing(Generic[T]):
    """Puts samples of two arms together as they come.

    The arm that gets less traffic gives one sample, the other all that came meanwhile. A sample for which too few
    have come waits for about half as many as there are by the recent ratio of the arms, at most eight: one candidate
    against the mean of five champions tells nearly twice what one against one does. Where more than eight of the
    rarer arm wait, the oldest are put together, so that nothing in a pair is old.
    """

    __slots__ = ("_candidates", "_champions", "_recent_candidates", "_recent_champions")

    def __init__(self) -> None:
        self._candidates: deque[T] = deque(maxlen=MOST)
        self._champions: deque[T] = deque(maxlen=MOST)
        self._recent_candidates = 0.0
        self._recent_champions = 0.0

    def crowded_out(self, *, candidate: bool) -> T | None:
        """The sample that the next one of this arm takes the place of; None: there is room."""
        waiting = self._candidates if candidate else self._champions
        return waiting[0] if len(waiting) == MOST else None

    def add(self, sample: T, *, candidate: bool) -> tuple[tuple[T, ...], tuple[T, ...]] | None:
        """What is a pair now, candidates first; None: the sample waits."""
        self._recent_candidates *= _MEMORY
        self._recent_champions *= _MEMORY
        if candidate:
            self._recent_candidates += 1
            self._candidates.append(sample)
        else:
            self._recent_champions += 1
            self._champions.append(sample)
        if self._recent_champions >= self._recent_candidates:
            return _taken(self._candidates, self._champions, self._recent_champions, self._recent_candidates)
        taken = _taken(self._champions, self._candidates, self._recent_candidates, self._recent_champions)
        return None if taken is None else (taken[1], taken[0])


def _taken(
    rare: deque[T], common: deque[T], recent_common: float, recent_rare: float
) -> tuple[tuple[T, ...], tuple[T, ...]] | None:
    if not rare or len(common) < max(1.0, min(_PATIENCE, recent_common / (2 * recent_rare) // 1)):
        return None
    ones = tuple(rare.popleft() for _ in range(max(1, len(rare) - _PATIENCE)))
    others = tuple(common)
    common.clear()
    return ones, others
