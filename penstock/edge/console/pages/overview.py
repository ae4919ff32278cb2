"""How it goes: the first page that people see."""

from __future__ import annotations

from penstock.control.observed.views import OverviewView
from penstock.edge.console.health import health
from penstock.edge.console.page import Page, PageRoute, Visit


async def show(visit: Visit) -> Page:
    window = visit.asked("window", "1h")
    found = await visit.api.get("overview.get", OverviewView, window=window)
    return Page(
        "Overview",
        "overview.html",
        {
            "overview": found,
            "window": window,
            "health": health(found, window),
            "between": {"since": int(found.since), "until": int(found.until)},
            "length": found.until - found.since,
        },
    )


ROUTES = (PageRoute("GET", "/", show, ("requests:read",)),)
