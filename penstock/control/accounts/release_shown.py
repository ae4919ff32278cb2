"""Releases as answers show them: what each is, and who gets it now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from penstock.control.accounts.release_of import split_of
from penstock.control.accounts.turn import Turn
from penstock.core.accounts import Directory
from penstock.core.releases import ENDED, WHOLE, Range, Release, Served, Split


class ReleaseView(msgspec.Struct, frozen=True, kw_only=True):
    """A release of a service: versions of its parts, and `defaults`, members of a request that hold where the client
    says nothing. `share`: how many percent of the traffic get it now, `segment_share`: of those that a rollout is
    limited to. `warm`: it stays loaded without that. `rollout`: the one that tries it now. `ready`: the gateways that
    could serve it at once. `in_file`: the deployment file says the same. `created_at` null: it is not kept yet."""

    id: str
    object: Literal["release"] = "release"
    service: str
    model: str
    prompt: str
    index: str
    guards: str
    defaults: msgspec.Raw
    author: str
    message: str
    created_at: float | None
    share: float
    segment_share: float
    warm: bool
    rollout: str
    ready: tuple[str, ...]
    in_file: bool


def everything(directory: Directory, served: Served) -> Iterator[Release]:
    """Those that are kept, and those that the deployment file makes and the store does not have."""
    yield from directory.releases
    ids = {each.id for each in directory.releases}
    yield from (each for each in served.services.values() if each.id not in ids)


def shown(directory: Directory, turn: Turn, release: Release) -> ReleaseView:
    split = split_of(directory, release.service)
    given = turn.served.services.get(release.service)
    in_file = given is not None and given.id == release.id
    alone = 100.0 if in_file else 0.0
    return ReleaseView(
        id=release.id,
        service=release.service,
        model=release.model,
        prompt=release.prompt,
        index=release.index,
        guards=release.guards,
        defaults=msgspec.Raw(release.defaults),
        author=release.author,
        message=release.message,
        created_at=release.created_at or None,
        share=alone if split is None else _share(split.ranges, release.id),
        segment_share=0.0 if split is None else _share(split.inside, release.id),
        warm=split is not None and _warm(split, release.id, turn.now),
        rollout=_rollout(directory, release),
        ready=tuple(sorted(gateway for gateway, able in turn.standing.items() if release.id in able)),
        in_file=in_file,
    )


def _share(ranges: Sequence[Range], release: str) -> float:
    """Percent."""
    found = begin = 0
    for each in ranges:
        if each.release == release:
            found += each.end - begin
        begin = each.end
    return found * 100 / WHOLE


def _warm(split: Split, release: str, now: float) -> bool:
    return any(each.release == release and (each.until is None or each.until > now) for each in split.warm)


def _rollout(directory: Directory, release: Release) -> str:
    return next(
        (each.id for each in directory.rollouts if each.plan.candidate == release.id and each.state not in ENDED), ""
    )
