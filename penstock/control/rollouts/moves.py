"""What becomes of a rollout by itself: a pure decision on how it stands, what its scores say, and who is ready.

It is made again from what the store says after any fault, so nothing is remembered beside: the same facts give the
same decision. What a person does is in ``acts``, what a person takes back in ``back``.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec.structs import replace

from penstock.control.rollouts.shares import (
    Standing,
    given_back,
    percent,
    ready_everywhere,
    stepped,
    switched,
    taken_over,
    waiting_for,
)
from penstock.core.releases import ENDED, Decision, Deed, Rollout, RolloutState, Split, Step

LOAD_WITHIN_S = 3600.0
"""A candidate that is not ready everywhere by then has failed."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the scores of a rollout say, all of those up to the number ``scored_to``.

    ``stop``: they cannot be believed. ``over``: nothing was decided within the plan's samples, or its time.
    ``promote`` is what a plan without gates says until then. ``reason`` is a sentence for people. ``trouble`` says
    what the gates wait for besides more samples, empty: nothing. ``samples`` are the candidate's units. ``heard_to``
    is the newest arrival of a score, 0 before the first: up to there nothing is unknown.
    """

    says: Literal["hold", "promote", "rollback", "stop", "over"] = "hold"
    reason: str = ""
    trouble: str = ""
    evidence: bytes = b"{}"
    samples: int = 0
    heard_to: float = 0.0
    scored_to: int = 0


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """What to write, all at once: rollouts as they are from now on, the split (None: it stays as it is), and each
    decision that made them so."""

    rollouts: tuple[Rollout, ...]
    split: Split | None
    decisions: tuple[Decision, ...]

    @property
    def records(self) -> tuple[Rollout | Split, ...]:
        return (*self.rollouts, self.split) if self.split is not None else self.rollouts


def decide(rollout: Rollout, split: Split | None, verdict: Verdict, standing: Standing, now: float) -> Move | None:
    """None: it goes on as it is. A rollout that has ended stays so; one whose split is not its own any more fails."""
    if rollout.state in ENDED:
        return None
    if split is None or split.rollout != rollout.id:
        return _moved(
            rollout, None, "fail", "The service's split is not this rollout's any more.", now, state="failed"
        )
    if rollout.state == "loading":
        return _loaded(rollout, split, verdict, standing, now)
    plan = rollout.plan
    if verdict.says in ("stop", "rollback"):
        # While it is paused or asks, too: neither takes the safety away.
        return _against(rollout, split, verdict, now)
    if rollout.state != "running":
        return None
    if verdict.says == "over":
        return _undecided(rollout, split, verdict, now)
    if verdict.trouble:
        told = verdict.trouble == rollout.reason
        return None if told else _moved(rollout, None, "hold", verdict.trouble, now, verdict=verdict)
    last = rollout.step >= len(plan.steps) - 1
    if not _held(rollout, verdict, now):
        return None
    if not last:
        return step_to(rollout, split, rollout.step + 1, now, verdict=verdict)
    if verdict.says == "promote" and plan.preset != "shadow":
        return _proven(rollout, split, verdict, now)
    return None


def step_to(
    rollout: Rollout, split: Split, step: int, now: float, *, what: Deed = "step", verdict: Verdict | None = None
) -> Move:
    """The plan's step of this place begins."""
    plan = rollout.plan
    share = plan.steps[step].share
    gets = f"{plan.candidate} has {percent(share)}" if share else f"{plan.candidate} gets copies only"
    reason = f"Step {step + 1} of {len(plan.steps)}: {gets}."
    after = stepped(split, plan, share, now)
    return _moved(rollout, after, what, reason, now, state="running", step=step, since=now, verdict=verdict)


def promoted(
    rollout: Rollout,
    split: Split,
    reason: str,
    now: float,
    *,
    what: Deed = "promote",
    actor: str = "",
    everyone: bool = False,
    verdict: Verdict | None = None,
) -> Move:
    """The candidate has the champion's place."""
    after = taken_over(split, rollout.plan, now, everyone=everyone)
    return _moved(rollout, after, what, reason, now, state="promoted", actor=actor, verdict=verdict)


def taken_out(
    rollout: Rollout,
    split: Split,
    what: Deed,
    state: RolloutState,
    reason: str,
    now: float,
    *,
    actor: str = "",
    verdict: Verdict | None = None,
) -> Move:
    """The rollout ends, and the champion has all again."""
    return _moved(
        rollout, given_back(split, rollout.plan, now), what, reason, now, state, actor=actor, verdict=verdict
    )


