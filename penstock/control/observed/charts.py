"""The numbers under charts: the series, asked."""

from __future__ import annotations

from typing import get_args

from penstock.control.accounts.operation import Sources
from penstock.control.accounts.sight import not_found
from penstock.control.accounts.turn import Page, Turn, after_of, cursor, invalid, limit_of, near, time_of
from penstock.control.observed.asked import off, said
from penstock.control.observed.points import point, told_until
from penstock.core.administration import Ask
from penstock.core.series import STEPS, Dimension, SeriesQuery
from penstock.store import SeriesStore

LONGEST = 5000
"""Points of one page."""
MOST_STEPS = 3000

_SPAN_S = 3600.0
_DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)


def series(sources: Sources, turn: Turn, _: object, __: Ask) -> Page:
    """Points by time and then by group. Raises ``PenstockError``."""
    store = series_of(sources)
    query = _query(turn)
    most, begin = limit_of({"limit": str(LONGEST), **turn.query}, LONGEST), after_of(turn.query, int) or 0
    rows = store.series(query)
    told = told_until(store.fed(), turn.standing)
    some = rows[begin : begin + most] if begin >= 0 else ()
    more = begin >= 0 and len(rows) > begin + most
    return Page(
        data=[point(row, query.by, told) for row in some],
        has_more=more,
        next=cursor(begin + most) if more else None,
    )


def series_of(sources: Sources) -> SeriesStore:
    if sources.series is None:
        raise off()
    return sources.series


def own(turn: Turn) -> tuple[str | None, str | None]:
    """The project and the key that the actor is held to: who may not see the project's charts sees those of its own
    key. Raises ``PenstockError(NOT_FOUND)``."""
    given, actor = said(turn), turn.actor
    project, key_id = given.get("project"), given.get("key")
    if not actor.everywhere:
        if project not in (None, actor.project):
            raise not_found("project", str(project), "project")
        project = actor.project
    if not actor.may("requests:read"):
        if key_id not in (None, actor.key_id):
            raise not_found("key", str(key_id), "key")
        key_id = actor.key_id
    return project, key_id


def _query(turn: Turn) -> SeriesQuery:
    given = said(turn)
    step = _step(given.get("step"))
    until = time_of(given, "until")
    until = turn.now if until is None else until
    since = time_of(given, "since")
    since = max(0.0, until - _SPAN_S) if since is None else since
    if until - since > MOST_STEPS * step:
        raise invalid(
            "step",
            f"That is more than {MOST_STEPS} steps. Ask for a longer 'step' than {step:.0f}, or a shorter time.",
        )
    project, key_id = own(turn)
    return SeriesQuery(
        # Whole steps, so that the first is not told as if less had happened in it.
        since=since - since % step,
        until=until,
        step_s=step,
        by=_by(given.get("by", "")),
        service=given.get("service"),
        model=given.get("model"),
        release=given.get("release"),
        project=project,
        key_id=key_id,
    )


def _step(given: str | None) -> float:
    if given is None:
        return STEPS[1]
    step = int(given) if given.isascii() and given.isdigit() and len(given) < 9 else 0
    if step < STEPS[0] or step % STEPS[0] or step > 366 * 86400:
        raise invalid("step", "'step' must be 10, 60, 3600 or another multiple of 10, in seconds.")
    return float(step)


def _by(given: str) -> tuple[Dimension, ...]:
    found: list[Dimension] = []
    for name in given.split(",") if given else ():
        known = next((each for each in _DIMENSIONS if each == name), None)
        if known is None:
            raise invalid("by", f"'by' cannot group by '{name[:40]}'. {near(name, _DIMENSIONS)}")
        if known not in found:
            found.append(known)
    return tuple(found)
