"""Taking back: a service gets the release before, or another. Pure.

A release that every gateway has ready is switched to in one step. Any other is loaded first, by a rollout with the
preset ``rollback``; until then everybody keeps what they have, but a rollout that runs ends at once, and its champion
has all.
"""

from __future__ import annotations

from msgspec.structs import replace

from penstock.control.releases import main
from penstock.control.rollouts.moves import Move, taken_out
from penstock.control.rollouts.shares import Standing, holder, ready_everywhere, served, switched
from penstock.core.accounts import Directory
from penstock.core.errors import CONFLICT, PenstockError
from penstock.core.releases import ENDED, Decision, Deed, Plan, Rollout, RolloutState, Split
from penstock.routing.assignment import shares

KEEP_WARM_S = 86400.0
"""How long that stays loaded which was rolled back from: it may have been the wrong one."""
LOAD_WITHIN_S = 3600.0
JUST_NOW_S = 60.0
_TAKEN_BACK: frozenset[RolloutState] = frozenset(("rolled_back", "aborted", "failed"))


def running(directory: Directory, service: str) -> Rollout | None:
    """The rollout of the service that has not ended."""
    return next((each for each in directory.rollouts if each.service == service and each.state not in ENDED), None)


def before(directory: Directory, split: Split, at: float) -> str:
    """What the service had before: of a rollout that runs its champion, of a rollback that still loads what it goes
    back to, of shares that were set by hand the release that most get, else the champion of the one that brought in
    what is served now, else what was last kept warm, but for what was taken back itself: asked twice, it does not
    come back.

    Raises ``PenstockError(CONFLICT)`` where there is none, and where something was taken back just before ``at``: two
    who ask at once, or one who asks when the gates have rolled back already, want one step and not two.
    """
    now = running(directory, split.service)
    if now is not None:
        return now.plan.candidate if now.plan.preset == "rollback" else now.plan.champion
    live = served(split)
    mine = [each for each in directory.rollouts if each.service == split.service]
    last = max(mine, key=lambda each: each.ended_at or 0.0, default=None)
    if last is not None and last.state in _TAKEN_BACK and at - (last.ended_at or 0.0) < JUST_NOW_S:
        raise PenstockError(
            CONFLICT,
            f"'{split.service}' was taken back a moment ago, to {holder(split.ranges) or 'what it had before'} "
            f"({last.id}). Name a release with 'to' to go to another.",
            param="to",
        )
    if holder(split.ranges) is None:
        return main(split.ranges)
    brought = [each for each in mine if each.state == "promoted" and each.plan.candidate in live]
    if brought:
        return max(brought, key=lambda each: each.ended_at or 0.0).plan.champion
    taken_back = {each.plan.champion for each in mine if each.plan.preset == "rollback"}
    for warm in reversed(split.warm):
        if warm.release not in live | taken_back:
            return warm.release
    raise PenstockError(
        CONFLICT,
        f"No release before is known of the service '{split.service}'. Name one with 'to'; `penstock release history "
        f"{split.service}` lists them.",
        param="to",
    )


def roll_back(
    directory: Directory, split: Split, to: str, standing: Standing, *, id: str, actor: str, now: float
) -> Move:
    """The service's split gives everybody ``to``, now or when it is loaded; ``id`` is that of the rollout which does
    it. Raises ``PenstockError(CONFLICT)`` when everybody has it already, or another rollback brings it."""
    going = running(directory, split.service)
    if going is not None and to == going.plan.champion and going.plan.preset != "rollback":
        reason = f"It was rolled back to {to}."
        return taken_out(going, split, "rollback", "rolled_back", reason, now, actor=actor)
    if going is not None and to == going.plan.candidate and going.plan.preset == "rollback":
        raise PenstockError(
            CONFLICT,
            f"'{split.service}' is being rolled back to {to} already, which is loaded first. See how far it is with "
            f"`penstock rollout watch {going.id}`, or name another release with 'to'.",
            param="to",
        )
    if going is None and holder((*split.ranges, *split.inside)) == to:
        raise PenstockError(
            CONFLICT, f"Everybody has {to} at '{split.service}' already. Name another with 'to'.", param="to"
        )
    ended = None
    if going is not None:
        ended = taken_out(going, split, "abort", "aborted", f"It gave way to a rollback to {to}.", now, actor=actor)
        split = ended.split or split
    at_once = to in served(split) or ready_everywhere(standing, to)
    begun = _begun(split, to, id, actor, now, at_once=at_once)
    if ended is None:
        return begun
    return Move(
        rollouts=(*ended.rollouts, *begun.rollouts),
        split=begun.split,
        decisions=(*ended.decisions, *begun.decisions),
    )


def _begun(split: Split, to: str, id: str, actor: str, now: float, *, at_once: bool) -> Move:
    parts = {release: part for release, part in shares(split.ranges).items() if release != to}
    held = max(parts, key=lambda release: parts[release], default=split.inside[0].release if split.inside else to)
    plan = Plan(
        preset="rollback", candidate=to, champion=held, steps=(), deadline_s=LOAD_WITHIN_S, keep_warm_s=KEEP_WARM_S
    )
    reason = (
        f"{to} is ready everywhere and has all." if at_once else f"{to} is loaded first; nobody moves until then."
    )
    rollout = Rollout(
        id=id,
        service=split.service,
        plan=plan,
        state="rolled_back" if at_once else "loading",
        since=now,
        started_at=now,
        ended_at=now if at_once else None,
        decisions=1,
        reason=reason,
        author=actor,
    )
    what: Deed = "rollback" if at_once else "start"
    decision = Decision(rollout=id, number=1, at=now, actor=actor, what=what, reason=reason)
    after = switched(split, to, now + KEEP_WARM_S, now) if at_once else replace(split, rollout=id, changed_at=now)
    return Move(rollouts=(rollout,), split=after, decisions=(decision,))
