"""What the scores of a rollout say: go on, go back, or wait.

``Evidence`` takes scores in order of arrival and holds nothing but what follows from them: rebuilt from the table of
scores, it is the same. A ``Verdict`` is what it comes to.
"""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict
from collections.abc import Collection, Sequence
from typing import Final, Literal

import msgspec

from penstock.core.releases import Gate, Measure, Plan, Score
from penstock.quality import scorers
from penstock.quality.comparison import Comparison
from penstock.quality.config import FeedbackSettings, reported, settings_of
from penstock.quality.intervals import interval
from penstock.quality.missing import Missing
from penstock.quality.ratio import Ratio
from penstock.quality.verdict import PAIRED, Standing, Verdict
from penstock.quality.wording import listed, spoken

_WAITING: Final = 100_000


class Evidence:
    """All that the scores of one rollout have shown. Not safe for threads."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._paired = plan.preset in PAIRED
        self._versions = {each.metric: each.version for each in plan.measures}
        self._reported: dict[str, list[tuple[Measure, FeedbackSettings]]] = {}
        for each in plan.measures:
            if each.scorer == "feedback":
                settings = settings_of(each.scorer, each.settings)
                assert isinstance(settings, FeedbackSettings)
                self._reported.setdefault(reported(settings.name), []).append((each, settings))
        self._success = next((each.metric for each in plan.measures if each.scorer == "success"), None)
        self._comparisons = {
            gate.metric: Comparison(
                margin=gate.margin,
                window_s=plan.window_s,
                min_samples=plan.min_samples,
                max_samples=plan.max_samples,
            )
            for gate in plan.gates
        }
        self._ratio = Ratio()
        self._missing = Missing(plan.measures)
        self._standings: dict[str, tuple[int, Standing]] = {}
        self._halves: OrderedDict[tuple[str, str], tuple[bool, float]] = OrderedDict()

    def expect(self, since: float, share: float) -> None:
        """From ``since`` (seconds since the epoch) on, the candidate gets ``share`` (0 to 1) of the units that the
        rollout is about and whose ``success`` is recorded. Told for each step in order, before the scores of requests
        that came after it; a rollout of copies has none."""
        self._ratio.expect(since, share)

    def units(self, metric: str) -> int:
        """Units of the candidate that count for the gate on ``metric`` so far."""
        return self._comparisons[metric].candidate_units

    def take(self, scores: Sequence[Score]) -> None:
        """Counts ``scores`` in order. Those of other releases, and of other versions of a scorer than the plan's, are
        passed over."""
        if self._reported:
            scores = list(itertools.chain.from_iterable(map(self._as_measured, scores)))
        for score in scores:
            candidate = score.release == self._plan.candidate
            if not candidate and score.release != self._plan.champion:
                continue
            if self._versions.get(score.metric) != score.version or score.copied != (self._paired and candidate):
                continue
            self._missing.add(score.metric, score.at, candidate=candidate)
            if score.metric == self._success:
                self._ratio.add(score.unit, score.at, candidate=candidate)
            comparison = self._comparisons.get(score.metric)
            if comparison is None:
                continue
            if self._paired:
                self._match(comparison, score, candidate)
            else:
                comparison.add(score.unit, score.at, score.value, candidate=candidate)

    def _as_measured(self, score: Score) -> Sequence[Score]:
        """What clients say goes by a name of its own, of no version, until a plan measures it."""
        if score.version or score.metric not in self._reported:
            return (score,)
        return [
            msgspec.structs.replace(
                score, metric=each.metric, version=each.version, value=scorers.feedback(score.value, settings)
            )
            for each, settings in self._reported[score.metric]
        ]

    def _match(self, comparison: Comparison, score: Score, candidate: bool) -> None:
        key = (score.request_id, score.metric)
        half = self._halves.get(key)
        if half is None:
            self._halves[key] = (candidate, score.value)
            if len(self._halves) > _WAITING:
                self._halves.popitem(last=False)
        elif half[0] != candidate:
            del self._halves[key]
            mine, other = (score.value, half[1]) if candidate else (half[1], score.value)
            comparison.add_both(score.unit, score.at, mine, other)

    def verdict(
        self, now: float, started_at: float, *, paused_s: float = 0.0, silent: Collection[str] = ()
    ) -> Verdict:
        """What should be done at ``now``. ``paused_s``: seconds since ``started_at`` that do not count for the
        deadline. ``silent``: metrics whose scorer gives no scores at present, such as of a judge that is down."""
        standings = tuple(self._standing(gate) for gate in self._plan.gates)
        kind, because, reason = self._decided(standings, now - started_at - paused_s, now, silent)
        return Verdict(kind=kind, because=because, reason=reason, standings=standings)

    def _decided(
        self, standings: Sequence[Standing], passed_s: float, now: float, silent: Collection[str]
    ) -> tuple[
        Literal["hold", "promote", "rollback", "ask", "stop"],
        Literal["gates", "samples", "deadline", "ratio", "missing", "silent", "open"],
        str,
    ]:
        plan = self._plan
        if why := "" if self._paired else self._ratio.mismatch():
            return "stop", "ratio", why
        if why := self._missing.found(now, silent):
            return "stop", "missing", why
        if worse := [each for each in standings if each.e_worse >= each.needed_worse]:
            return "rollback", "gates", "; ".join(_worse(each) for each in worse) + "."
        undecided = [each for each in standings if each.e_better < each.needed_better]
        if standings and not undecided and not silent:
            return "promote", "gates", f"{_subject(standings)} worse than the margin allows: that is certain enough."
        open_names = listed(each.metric for each in undecided or standings) if standings else ""
        if undecided and all(each.candidate_units >= plan.max_samples for each in undecided):
            why = f"{plan.max_samples} units of the candidate did not settle {open_names}."
            return plan.on_deadline, "samples", why
        if passed_s >= plan.deadline_s:
            what = f"did not settle {open_names}" if undecided else "have passed"
            return plan.on_deadline, "deadline", f"{spoken(plan.deadline_s)} {what}."
        if silent:
            return (
                "hold",
                "silent",
                f"Nothing scores {listed(sorted(silent))} at present; until then nothing moves.",
            )
        return "hold", "open", self._open(undecided)

    def _open(self, undecided: Sequence[Standing]) -> str:
        if not undecided:
            return "This plan has no gates."
        few = [each for each in undecided if each.candidate_units < self._plan.min_samples]
        if few:
            least = min(few, key=lambda each: each.candidate_units)
            return f"{least.metric} has {least.candidate_units} of the {self._plan.min_samples} units that it needs."
        more = [each.more_units for each in undecided]
        likely = f" About {max(filter(None, more))} more units are likely to settle it." if all(more) else ""
        return f"{listed(each.metric for each in undecided)} may still go either way.{likely}"

    def _standing(self, gate: Gate) -> Standing:
        comparison = self._comparisons[gate.metric]
        scores, standing = self._standings.get(gate.metric, (-1, None))
        if standing is None or scores != comparison.scores:
            standing = self._stood(gate, comparison)
            self._standings[gate.metric] = comparison.scores, standing
        return standing

    def _stood(self, gate: Gate, comparison: Comparison) -> Standing:
        plan = self._plan
        needed_worse, needed_better = len(plan.gates) / plan.alpha, 1 / plan.alpha
        low, high = interval(
            [pair.difference for pair in comparison.pairs],
            [pair.variance for pair in comparison.pairs],
            margin=gate.margin,
            design=comparison.design,
            low_alpha=1 / needed_better,
            high_alpha=1 / needed_worse,
        )
        return Standing(
            metric=gate.metric,
            margin=gate.margin,
            candidate_mean=comparison.champion_mean + comparison.difference,
            champion_mean=comparison.champion_mean,
            difference=comparison.difference,
            low=low,
            high=high,
            candidate_units=comparison.candidate_units,
            champion_units=comparison.champion_units,
            e_worse=_evidence(comparison.worse_log),
            e_better=_evidence(comparison.better_log),
            needed_worse=needed_worse,
            needed_better=needed_better,
            design=comparison.design,
            more_units=comparison.more_units(math.log(needed_worse), math.log(needed_better)),
        )


def _evidence(log: float) -> float:
    return math.exp(min(log, 700.0))


def _worse(standing: Standing) -> str:
    return (
        f"{standing.metric} is worse: {standing.candidate_mean:.3f} against {standing.champion_mean:.3f} over "
        f"{standing.candidate_units} units of the candidate"
    )


def _subject(standings: Sequence[Standing]) -> str:
    names = listed(each.metric for each in standings)
    return f"{names} is not" if len(standings) == 1 else f"None of {names} is"
