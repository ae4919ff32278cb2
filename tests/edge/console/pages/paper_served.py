"""Releases, rollouts, models and promises on paper."""

from __future__ import annotations

import math

import msgspec

from penstock.control.accounts.differences import DiffView, Part
from penstock.control.accounts.release_shown import ReleaseView
from penstock.control.accounts.rollout_seen import CoursePoint, CourseView, GateCourse, PairView
from penstock.control.accounts.rollout_shown import DecisionView, GateView, RolloutView, SplitView, StepView
from penstock.control.observed.views import ContentView, ObjectiveView, ReplicaView
from penstock.core.administration import Ask
from penstock.quality.verdict import Standing
from tests.edge.console.canned import NOW

replace = msgspec.structs.replace
HOSTILE = "<script>alert('x')</script>\"'&{{7*7}}"

OLD, NEW = "rel_0d2eb39448d0ad7e", "rel_c01f3a6ef0f8d5b2"


def release(id: str = OLD, **more: object) -> ReleaseView:
    values: dict[str, object] = {
        "service": "chat",
        "model": "small@5f1c0de2a9b81c44",
        "prompt": "greeting@77aa01",
        "index": "",
        "guards": "",
        "defaults": msgspec.Raw(b'{"temperature":0.2}'),
        "author": "ann",
        "message": "a kinder greeting",
        "created_at": NOW - 86400.0,
        "share": 90.0,
        "segment_share": 0.0,
        "warm": False,
        "rollout": "",
        "ready": ("gw-a", "gw-b"),
        "in_file": id == OLD,
        **more,
    }
    return ReleaseView(id=id, **values)  # type: ignore[arg-type]


def split(**more: object) -> SplitView:
    values: dict[str, object] = {
        "shares": {OLD: 90.0, NEW: 10.0},
        "sticky": "user",
        "segment": None,
        "segment_shares": {},
        "mirror": "",
        "warm": (),
        "rollout": "roll_1",
        "origin": OLD,
        "changed_at": NOW - 1500,
        **more,
    }
    return SplitView(id="chat", **values)  # type: ignore[arg-type]


def standing(metric: str = "success", **more: object) -> Standing:
    values: dict[str, object] = {
        "margin": 0.05,
        "candidate_mean": 0.962,
        "champion_mean": 0.968,
        "difference": -0.006,
        "low": -0.062,
        "high": 0.041,
        "candidate_units": 412,
        "champion_units": 2210,
        "e_worse": 1.3,
        "e_better": 7.9,
        "needed_worse": 40.0,
        "needed_better": 20.0,
        "design": 1.2,
        "more_units": 260,
        **more,
    }
    return Standing(metric=metric, **values)  # type: ignore[arg-type]


def decision(number: int, ago: float, what: str, reason: str, actor: str = "") -> DecisionView:
    known = {"because": "open", "reason": "", "standings": [], "scored_to": 0, "heard_to": 0.0}
    evidence = msgspec.json.encode(known)
    return DecisionView(
        number=number,
        at=NOW - ago,
        actor=actor,
        what=what,  # type: ignore[arg-type]
        reason=reason,
        evidence=msgspec.Raw(evidence),
    )


def rollout(**more: object) -> RolloutView:
    gate = GateView(
        metric="success", margin=0.05, scorer="success", bound=None, settings=msgspec.Raw(b"{}"), version="s1"
    )
    values: dict[str, object] = {
        "id": "roll_1",
        "service": "chat",
        "preset": "canary",
        "candidate": NEW,
        "champion": OLD,
        "state": "running",
        "reason": f"Step 2 of 3: {NEW} has 10 %.",
        "share": 10.0,
        "step": 2,
        "steps": tuple(StepView(share=share, hold_s=1800, samples=50) for share in (1, 10, 50)),
        "gates": (gate, replace(gate, metric="latency", margin=0.03, scorer="latency", bound=2.5)),
        "alpha": 0.05,
        "min_samples": 50,
        "max_samples": 3000,
        "window_s": 86400.0,
        "deadline_s": 604800.0,
        "on_deadline": "rollback",
        "promote": "automatic",
        "sticky": "user",
        "segment": None,
        "keep_warm_s": 86400.0,
        "mirror_share": 0.0,
        "mirror_budget": None,
        "since": NOW - 1500,
        "started_at": NOW - 2400,
        "ended_at": None,
        "paused_s": 0.0,
        "author": "ann",
        "loaded": {"gw-a": True, "gw-b": True},
        "standings": (standing(), standing("latency", margin=0.03, e_better=24.0, low=-0.02, difference=0.004)),
        "decisions": (
            decision(1, 2400, "start", f"{NEW} is to take the place of {OLD}; it is loaded first.", "ann"),
            decision(2, 2280, "load", f"Step 1 of 3: {NEW} has 1 %."),
            decision(3, 1500, "step", f"Step 2 of 3: {NEW} has 10 %."),
        ),
        **more,
    }
    return RolloutView(**values)  # type: ignore[arg-type]