def noted(
    rollout: Rollout,
    what: Deed,
    reason: str,
    now: float,
    state: RolloutState,
    *,
    actor: str = "",
    verdict: Verdict | None = None,
) -> Move:
    """Another state, and nobody moves."""
    return _moved(rollout, None, what, reason, now, state, since=now, actor=actor, verdict=verdict)


def _loaded(rollout: Rollout, split: Split, verdict: Verdict, standing: Standing, now: float) -> Move | None:
    plan = rollout.plan
    waited = now - rollout.since
    if not ready_everywhere(standing, plan.candidate):
        if waited <= min(plan.deadline_s, LOAD_WITHIN_S):
            return None
        stands = waiting_for(standing, plan.candidate)
        reason = f"{plan.candidate} was not loaded in {_span(waited)}: {stands}. The log of the others says why."
        return taken_out(rollout, split, "fail", "failed", reason, now, verdict=verdict)
    # Nothing was served by it meanwhile, so the deadline does not count it.
    rollout = replace(rollout, paused_s=rollout.paused_s + waited)
    loaded = f"loaded in {_span(waited)}"
    if plan.preset == "rollback":
        until = None if plan.keep_warm_s is None else now + plan.keep_warm_s
        after = switched(split, plan.candidate, until, now)
        reason = f"{plan.candidate} is {loaded} and has all."
        return _moved(rollout, after, "rollback", reason, now, state="rolled_back", verdict=verdict)
    if not plan.steps:
        return promoted(rollout, split, f"{plan.candidate} is {loaded} and has all.", now, verdict=verdict)
    return step_to(rollout, split, 0, now, what="load", verdict=verdict)


def _against(rollout: Rollout, split: Split, verdict: Verdict, now: float) -> Move:
    if rollout.plan.preset == "shadow" and verdict.says == "rollback":
        return taken_out(rollout, split, "end", "done", verdict.reason, now, verdict=verdict)
    if verdict.says == "stop":
        return taken_out(rollout, split, "fail", "failed", verdict.reason, now, verdict=verdict)
    return taken_out(rollout, split, "rollback", "rolled_back", verdict.reason, now, verdict=verdict)


def _proven(rollout: Rollout, split: Split, verdict: Verdict, now: float) -> Move:
    if rollout.plan.promote == "ask":
        return _ask(rollout, verdict, now)
    return promoted(rollout, split, verdict.reason, now, verdict=verdict)


def _undecided(rollout: Rollout, split: Split, verdict: Verdict, now: float) -> Move:
    plan = rollout.plan
    if plan.preset == "shadow":
        return taken_out(rollout, split, "end", "done", verdict.reason, now, verdict=verdict)
    if plan.on_deadline == "ask":
        return _ask(rollout, verdict, now)
    return taken_out(rollout, split, "rollback", "rolled_back", verdict.reason, now, verdict=verdict)


def _ask(rollout: Rollout, verdict: Verdict, now: float) -> Move:
    reason = f"{verdict.reason} Approve it to promote, or abort it."
    return noted(rollout, "ask", reason, now, "asking", verdict=verdict)


def _held(rollout: Rollout, verdict: Verdict, now: float) -> bool:
    """Whether the step is over. With gates its time is over when scores have come in from its end on: while the store
    or a journal is away, none do, and nobody moves on what is not known."""
    step = rollout.plan.steps[rollout.step] if rollout.plan.steps else Step(share=0)
    known = min(verdict.heard_to, now) if rollout.plan.gates and step.hold_s else now
    if known < rollout.since + step.hold_s:
        return False
    return verdict.says == "promote" or verdict.samples >= step.samples


def _moved(
    rollout: Rollout,
    split: Split | None,
    what: Deed,
    reason: str,
    now: float,
    state: RolloutState | None = None,
    *,
    step: int | None = None,
    since: float | None = None,
    actor: str = "",
    verdict: Verdict | None = None,
) -> Move:
    state = state if state is not None else rollout.state
    number = rollout.decisions + 1
    after = replace(
        rollout,
        state=state,
        step=rollout.step if step is None else step,
        since=rollout.since if since is None else since,
        ended_at=now if state in ENDED else None,
        decisions=number,
        scored_to=rollout.scored_to if verdict is None else verdict.scored_to,
        reason=reason,
    )
    decision = Decision(
        rollout=rollout.id,
        number=number,
        at=now,
        actor=actor,
        what=what,
        reason=reason,
        evidence=b"{}" if verdict is None else verdict.evidence,
    )
    return Move(rollouts=(after,), split=split, decisions=(decision,))


def _span(seconds: float) -> str:
    """``45 s``, ``12 min``, ``3 h``, ``7 days``."""
    for size, word in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {word}"
    return f"{seconds:.3g} s"
