"""The means of scores that objectives of quality go by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from penstock.control.objectives.counting import NOTHING, Count
from penstock.core.accounts import Directory
from penstock.core.errors import PenstockError
from penstock.store import ScoreSum

FRESH_S = 60.0
"""How long a sum is good for: scores come late anyway."""


class Scores(Protocol):
    """What this needs of ``penstock.store.ScoreStore``."""

    def summary(self, service: str, release: str, since: float) -> Sequence[ScoreSum]: ...


class ScoreMeans:
    """``standing.Means`` over what clients got, of all releases that a service has now. ``now`` in seconds since the
    epoch. Blocks; unknown while the store is away."""

    def __init__(self, scores: Scores, directory: Callable[[], Directory], now: Callable[[], float]) -> None:
        self._scores = scores
        self._directory = directory
        self._now = now
        self._known: dict[tuple[str, str, int], tuple[float, Count]] = {}

    def __call__(self, service: str, metric: str, since: float) -> Count | None:
        now = self._now()
        asked = (service, metric, round(now - since))
        at, count = self._known.get(asked, (0.0, NOTHING))
        if now - at < FRESH_S:
            return count
        try:
            found = self._read(service, metric, since)
        except PenstockError:
            return None
        self._known[asked] = (now, found)
        return found

    def _read(self, service: str, metric: str, since: float) -> Count:
        found = NOTHING
        for release in releases_of(self._directory(), service):
            for each in self._scores.summary(service, release, since):
                if each.metric == metric and not each.copied:
                    found = found.plus(Count(each.count, each.count * (1.0 - each.mean)))
        return found


def releases_of(directory: Directory, service: str) -> Iterable[str]:
    """Those that anybody gets, and the empty one of a service that the store does not own."""
    splits = (split for split in directory.splits if split.service == service)
    shared = {each.release for split in splits for each in (*split.ranges, *split.inside)}
    return sorted({"", *shared})
