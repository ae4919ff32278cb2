"""What people do to a rollout. Pure. Each raises ``PenstockError(CONFLICT)`` when there is nothing of it to do."""

from __future__ import annotations

from msgspec.structs import replace

from penstock.control.rollouts.moves import Move, noted, promoted, taken_out
from penstock.core.errors import CONFLICT, PenstockError
from penstock.core.releases import ENDED, Rollout, Split


def approve(rollout: Rollout, split: Split, actor: str, now: float, *, everyone: bool = False) -> Move:
    """Yes to what it asks: the candidate has the champion's place, whatever the gates say. A rollout for a segment
    gives it to the segment; with ``everyone`` to all."""
    if rollout.state != "asking":
        raise _refused(rollout, "approved", "It asks when its gates or its deadline say so; watch it until then.")
    return promoted(rollout, split, "It was approved.", now, what="approve", actor=actor, everyone=everyone)


def pause(rollout: Rollout, actor: str, now: float) -> Move:
    """No step and no promotion, and the deadline stands still. Who has the candidate keeps it, and gates still roll
    it back."""
    if rollout.state != "running":
        raise _refused(rollout, "paused", "Abort it instead.")
    return noted(rollout, "pause", "It was paused.", now, "paused", actor=actor)


def resume(rollout: Rollout, actor: str, now: float) -> Move:
    """It goes on; the time of its step begins again."""
    if rollout.state != "paused":
        raise _refused(rollout, "resumed", "Only one that was paused is.")
    rested = replace(rollout, paused_s=rollout.paused_s + now - rollout.since)
    return noted(rested, "resume", "It was resumed.", now, "running", actor=actor)


def abort(rollout: Rollout, split: Split, actor: str, now: float) -> Move:
    """It ends now, and the champion has all again."""
    if rollout.state in ENDED:
        raise _refused(rollout, "aborted", "`penstock rollback` takes back what was promoted.")
    return taken_out(rollout, split, "abort", "aborted", "It was aborted.", now, actor=actor)


def _refused(rollout: Rollout, done: str, mend: str) -> PenstockError:
    state = rollout.state.replace("_", " ")
    return PenstockError(CONFLICT, f"The rollout '{rollout.id}' is {state}, so it cannot be {done}. {mend}")
