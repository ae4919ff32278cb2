"""All requests of one trace, in one waterfall."""

from __future__ import annotations

import asyncio

from penstock.control.observed.views import RequestDetail, RequestView
from penstock.core.errors import INVALID_VALUE, PenstockError
from penstock.edge.console.page import Page, PageRoute, Visit
from penstock.edge.console.pages.parts import part
from penstock.edge.console.pages.request_filters import trace_in
from penstock.edge.console.pages.request_waterfall import of_trace
from penstock.edge.console.pages.requests import SEEN

_MOST = 50
"""Requests that are drawn, the first of the trace."""


async def show(visit: Visit) -> Page:
    """Raises ``PenstockError(INVALID_VALUE)`` for what is no id of a trace."""
    trace = trace_in(visit.place)
    if not trace:
        raise PenstockError(
            INVALID_VALUE, f"'{visit.place[:80]}' is no id of a trace, which has 32 hexadecimal digits."
        )
    found = await visit.api.all("requests.list", RequestView, most=4 * _MOST, limit=_MOST, trace=trace)
    rows = sorted(found.data, key=lambda each: each.at)
    drawn = await asyncio.gather(
        *(part(visit.api.get("requests.get", RequestDetail, each.id, at=repr(each.at))) for each in rows[:_MOST])
    )
    views = [each.value for each in drawn if each.value is not None]
    values = {
        "trace": trace,
        "rows": rows,
        "waterfall": of_trace(views),
        "services": sorted({each.service for each in rows if each.service}),
        "left_out": len(rows) - len(views),
        "more": found.next is not None,
        "cost": sum(float(each.cost) for each in rows),
        "failed": sum(each.status >= 400 for each in rows),
    }
    return Page("Trace", "request_trace.html", values)


ROUTES = (PageRoute("GET", "/traces/{id}", show, SEEN),)
