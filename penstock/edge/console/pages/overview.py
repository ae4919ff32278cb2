"""How it goes: the first page that people see."""

from __future__ import annotations

from penstock.control.observed.views import OverviewView
from penstock.edge.console.page import Page, PageRoute, Visit

WINDOWS = ("15m", "1h", "6h", "24h", "7d", "30d")


async def show(visit: Visit) -> Page:
    window = visit.asked("window", "1h")
    found = await visit.api.get("overview.get", OverviewView, window=window)
    return Page("Overview", "overview.html", {"overview": found, "window": window, "windows": WINDOWS})


ROUTES = (PageRoute("GET", "/", show),)
