"""Which invalidations are kept, so that they stay few and none that matters is lost. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from penstock.core.accounts import Record, RecordKind
from penstock.core.caching import Invalidation

FORGOTTEN_AFTER_S = (2 * 366 + 1) * 86400.0
"""No entry lives that long: 366 days fresh and 366 more beyond at most, and a day for clocks that differ."""
MOST = 2_000
"""How many are kept: each change of the directory carries them all, and every worker reads them between requests."""

_WIDE = ("all", "project")

Changes = tuple[tuple[Record, ...], tuple[tuple[RecordKind, str], ...]]
"""What a change of the directory puts, and what it removes."""


def with_one_more(known: Sequence[Invalidation], new: Invalidation, now: float) -> Changes:
    """What is to change so that ``new`` holds beside those ``known``; nothing when it does already."""
    before = {each.id: each for each in known}
    after = {each.id: each for each in kept((*known, new), now)}
    put = tuple(each for id, each in after.items() if before.get(id) != each)
    return put, tuple(("invalidation", id) for id in before if id not in after)


def kept(records: Iterable[Invalidation], now: float) -> tuple[Invalidation, ...]:
    """The fewest that refuse every entry which any of them refuses, and lives at ``now`` (seconds since the epoch).

    Beyond ``MOST`` the older half becomes one invalidation for each project, of all that is as old as the newest of
    them: some answers are made anew that need not be, and none is served that should not.
    """
    found = _needed(each for each in records if each.at >= now - FORGOTTEN_AFTER_S)
    for home in (_home, lambda _: ""):
        if len(found) <= MOST:
            break
        by_age = sorted(found, key=lambda each: each.at)
        older, newer = by_age[: -MOST // 2], by_age[-MOST // 2 :]
        found = _needed([*(_whole(home(each), each.at) for each in older), *newer])
    return tuple(found)


def _needed(records: Iterable[Invalidation]) -> list[Invalidation]:
    """The newest of each name, without those that a wider one covers."""
    newest: dict[str, Invalidation] = {}
    for each in map(_plain, records):
        there = newest.get(each.id)
        if there is None or there.at < each.at:
            newest[each.id] = each
    wide = {each.project: each.at for each in newest.values() if each.scope in _WIDE}

    def covered(each: Invalidation) -> bool:
        by_all = each.scope != "all" and wide.get("", -1.0) >= each.at
        return by_all or (each.scope not in _WIDE and wide.get(each.project, -1.0) >= each.at)

    return [each for each in newest.values() if not covered(each)]


def _plain(each: Invalidation) -> Invalidation:
    """All of a project is written in one way."""
    return _whole(_home(each), each.at) if each.scope in _WIDE else each


def _whole(project: str, at: float) -> Invalidation:
    """All that a project has; empty: that there is."""
    if project:
        return Invalidation(scope="project", value=project, project=project, at=at)
    return Invalidation(scope="all", at=at)


def _home(each: Invalidation) -> str:
    return each.project or (each.value if each.scope == "project" else "")
