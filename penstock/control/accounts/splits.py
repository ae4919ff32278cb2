"""Who gets which release of a service: seen, set by hand, taken back."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from penstock.control.accounts.release_of import current, released, split_of, with_parts
from penstock.control.accounts.rollout_shown import RolloutView, SplitView, shown, split_shown
from penstock.control.accounts.servable import check_servable
from penstock.control.accounts.turn import Name, Outcome, Page, Turn, conflict, invalid, page
from penstock.control.rollouts.back import before, roll_back, running
from penstock.control.rollouts.shares import cooled, percent, ready_everywhere, served, waiting_for, warmed, whole
from penstock.core.accounts import Directory, Record
from penstock.core.errors import PenstockError
from penstock.core.releases import WHOLE, Release, Split
from penstock.routing.assignment import resplit

Percent = Annotated[float, msgspec.Meta(ge=0, le=100)]


class SetSplit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`shares` in percent by release, of everybody; they add up to 100. `sticky`: whom a share is of; left out, as it
    was."""

    shares: dict[str, Percent]
    sticky: Literal["user", "conversation", "request"] | UnsetType = UNSET


class RollBack(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`to`: the release that everybody gets; default: the one before."""

    to: Name | None = None


class BackView(msgspec.Struct, frozen=True, kw_only=True):
    """What a rollback of a service would do now: `to` is the release that everybody would get, null where none is
    known, and then `reason` says why. `ready` are the gateways that could serve it at once, `gateways` all that are
    alive."""

    service: str
    object: Literal["rollback_ahead"] = "rollback_ahead"
    to: str | None
    reason: str = ""
    ready: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()


class KeepWarm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`release` stays loaded for `for_s` seconds from now on, though nobody gets it; null: for good, 0: no longer."""

    release: Name
    for_s: Annotated[float, msgspec.Meta(ge=0, le=1e9)] | None = 3600.0


def split_now(directory: Directory, turn: Turn, service: str) -> Split:
    """The service's split, as the store has it, else as the deployment file makes it. Raises
    ``PenstockError(NOT_FOUND)``."""
    given = current(directory, turn.served, service)
    split = split_of(directory, service)
    return split or Split(service=service, ranges=whole(given.id), salt=turn.new_id("salt"), origin=given.id)


def parts(directory: Directory, turn: Turn, *releases: Release) -> tuple[Record, ...]:
    """What the store lacks of these, each once. Raises ``PenstockError(CONFLICT)``."""
    found: list[Record] = []
    for release in releases:
        found += [each for each in with_parts(directory, turn.served, release, at=turn.now) if each not in found]
    return tuple(found)


def origin_of(directory: Directory, turn: Turn, service: str) -> tuple[Release, ...]:
    """The release of the deployment file, where the store takes the service over from it now."""
    return () if split_of(directory, service) is not None else (turn.served.services[service],)


def listed(directory: Directory, turn: Turn, _: None) -> Page:
    names = {each.service for each in directory.splits} | turn.served.services.keys()
    return page(turn, ((name, name) for name in names), lambda name: _one(directory, turn, name))


def one(directory: Directory, turn: Turn, _: None) -> SplitView:
    return _one(directory, turn, turn.target)


def _one(directory: Directory, turn: Turn, service: str) -> SplitView:
    # A service that the deployment file has lost keeps its split, for when it comes back.
    split = split_of(directory, service)
    return split_shown(split if split is not None else split_now(directory, turn, service))


def change(directory: Directory, turn: Turn, asked: SetSplit) -> Outcome:
    """Raises ``PenstockError``: INVALID_VALUE, NOT_FOUND, CONFLICT while a rollout runs, or where a release is not
    loaded everywhere."""
    service = turn.target
    split = split_now(directory, turn, service)
    going = running(directory, service)
    if going is not None:
        raise conflict(
            f"The rollout '{going.id}' moves the shares of '{service}'. Abort it first, or let it end.", "shares"
        )
    wanted = {release: round(part * WHOLE / 100) for release, part in asked.shares.items() if part}
    if sum(wanted.values()) != WHOLE:
        raise invalid(
            "shares", f"The shares add up to {percent(sum(wanted.values()))}. Mend them so that it is 100 %."
        )
    found = [released(directory, turn.served, service, id, "shares") for id in wanted]
    for release in found:
        check_servable(directory, turn, release, split, "shares")
        if release.id not in served(split) and not ready_everywhere(turn.standing, release.id):
            raise conflict(
                f"Release '{release.id}' is not loaded: {waiting_for(turn.standing, release.id)}. `penstock rollout "
                f"start {service} {release.id}` loads it before anybody gets it.",
                "shares",
            )
    sticky = split.sticky if asked.sticky is UNSET else asked.sticky
    new = replace(split, ranges=resplit(split.ranges, wanted), segment=None, inside=(), sticky=sticky)
    put: tuple[Record, ...] = ()
    if new != split or split_of(directory, service) is None:
        new = replace(new, changed_at=turn.now)
        put = (*parts(directory, turn, *origin_of(directory, turn, service), *found), new)
    return Outcome(
        answer=split_shown(new), put=put, target=service, before=split_shown(split), after=split_shown(new)
    )


def warm(directory: Directory, turn: Turn, asked: KeepWarm) -> Outcome:
    """Loads a release ahead of its time, or lets it go. Raises ``PenstockError``: NOT_FOUND, CONFLICT."""
    service = turn.target
    split = split_now(directory, turn, service)
    release = released(directory, turn.served, service, asked.release)
    check_servable(directory, turn, release, split, "release")
    until = None if asked.for_s is None else turn.now + asked.for_s
    kept = cooled(split, release.id) if asked.for_s == 0 else warmed(split, release.id, until)
    new = replace(split, warm=kept)
    put: tuple[Record, ...] = ()
    if new != split:
        new = replace(new, changed_at=turn.now)
        put = (*parts(directory, turn, *origin_of(directory, turn, service), release), new)
    return Outcome(
        answer=split_shown(new), put=put, target=service, before=split_shown(split), after=split_shown(new)
    )


def ahead(directory: Directory, turn: Turn, _: None) -> BackView:
    """What ``take_back`` would do, and nothing moves. Raises ``PenstockError(NOT_FOUND)`` of no such service."""
    service, to = turn.target, turn.query.get("to")
    split = split_now(directory, turn, service)
    gateways = tuple(sorted(turn.standing))
    try:
        to = before(directory, split, turn.now) if to is None else released(directory, turn.served, service, to).id
    except PenstockError as error:
        return BackView(service=service, to=None, reason=error.message, gateways=gateways)
    ready = tuple(each for each in gateways if to in turn.standing[each])
    return BackView(service=service, to=to, ready=ready, gateways=gateways)


def take_back(directory: Directory, turn: Turn, asked: RollBack | None) -> Outcome:
    """Raises ``PenstockError``: NOT_FOUND, CONFLICT where there is nothing before, or everybody has it already."""
    service = turn.target
    split = split_now(directory, turn, service)
    to = asked.to if asked is not None and asked.to is not None else before(directory, split, turn.now)
    release = released(directory, turn.served, service, to, "to")
    check_servable(directory, turn, release, split, "to")
    id = turn.new_id("roll")
    move = roll_back(directory, split, to, turn.standing, id=id, actor=turn.actor.key_id, now=turn.now)
    put = parts(directory, turn, *origin_of(directory, turn, service), release)
    after: RolloutView = shown(move.rollouts[-1], move.split, turn.standing, move.decisions[-1:])
    return Outcome(
        answer=after,
        put=(*put, *move.records),
        decisions=move.decisions,
        target=service,
        before=split_shown(split),
        after=split_shown(move.split or split),
    )
