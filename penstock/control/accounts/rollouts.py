"""Rollouts: started, seen, and decided by people."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from penstock.control.accounts.operation import Sources, Writes
from penstock.control.accounts.release_of import released, split_of
from penstock.control.accounts.rollout_request import SegmentForm, StartRollout, plan_of, segment_of
from penstock.control.accounts.rollout_shown import RolloutView, shown
from penstock.control.accounts.servable import check_prompt, check_servable
from penstock.control.accounts.sight import key_of, not_found, project_of
from penstock.control.accounts.splits import origin_of, parts, split_now
from penstock.control.accounts.turn import Outcome, Page, Turn, conflict, newest_first, page
from penstock.control.rollouts import acts
from penstock.control.rollouts.back import running
from penstock.control.rollouts.moves import Move
from penstock.control.rollouts.shares import begun, holder
from penstock.core.accounts import Directory
from penstock.core.administration import Ask
from penstock.core.releases import ENDED, Decision, Plan, Release, Rollout, Segment, Split


class Approve(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`everyone`: not only those whom the rollout is limited to get the release."""

    everyone: bool = False


class Prepared(msgspec.Struct, frozen=True):
    """A rollout that could be started now."""

    plan: Plan
    split: Split
    champion: Release
    candidate: Release


def prepared(directory: Directory, turn: Turn, asked: StartRollout) -> Prepared:
    """All checks, and nothing is changed. Raises ``PenstockError``: NOT_FOUND, INVALID_VALUE, CONFLICT."""
    service = asked.service
    split = split_now(directory, turn, service)
    candidate = released(directory, turn.served, service, asked.release)
    going = running(directory, service)
    if going is not None:
        raise conflict(
            f"The rollout '{going.id}' of '{service}' has not ended: it is {going.state}. Abort it, or wait for its "
            "end; two at once could not be told apart.",
            "service",
        )
    champion = released(directory, turn.served, service, _champion(split, segment_of(asked.segment)))
    _check_there(directory, turn, asked.segment)
    if champion.id == candidate.id:
        raise conflict(f"'{service}' has the release '{candidate.id}' already. Name another.", "release")
    check_servable(directory, turn, candidate, split, "release")
    check_prompt(directory, turn, champion, candidate)
    plan = plan_of(turn, asked, candidate, champion.id, turn.recent(service))
    return Prepared(plan, split, champion, candidate)


def start(directory: Directory, turn: Turn, asked: StartRollout) -> Outcome:
    """It loads the candidate first; nobody moves until every gateway has it ready."""
    found = prepared(directory, turn, asked)
    id = turn.new_id("roll")
    aim = "is compared with" if found.plan.preset == "shadow" else "is to take the place of"
    reason = f"{found.candidate.id} {aim} {found.champion.id}; it is loaded first."
    rollout = Rollout(
        id=id,
        service=asked.service,
        plan=found.plan,
        state="loading",
        since=turn.now,
        started_at=turn.now,
        decisions=1,
        reason=reason,
        author=turn.actor.key_id,
    )
    decision = Decision(rollout=id, number=1, at=turn.now, actor=turn.actor.key_id, what="start", reason=reason)
    after = begun(found.split, found.plan, id, turn.now)
    origin = origin_of(directory, turn, asked.service)
    view = shown(rollout, after, turn.standing, (decision,))
    return Outcome(
        answer=view,
        put=(*parts(directory, turn, *origin, found.champion, found.candidate), rollout, after),
        decisions=(decision,),
        target=id,
        after=view,
    )


def listed(directory: Directory, turn: Turn, _: None) -> Page:
    service, state = turn.query.get("service"), turn.query.get("state")
    rows = (
        (newest_first(each.started_at, each.id), each)
        for each in directory.rollouts
        if service in (None, each.service)
        and state in (None, each.state, "running" if each.state not in ENDED else "ended")
    )
    return page(turn, rows, lambda each: shown(each, split_of(directory, each.service), turn.standing))


def one(sources: Sources, turn: Turn, _: None, __: Ask) -> RolloutView:
    """With how its gates stand and all that was decided. Raises ``PenstockError(NOT_FOUND)``."""
    directory = sources.directory()
    rollout = found(directory, turn)
    decisions = () if sources.scores is None else sources.scores.decisions(rollout.id)
    evidence = None if rollout.state in ENDED else sources.evidence(rollout.id)
    return shown(rollout, split_of(directory, rollout.service), turn.standing, decisions, evidence)


def approve(directory: Directory, turn: Turn, asked: Approve | None) -> Outcome:
    everyone = asked is not None and asked.everyone
    return _acted(
        directory, turn, lambda rollout, split: acts.approve(rollout, split, _by(turn), turn.now, everyone=everyone)
    )


def abort(directory: Directory, turn: Turn, _: None) -> Outcome:
    return _acted(directory, turn, lambda rollout, split: acts.abort(rollout, split, _by(turn), turn.now))


def _alone(act: Callable[[Rollout, str, float], Move]) -> Writes:
    return lambda directory, turn, _: _acted(directory, turn, lambda rollout, __: act(rollout, _by(turn), turn.now))


pause = _alone(acts.pause)
resume = _alone(acts.resume)


def _acted(directory: Directory, turn: Turn, act: Callable[[Rollout, Split], Move]) -> Outcome:
    rollout = found(directory, turn)
    split = split_of(directory, rollout.service)
    if split is None or split.rollout not in (rollout.id, ""):
        raise conflict(f"The split of '{rollout.service}' is not this rollout's any more; it is over.")
    move = act(rollout, split)
    after = shown(move.rollouts[0], move.split or split, turn.standing, move.decisions)
    return Outcome(
        answer=after,
        put=move.records,
        decisions=move.decisions,
        target=rollout.id,
        before=shown(rollout, split, turn.standing),
        after=after,
    )


def _check_there(directory: Directory, turn: Turn, segment: SegmentForm | None) -> None:
    """Of a project or a key that there is not nobody would ever be drawn."""
    if segment is None:
        return
    for project in segment.projects:
        project_of(directory, turn.actor, project, "segment.projects")
    for key in segment.keys:
        # Who comes with a token has no key, and goes by `jwt:` and the user.
        if not key.startswith("jwt:"):
            key_of(directory, turn.actor, key, "segment.keys")


def _champion(split: Split, segment: Segment | None) -> str:
    """The release that has all whom the rollout is about. Each side must be one's alone, as a rollout begins with a
    new salt and nobody may move by that."""
    if split.segment is not None and segment not in (None, split.segment):
        raise conflict(
            f"Another segment of '{split.service}' has a release of its own already. Choose that segment, or roll "
            "back first.",
            "segment",
        )
    sides = [split.ranges] if split.segment is None else [split.ranges, split.inside]
    held = [holder(each) for each in sides]
    champion = held[-1] if segment is not None else held[0]
    if champion is None or None in held:
        raise conflict(
            f"Several releases share the traffic of '{split.service}'. Give one of them 100 % first: `penstock split "
            f"set {split.service} RELEASE=100`.",
            "service",
        )
    return champion


def found(directory: Directory, turn: Turn) -> Rollout:
    """The one that is asked for. Raises ``PenstockError(NOT_FOUND)``."""
    for rollout in directory.rollouts:
        if rollout.id == turn.target:
            return rollout
    raise not_found("rollout", turn.target)


def _by(turn: Turn) -> str:
    return turn.actor.key_id
