"""The log of requests: searched, followed, paged."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

import msgspec

from penstock.control.observed.views import OverviewView, RequestDetail, RequestView
from penstock.core.errors import NOT_FOUND, STORE_UNAVAILABLE, PenstockError
from penstock.edge.console.asking import Rows, instant
from penstock.edge.console.charting import WINDOW_S
from penstock.edge.console.page import Page, PageRoute, Redirect, Shown, Visit
from penstock.edge.console.pages.parts import Part, part
from penstock.edge.console.pages.request_filters import (
    FIELDS,
    TEXTS_SEARCHED,
    Question,
    chart,
    chips,
    pills,
    question,
    sought,
    trace_in,
)
from penstock.edge.console.showing import link

SEEN = ("requests:read", "usage:own")
"""Who may look: of these, who may not see the project's requests sees its own."""

_SHOWN = 50


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a search. ``error``: what was asked for cannot be. ``off``: there is no log. ``away``: the log
    cannot be reached, since ``stale_since`` where that is known."""

    rows: Sequence[RequestView] = ()
    next: str | None = None
    error: PenstockError | None = None
    off: bool = False
    away: str = ""
    stale_since: float | None = None


async def listed(visit: Visit) -> Shown:
    if (text := visit.asked("find")) and not visit.ask.fragment:
        return await _sought(visit, text[:300])
    return await _shown(visit, question(visit.ask.query))


async def _shown(visit: Visit, asked: Question, lost: str = "") -> Page:
    found, overview = await asyncio.gather(_found(visit, asked), _usual(visit, asked))
    known = overview.value
    twice = {id for id, count in Counter(each.id for each in found.rows).items() if count > 1}
    values = {
        "asked": asked,
        "found": found,
        "fields": [each for each in FIELDS if each.name != "text" or visit.may("requests:content")],
        "services": sorted({each.service for each in known.services}) if known is not None else [],
        "pills": pills(asked),
        "chips": chips(asked, known.total if known is not None else None),
        "chart": chart(asked),
        "longest": max((each.duration_ms for each in found.rows), default=0.0) or 1.0,
        "twice": twice,
        "own": not visit.may("requests:read"),
        "lost": lost,
        "windows": tuple(WINDOW_S),
        "searched": TEXTS_SEARCHED,
    }
    return Page("Requests", "requests.html", values)


async def _usual(visit: Visit, asked: Question) -> Part[OverviewView]:
    """How requests go at all. What is live does without: it stands outside of what is written again."""
    if visit.ask.fragment:
        return Part()
    return await part(visit.api.get("overview.get", OverviewView, window=asked.window))


async def _found(visit: Visit, asked: Question) -> Found:
    since = asked.since
    if not since:
        end = instant(asked.until, visit.now)
        since = f"{max(0.0, (visit.now if end is None else end) - WINDOW_S[asked.window]):.0f}"
    try:
        rows: Rows[RequestView] = await visit.api.list(
            "requests.list",
            RequestView,
            since=since,
            until=asked.until,
            after=asked.after,
            limit=_SHOWN,
            **asked.filters,
        )
    except PenstockError as error:
        if error.fault is STORE_UNAVAILABLE:
            overview = await part(visit.api.get("overview.get", OverviewView, window="15m"))
            stale = overview.value.stale_since if overview.value is not None else None
            return Found(away=error.message, stale_since=stale)
        return Found(off=error.fault is NOT_FOUND and error.param is None, error=error)
    return Found(rows=rows.data, next=rows.next)


async def _sought(visit: Visit, text: str) -> Shown:
    """What somebody typed to find a request: its id, filters, or a trace."""
    if (filters := sought(text)) is not None:
        return Redirect(link("/requests", **filters))
    found = await part(visit.api.get("requests.get", RequestDetail, text))
    if found.value is not None:
        return Redirect(link(f"/requests/{text}"))
    if trace := trace_in(text):
        return Redirect(link(f"/traces/{trace}"))
    return await _shown(visit, question({}), text)


ROUTES = (PageRoute("GET", "/requests", listed, SEEN),)