def course(*metrics: str) -> CourseView:
    def points(margin: float) -> tuple[CoursePoint, ...]:
        found = []
        for each in range(1, 41):
            units = 10 * each
            half = min(1.0, 1.05 / math.sqrt(units))
            middle = -0.006 + 0.05 * math.sin(each / 4) / math.sqrt(each)
            found.append(
                CoursePoint(
                    units=units,
                    at=NOW - 2200 + each * 52,
                    difference=middle,
                    low=max(-1.0, middle - half),
                    high=min(1.0, middle + half),
                )
            )
        return tuple(found)

    gates = (GateCourse(metric=each, margin=0.05, points=points(0.05)) for each in metrics or ("success", "latency"))
    return CourseView(id="roll_1", gates=tuple(gates), whole=True)


def pair(number: int) -> PairView:
    return PairView(
        request_id=f"req-{number}",
        copy_id=f"req-{number}:copy",
        metric="success",
        at=NOW - 60 * number,
        champion=0.93,
        candidate=0.1 * number,
        champion_note="right and kind",
        candidate_note="invents an opening hour",
    )


def content(ask: Ask) -> ContentView:
    text = "We open at nine." if ask.target.endswith(":copy") else "We open at eight, every day but Sunday."
    reply = [{"index": 0, "content": {"bytes": 20, "sha256": "00", "text": text}, "finish_reason": "stop"}]
    request = {"messages": [{"role": "user", "content": f"When do you open? {HOSTILE}"}]}
    return ContentView(
        id=ask.target,
        at=NOW,
        masked=False,
        request=msgspec.Raw(msgspec.json.encode(request)),
        reply=msgspec.Raw(msgspec.json.encode(reply)),
    )


def diff(ask: Ask) -> DiffView:
    text = "@@ -1,3 +1,3 @@\n greeting: |\n-  Be polite.\n+  Be kind, and brief.\n   Answer in the client's language."
    return DiffView(
        before=ask.query.get("from", OLD),
        after=ask.target,
        parts=(
            Part(what="prompt", before="greeting@77aa01", after="greeting@81bc02", text=text),
            Part(what="defaults", text="@@ -1 +1 @@\n-temperature: 0.2\n+temperature: 0.4"),
        ),
    )


def replica(id: str, **more: object) -> ReplicaView:
    values: dict[str, object] = {
        "model": "small",
        "engine": "llamacpp",
        "state": "ready",
        "breaker": "closed",
        "running": 3,
        "waiting": 0,
        "kv_use": 0.41,
        "memory": 812_000_000,
        "device_memory": None,
        "device_memory_total": None,
        "utilisation": 0.63,
        "accepted": None,
        "attempts": 3,
        "seen_at": NOW - 2,
        "note": "",
        **more,
    }
    return ReplicaView(id=id, **values)  # type: ignore[arg-type]


def objective(**more: object) -> ObjectiveView:
    values: dict[str, object] = {
        "service": "chat",
        "kind": "availability",
        "name": "availability",
        "target": 0.999,
        "window_days": 30.0,
        "text": "99.9 % of requests do not fail, over 30 days",
        "good": 99_940.0,
        "total": 100_000.0,
        "budget_left": 0.4,
        "burn": {"5m": 2.0, "1h": 1.2, "6h": 0.8},
        **more,
    }
    return ObjectiveView(**values)  # type: ignore[arg-type]
