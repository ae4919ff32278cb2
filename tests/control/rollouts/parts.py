"""Rollouts in every state, for the tests of what becomes of them."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.control.rollouts.moves import Move, Verdict
from penstock.control.rollouts.shares import begun, stepped, whole
from penstock.core.releases import Gate, Measure, Plan, Release, Rollout, Split, Step

NOW = 1_795_000_000.0
OLD, NEW, THIRD = "rel_0000000000000001", "rel_0000000000000002", "rel_0000000000000003"
STEPS = (Step(share=10_000, hold_s=60.0), Step(share=100_000, hold_s=60.0, samples=50), Step(share=500_000))
GATES = (Gate(metric="success"),)
MEASURES = (Measure(metric="success", scorer="success", version="success"),)
READY = {"a": frozenset({OLD, NEW}), "b": frozenset({OLD, NEW})}
HALF_READY = {"a": frozenset({OLD, NEW}), "b": frozenset({OLD})}


def plan(**more: Any) -> Plan:
    usual: dict[str, Any] = {
        "preset": "canary",
        "candidate": NEW,
        "champion": OLD,
        "steps": STEPS,
        "gates": GATES,
        "measures": MEASURES,
    }
    return Plan(**(usual | more))


def rollout(state: Any = "running", step: int = 0, *, plan_: Plan | None = None, **more: Any) -> Rollout:
    usual: dict[str, Any] = {"since": NOW, "started_at": NOW, "decisions": 2}
    return Rollout(id="roll-1", service="chat", plan=plan_ or plan(), state=state, step=step, **(usual | more))


def split_of(of: Rollout) -> Split:
    """As the rollout has made it."""
    before = Split(service=of.service, ranges=whole(of.plan.champion), salt="s", origin=of.plan.champion)
    taken = begun(before, of.plan, of.id, NOW)
    return taken if of.state == "loading" else stepped(taken, of.plan, of.plan.steps[of.step].share, NOW)


def verdict(says: Any = "hold", *, samples: int = 0, heard: float = 0.0, **more: Any) -> Verdict:
    """``heard`` seconds after ``NOW``."""
    return Verdict(
        says=says, reason=more.pop("reason", f"it says {says}"), samples=samples, heard_to=NOW + heard, **more
    )


def release(id: str, service: str = "chat", **more: Any) -> Release:
    return Release(id=id, service=service, model="m@1", created_at=NOW, **more)


def told(move: Move | None) -> tuple[str, str]:
    """What was decided, and the state after it."""
    assert move is not None
    assert [each.number for each in move.decisions] == [each.decisions for each in move.rollouts]
    return move.decisions[-1].what, move.rollouts[-1].state


def evidence(text: str) -> bytes:
    return msgspec.json.encode({"said": text})
