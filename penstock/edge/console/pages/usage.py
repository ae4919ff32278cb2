"""Usage and cost: added up by whatever is asked, as a table, by day as bars, and as a file."""

from __future__ import annotations

import csv
import datetime
import io
from collections.abc import Mapping, Sequence

import msgspec

from penstock.control.accounts.usage import SumView
from penstock.core.errors import INVALID_VALUE, PenstockError
from penstock.edge.console.page import Data, Page, PageRoute, Visit
from penstock.edge.console.pages.columns import Column, columns

GROUPS = ("service", "model", "project", "team", "user", "key", "release", "day")
_SHORTER = frozenset(("15m", "1h", "6h"))
"""Windows of other pages, in place of which a day is shown."""
WINDOWS: Mapping[str, int] = {"24h": 1, "7d": 7, "30d": 30, "90d": 90}
FILTERS = ("project", "team", "user", "key", "service", "model", "release")
PURPOSES = ("client", "internal")

_SEEN = ("usage:read", "usage:own")
_DAY_S = 86400.0
_SAVED = ("requests_from_caches", "dollars_saved")
_MOST = 5000
_SHOWN = 200


class Question(msgspec.Struct, frozen=True):
    """What the address asks for; ``since`` in seconds since the epoch, at the begin of a day or an hour."""

    by: str
    window: str
    since: float
    filters: Mapping[str, str]


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A group with its part of all that was paid, None: nothing was."""

    name: str
    sum: SumView
    share: float | None
    at: float | None


def question(visit: Visit) -> Question:
    """Raises ``PenstockError(INVALID_VALUE)``."""
    by, window = visit.asked("by", "service"), visit.asked("window", "7d")
    if by not in GROUPS:
        raise PenstockError(INVALID_VALUE, f"Usage cannot be grouped by '{by[:40]}' here. Choose from the list.")
    window = "24h" if window in _SHORTER else window
    if window not in WINDOWS:
        raise PenstockError(INVALID_VALUE, f"There is no window '{window[:40]}'. Choose from the list.")
    filters = {name: visit.asked(name) for name in FILTERS if visit.asked(name)}
    purpose = visit.asked("purpose")
    if purpose in PURPOSES:
        filters["purpose"] = purpose
    days = WINDOWS[window]
    size = 3600.0 if days == 1 else _DAY_S
    begin = visit.now // size * size - (23 * size if days == 1 else (days - 1) * size)
    return Question(by, window, begin, filters)


async def show(visit: Visit) -> Page:
    asked = question(visit)
    hourly = WINDOWS[asked.window] == 1
    found = await visit.api.all(
        "usage.sums", SumView, most=_MOST, by=asked.by, limit=1000, since=asked.since, **asked.filters
    )
    by = "hour" if hourly else "day"
    over = await visit.api.all(
        "usage.sums",
        SumView,
        most=_MOST,
        by=by if asked.by == "day" else f"{by},{asked.by}",
        limit=1000,
        since=asked.since,
        **asked.filters,
    )
    step = 3600.0 if hourly else _DAY_S
    count = int((visit.now - asked.since) // step) + 1
    values = {
        "asked": asked,
        "lines": _lines(found.data, asked.by)[:_SHOWN],
        "left_out": max(0, len(found.data) - _SHOWN),
        "cut": found.next is not None or over.next is not None,
        "total": _total(found.data),
        "chart": columns(_columns(over.data, by, asked.by), begin=asked.since, step=step, count=count),
        "groups": GROUPS,
        "windows": tuple(WINDOWS),
        "own": not visit.may("usage:read"),
    }
    return Page("Usage", "usage.html", values)


def _lines(rows: Sequence[SumView], by: str) -> Sequence[Line]:
    whole = sum(float(each.cost) for each in rows)
    found = [
        Line(
            name=each.group[by],
            sum=each,
            share=float(each.cost) / whole if whole else None,
            at=_moment(each.group[by]) if by == "day" else None,
        )
        for each in rows
    ]
    if by == "day":
        return found[::-1]
    return sorted(found, key=lambda each: (-float(each.sum.cost), -each.sum.requests, each.name))


class Total(msgspec.Struct, frozen=True):
    """``answered`` are those of the ``requests`` that got an answer from a cache."""

    requests: int
    input: int
    output: int
    cached: int
    cost: float
    estimated: int
    answered: int
    saved: float


def _total(rows: Sequence[SumView]) -> Total:
    return Total(
        requests=sum(each.requests for each in rows),
        input=sum(each.tokens.input for each in rows),
        output=sum(each.tokens.output for each in rows),
        cached=sum(each.tokens.cached_read for each in rows),
        cost=sum(float(each.cost) for each in rows),
        estimated=sum(each.estimated_rows for each in rows),
        answered=sum(each.cached_requests for each in rows),
        saved=sum(float(each.saved) for each in rows),
    )


def _columns(rows: Sequence[SumView], time: str, by: str) -> Sequence[Column]:
    return [
        Column(_moment(each.group[time]), "" if by == "day" else each.group[by], float(each.cost), each.requests)
        for each in rows
    ]


def _moment(text: str) -> float:
    """A day, ``2026-11-21``, or an hour, ``2026-11-21T14``, in UTC."""
    at = datetime.datetime.fromisoformat(text if len(text) == 10 else f"{text}:00")
    return at.replace(tzinfo=datetime.UTC).timestamp()


async def as_csv(visit: Visit) -> Data:
    """The table, whole."""
    asked = question(visit)
    found = await visit.api.all(
        "usage.sums", SumView, most=100_000, by=asked.by, limit=1000, since=asked.since, **asked.filters
    )
    written = io.StringIO()
    rows = csv.writer(written)
    rows.writerow(
        (asked.by, "requests", "attempts", "input_tokens", "cached_tokens", "output_tokens", "dollars", *_SAVED)
    )
    for each in found.data:
        tokens = each.tokens
        rows.writerow(
            (
                _plain(each.group[asked.by]),
                each.requests,
                each.rows,
                tokens.input,
                tokens.cached_read,
                tokens.output,
                each.cost,
                each.cached_requests,
                each.saved,
            )
        )
    name = f"usage-by-{asked.by}-{asked.window}.csv"
    disposition = {"content-disposition": f'attachment; filename="{name}"'}
    return Data(written.getvalue().encode(), "text/csv; charset=utf-8", disposition)


def _plain(text: str) -> str:
    """A text that no spreadsheet takes for a formula: names are chosen by clients."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


ROUTES = (
    PageRoute("GET", "/usage", show, _SEEN),
    PageRoute("GET", "/usage.csv", as_csv, _SEEN),
)
