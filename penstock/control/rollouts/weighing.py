"""What the scores of one rollout say, as its decisions need it: the gates' evidence, and how far it reaches."""

from __future__ import annotations

from typing import Literal

import msgspec

from penstock.control.releases import scored_share
from penstock.control.rollouts.known import Known
from penstock.control.rollouts.moves import Verdict
from penstock.core.releases import WHOLE, Decision, Rollout, Score, Scorer
from penstock.quality.gates import Evidence
from penstock.quality.verdict import Verdict as Finding

SILENT_S = 120.0
SILENT_REQUESTS = 100
"""A model that scores is down when it has said nothing of so many requests, and the last that it scored came so much
before the newest."""

_MODELS: frozenset[Scorer] = frozenset(("judge", "similarity"))


class Scale:
    """Takes decisions by number and scores by number; says the same of the same ones. Not safe for threads."""

    def __init__(self, rollout: Rollout) -> None:
        self._plan = rollout.plan
        self._evidence = Evidence(rollout.plan)
        self._next_step = 0
        self._scored_to = 0
        self._heard_to = 0.0
        self._success = next((each.metric for each in self._plan.measures if each.scorer == "success"), None)
        self._last = {each.metric: 0.0 for each in self._plan.measures if each.scorer in _MODELS}
        self._since = dict.fromkeys(self._last, 0)
        self._newest = 0.0

    def decided(self, decision: Decision) -> None:
        """The next decision: a step changes which share of the units should have the candidate."""
        if decision.what in ("load", "step") and self._next_step < len(self._plan.steps):
            share = self._plan.steps[self._next_step].share
            self._next_step += 1
            if 0 < share < WHOLE:
                scored = (WHOLE - share) * scored_share(share, WHOLE - share) / WHOLE
                self._evidence.expect(decision.at, share / (share + scored))

    def add(self, number: int, score: Score) -> None:
        """The next score."""
        self._evidence.take((score,))
        self._scored_to = number
        self._heard_to = max(self._heard_to, score.arrived_at)
        if score.metric in self._last:
            self._last[score.metric] = max(self._last[score.metric], score.at)
            self._since[score.metric] = 0
        elif score.metric == self._success:
            self._newest = max(self._newest, score.at)
            for metric in self._since:
                self._since[metric] += 1

    def verdict(self, rollout: Rollout, now: float) -> Verdict:
        """``rollout`` as it stands now."""
        silent = [
            metric
            for metric, since in self._since.items()
            if since >= SILENT_REQUESTS and self._newest - self._last[metric] >= SILENT_S
        ]
        found = self._evidence.verdict(now, rollout.started_at, paused_s=rollout.paused_s, silent=silent)
        known = Known(
            because=found.because,
            reason=found.reason,
            standings=found.standings,
            scored_to=self._scored_to,
            heard_to=self._heard_to,
        )
        return Verdict(
            says=self._says(found),
            reason=found.reason,
            trouble=found.reason if found.because == "silent" else "",
            evidence=msgspec.json.encode(known),
            samples=max((self._evidence.units(gate.metric) for gate in self._plan.gates), default=0),
            heard_to=self._heard_to,
            scored_to=self._scored_to,
        )

    def _says(self, found: Finding) -> Literal["hold", "promote", "rollback", "stop", "over"]:
        if found.because in ("samples", "deadline"):
            return "over"
        if found.kind == "ask":
            return "hold"
        if not self._plan.gates and found.kind == "hold":
            return "promote"
        return found.kind
