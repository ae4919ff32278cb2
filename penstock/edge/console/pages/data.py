"""What charts fetch: the series as lines, and what was changed meanwhile."""

from __future__ import annotations

import asyncio

import msgspec

from penstock.control.observed.views import ChangeView, OverviewView, PointView
from penstock.core.errors import NOT_FOUND, PERMISSION_DENIED, PenstockError
from penstock.edge.console.asking import instant
from penstock.edge.console.charting import Span, chart, check, span
from penstock.edge.console.page import Data, PageRoute, Visit

_MOST_CHANGES = 100
_MOST_DRAWS = 24


async def series(visit: Visit) -> Data:
    """The address says ``window``, or ``since`` and ``until``; the filters of `series.list`; and what to ``draw``,
    with commas between; ``partly`` as of ``charting.chart``."""
    draws = [each for each in visit.asked("draw", "requests/s").split(",") if each][:_MOST_DRAWS]
    for draw in draws:
        check(draw)
    over = span(
        visit.asked("window", "1h"),
        instant(visit.asked("since"), visit.now),
        instant(visit.asked("until"), visit.now),
        visit.now,
    )
    filters = {name: visit.asked(name) for name in ("by", "service", "model", "release", "project", "key")}
    points, told, changes = await asyncio.gather(
        visit.api.all(
            "series.list",
            PointView,
            most=20_000,
            since=over.since,
            until=over.until,
            step=int(over.step_s),
            limit=None,
            **filters,
        ),
        _told(visit),
        _changes(visit, over, filters["service"]),
    )
    return Data(
        msgspec.json.encode(chart(points.data, draws, over, told, changes, partly=visit.asked("partly") == "true"))
    )


async def _told(visit: Visit) -> float | None:
    """Until when everything is known: where no request was, no point tells."""
    overview = await visit.api.get("overview.get", OverviewView, window="15m")
    said = [each.told_until for each in overview.gateways if each.alive] or [None]
    return None if None in said else min(each for each in said if each is not None)


async def _changes(visit: Visit, over: Span, service: str) -> tuple[ChangeView, ...]:
    try:
        found = await visit.api.list(
            "changes.list", ChangeView, since=over.since, until=over.until, service=service, limit=_MOST_CHANGES
        )
    except PenstockError as error:
        if error.fault is not PERMISSION_DENIED:
            raise
        return ()
    return found.data


async def request(visit: Visit) -> Data:
    """One request as `requests.get` has it: what an answer in the playground came to. ``null`` while it is not in the
    log: a page that waits for it has no error to tell."""
    try:
        return Data((await visit.api.raw("requests.get", visit.place)).body)
    except PenstockError as error:
        if error.fault is not NOT_FOUND:
            raise
        return Data(b"null")


ROUTES = (
    PageRoute("GET", "/data/series", series, ("requests:read", "usage:own")),
    PageRoute("GET", "/data/requests/{id}", request, ("requests:read", "usage:own")),
)
