"""Caches: what they answered and saved, how the semantic ones stand, and what they are not to serve any more."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import get_args

import msgspec

from penstock.control.accounts.caches import Invalidated, InvalidationView, SemanticView
from penstock.control.accounts.usage import SumView
from penstock.control.observed.views import OverviewView
from penstock.core.caching import GIVEN, Scope, Verdict
from penstock.core.errors import INVALID_VALUE, PenstockError
from penstock.edge.console.charting import WINDOW_S
from penstock.edge.console.page import Page, PageRoute, Redirect, Shown, Visit
from penstock.edge.console.pages.acts import Touched, sure
from penstock.edge.console.pages.bars import Used, used
from penstock.edge.console.pages.parts import part
from penstock.edge.console.showing import link

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
SCOPES: Mapping[Scope, str] = {
    "service": "a service",
    "release": "a release",
    "project": "a project",
    "tag": "a tag",
    "key": "one answer, by its key",
    "subject": "a person",
    "all": "everything",
}
AGES: Mapping[str, str] = {
    "0": "of any age",
    "3600": "older than an hour",
    "86400": "older than a day",
    "604800": "older than a week",
}
BEGIN = """services:
  assistant:
    cache:
      exact: {ttl_s: 3600}
      semantic: {max_error: 0.02}
"""
"""What turns caching on, in the deployment file."""

_SEEN = ("caches:read",)
_WRITTEN = ("caches:write",)


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A service: its requests by verdict, how many were ``given`` an answer that was there, and what it saved, None:
    nobody knows."""

    service: str
    counts: Mapping[str, int]
    asked: int
    given: int
    saved: SumView | None


class Desk(msgspec.Struct, frozen=True):
    """A semantic cache, and how much of the wrong answers that are allowed it may have given."""

    view: SemanticView
    used: Used


class Total(msgspec.Struct, frozen=True, kw_only=True):
    """Of all services. ``share`` None: nothing was asked; ``saved`` and ``tokens`` None: nobody knows."""

    given: int
    share: float | None
    saved: float | None
    tokens: int | None


async def show(visit: Visit) -> Page:
    window = visit.asked("window", "24h")
    if window not in WINDOW_S:
        raise PenstockError(INVALID_VALUE, f"There is no window '{window[:40]}'. Choose from the list.")
    since = visit.now - WINDOW_S[window]
    overview, sums, semantic, invalidations = await asyncio.gather(
        part(visit.api.get("overview.get", OverviewView, window=window)),
        part(visit.api.all("usage.sums", SumView, by="service", since=since, limit=1000)),
        part(visit.api.all("caches.semantic", SemanticView, limit=200)),
        part(visit.api.list("caches.list", InvalidationView, after=visit.asked("after"))),
    )
    saved = None if sums.value is None else {each.group["service"]: each for each in sums.value.data}
    lines = () if overview.value is None else _lines(overview.value, saved)
    desks = () if semantic.value is None else semantic.value.data
    values = {
        "window": window,
        "since": f"{since:.0f}",
        "overview": overview,
        "lines": lines,
        "verdicts": [each for each in VERDICTS if any(each in line.counts for line in lines)],
        "given": GIVEN,
        "total": _total(lines, saved),
        "semantic": semantic,
        "desks": [Desk(each, used(each.wrong_at_most, each.allowed)) for each in desks],
        "invalidations": invalidations,
        "scopes": SCOPES,
        "ages": AGES,
        "begin": BEGIN,
    }
    return Page("Caches", "caches.html", values)


def _lines(overview: OverviewView, saved: Mapping[str, SumView] | None) -> Sequence[Line]:
    """Those that caches had a part in, where they answered most first."""
    found = [
        Line(
            service=each.service,
            counts=each.now.caches,
            asked=sum(each.now.caches.values()),
            given=sum(count for verdict, count in each.now.caches.items() if verdict in GIVEN),
            saved=None if saved is None else saved.get(each.service),
        )
        for each in overview.services
        if each.now is not None and each.now.caches
    ]
    return sorted(found, key=lambda each: (-each.given, each.service))


def _total(lines: Sequence[Line], saved: Mapping[str, SumView] | None) -> Total:
    asked, given = sum(each.asked for each in lines), sum(each.given for each in lines)
    sums = None if saved is None else saved.values()
    return Total(
        given=given,
        share=given / asked if asked else None,
        saved=None if sums is None else sum(float(each.saved) for each in sums),
        tokens=None if sums is None else sum(each.cached_tokens.input + each.cached_tokens.output for each in sums),
    )


# -- invalidating ------------------------------------------------------------------------------------------------


async def invalidate(visit: Visit) -> Shown:
    """Asks with GET, and does it with POST."""
    given = {name: visit.filled(name) or visit.asked(name) for name in ("scope", "value", "project", "older")}
    scope = next((each for each in SCOPES if each == (given["scope"] or "service")), None)
    age = given["older"] or "0"
    if scope is None or age not in AGES:
        raise PenstockError(INVALID_VALUE, "Which answers, and of which age, is chosen from lists. Choose from them.")
    value = given["value"]
    if scope == "all" and value:
        raise PenstockError(
            INVALID_VALUE, f"'{value}' names answers, and all are chosen. Choose of what it is, or leave it out."
        )
    body = {"scope": scope, "value": value, "project": given["project"], "older_than_s": float(age)}
    refused = None
    if visit.ask.method == "POST":
        try:
            await visit.api.post("caches.invalidate", Invalidated, body=body)
        except PenstockError as error:
            refused = error
        else:
            return Redirect(link("/caches"), f"Not served any more: {_said(scope, value)}, {AGES[age]}.")
    touched = [Touched("Answers", f"{_said(scope, value)}, {AGES[age]}")]
    if given["project"]:
        touched.append(Touched("Only of the project", given["project"]))
    return sure(
        "Serve these answers no more?",
        "They are made anew, at full cost, when they are asked for. Every worker knows within a second.",
        act="Invalidate them",
        path="/caches/invalidate",
        back="/caches",
        touched=touched,
        error=refused,
        values={"carried": {name: text for name, text in given.items() if text}},
    )


def _said(scope: Scope, value: str) -> str:
    if scope == "all":
        return SCOPES[scope]
    return f"{SCOPES[scope].removeprefix('a ')} {value}" if value else SCOPES[scope]


ROUTES = (
    PageRoute("GET", "/caches", show, _SEEN),
    PageRoute("GET", "/caches/invalidate", invalidate, _WRITTEN),
    PageRoute("POST", "/caches/invalidate", invalidate, _WRITTEN),
)
