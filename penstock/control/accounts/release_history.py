"""What became of a service: its releases, and the rollouts of them, by time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from penstock.control.accounts.operation import Scores, Sources
from penstock.control.accounts.release_of import current
from penstock.control.accounts.turn import Page, Turn, newest_first, page
from penstock.core.accounts import Directory
from penstock.core.administration import Ask
from penstock.core.releases import Preset, Rollout, RolloutState


class EventView(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to a service. `what`: a release was `made`, a rollout of it `started`, or has ended in
    some way; of a rollback in one step there is the end alone. `held_by`: the release that had the place afterwards,
    for an end. `by`: who did it, empty: the gateway itself."""

    at: float
    object: Literal["release_event"] = "release_event"
    what: Literal["made", "started"] | RolloutState
    release: str
    rollout: str = ""
    preset: Preset | None = None
    held_by: str | None = None
    by: str = ""
    message: str = ""


def listed(sources: Sources, turn: Turn, _: None, __: Ask) -> Page:
    """Newest first. Raises ``PenstockError(NOT_FOUND)``."""
    directory = sources.directory()
    if all(each.service != turn.target for each in directory.releases):
        # Nothing has happened yet; the refusal of a service that there is not is as everywhere.
        current(directory, turn.served, turn.target)
    rows = ((newest_first(each.at, each.rollout or each.release), each) for each in _events(directory, turn.target))
    return page(turn, rows, lambda event: _told(sources.scores, event))


def _events(directory: Directory, service: str) -> Iterator[EventView]:
    for release in directory.releases:
        if release.service == service:
            yield EventView(
                at=release.created_at, what="made", release=release.id, by=release.author, message=release.message
            )
    for rollout in directory.rollouts:
        if rollout.service == service:
            yield from _of_rollout(rollout)


def _of_rollout(rollout: Rollout) -> Iterator[EventView]:
    plan = rollout.plan
    if rollout.ended_at != rollout.started_at:
        yield EventView(
            at=rollout.started_at,
            what="started",
            release=plan.candidate,
            rollout=rollout.id,
            preset=plan.preset,
            by=rollout.author,
        )
    if rollout.ended_at is not None:
        moved = rollout.state == "promoted" or (rollout.state == "rolled_back" and plan.preset == "rollback")
        yield EventView(
            at=rollout.ended_at,
            what=rollout.state,
            release=plan.candidate,
            rollout=rollout.id,
            preset=plan.preset,
            held_by=plan.candidate if moved else plan.champion,
            message=rollout.reason,
        )


def _told(scores: Scores | None, event: EventView) -> EventView:
    """With who ended it, which its last decision knows."""
    if scores is None or event.held_by is None:
        return event
    decisions = scores.decisions(event.rollout)
    return msgspec.structs.replace(event, by=decisions[-1].actor) if decisions else event
