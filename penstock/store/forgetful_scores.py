"""Scores that are forgotten: the fake of the room."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence

import msgspec

from penstock.core.releases import Decision, Score, belongs
from penstock.core.usage import Entry
from penstock.store import LATE_S, ScoreSum
from penstock.store.scores import foreign, kept
from penstock.store.words import storable


class ForgetfulScores:
    """``ScoreStore`` that lives as long as the object. ``decided`` is ``ForgetfulStore.decisions``, ``rows`` are
    those of the ledger by request, as ``LedgerStore.request`` has them."""

    def __init__(
        self,
        decided: Callable[[str], Sequence[Decision]],
        rows: Callable[[str], Sequence[Entry]],
    ) -> None:
        self._decided = decided
        self._rows = rows
        self._lock = threading.RLock()
        self._numbers = itertools.count(1)
        self._scores: dict[int, Score] = {}

    def append_scores(self, scores: Sequence[Score]) -> int:
        with self._lock:
            before = len(self._scores)
            for score in sorted(map(kept, scores), key=lambda each: not each.release):
                self._add(score)
            new = len(self._scores) - before
            if scores:
                self._take_up(max(score.arrived_at for score in scores) - LATE_S)
            return new

    def scores(self, rollout: str, after: int, most: int) -> Sequence[tuple[int, Score]]:
        found = [(number, score) for number, score in self._known() if number > after and score.rollout == rollout]
        return found[:most]

    def of_request(self, request_id: str) -> Sequence[Score]:
        return [score for _, score in self._known() if score.request_id == storable(request_id)]

    def summary(self, service: str, release: str, since: float) -> Sequence[ScoreSum]:
        groups: dict[tuple[str, str, bool], list[float]] = {}
        for _, score in self._known():
            if (score.service, score.release) == (service, release) and score.at >= since:
                groups.setdefault((score.metric, score.version, score.copied), []).append(score.value)
        return [
            ScoreSum(metric=metric, version=version, copied=copied, count=len(values), mean=sum(values) / len(values))
            for (metric, version, copied), values in sorted(groups.items())
        ]

    def worst_pairs(self, rollout: str, metric: str, most: int) -> Sequence[tuple[Score, Score]]:
        scores = [each for _, each in self._known() if (each.rollout, each.metric) == (rollout, metric)]
        got = {(each.request_id, each.version): each for each in scores if not each.copied}
        copies = ((got.get((each.request_id, each.version)), each) for each in scores if each.copied)
        pairs = [(one, copy) for one, copy in copies if one is not None and copy.value < one.value]
        return sorted(pairs, key=lambda pair: pair[1].value - pair[0].value)[:most]

    def decisions(self, rollout: str) -> Sequence[Decision]:
        return self._decided(rollout)

    def erase_scores(self, requests: Sequence[tuple[str, float, str]]) -> int:
        with self._lock:
            gone = [
                number
                for number, score in self._scores.items()
                if belongs(score, [(at, of) for id, at, of in requests if storable(id) == score.request_id])
            ]
            for number in gone:
                del self._scores[number]
            return len(gone)

    def forget_scores(self, before: float) -> int:
        with self._lock:
            old = [number for number, score in self._scores.items() if score.arrived_at < before]
            for number in old:
                del self._scores[number]
            return len(old)

    def _known(self) -> Sequence[tuple[int, Score]]:
        with self._lock:
            return tuple(self._scores.items())

    def _add(self, score: Score) -> None:
        taken = {score.release}
        if not score.release:
            if foreign(score, self._project(score.request_id)):
                return
            score = self._completed(score)
            taken = {"", score.release}
        name = (score.metric, score.version)
        same = (each for each in self.of_request(score.request_id) if (each.metric, each.version) == name)
        if not any(each.release in taken for each in same):
            self._scores[next(self._numbers)] = score

    def _take_up(self, since: float) -> None:
        """Those whose request is known now, under a new number."""
        for number, score in self._known():
            if not score.release and score.arrived_at >= since:
                found = self._completed(score)
                if found.release:
                    del self._scores[number]
                    if not foreign(found, self._project(found.request_id)):
                        self._scores[next(self._numbers)] = found

    def _project(self, request_id: str) -> str:
        rows = [row for row in self._rows(request_id) if row.purpose == "client"]
        return max(rows, key=lambda each: each.received_at).project if rows else ""

    def _completed(self, score: Score) -> Score:
        known = [each for each in self.of_request(score.request_id) if each.release and not each.copied]
        if known:
            newest = known[-1]
            return msgspec.structs.replace(
                score, service=newest.service, release=newest.release, rollout=newest.rollout, unit=newest.unit
            )
        rows = [row for row in self._rows(score.request_id) if row.purpose == "client"]
        if not rows:
            return score
        row = max(rows, key=lambda each: each.received_at)
        return msgspec.structs.replace(score, service=row.service, release=row.release)
