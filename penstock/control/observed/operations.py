"""The operations on what is seen: the request log, the charts, the overview, what was changed, and people in it."""

from __future__ import annotations

from penstock.control.accounts.operation import BASE, PAGES, Operation, Parameter
from penstock.control.observed import changes, charts, overview, requests, subjects
from penstock.control.observed.alerts import ALERTING
from penstock.control.observed.replicas import REPLICAS
from penstock.control.observed.views import (
    ChangeView,
    ContentView,
    OverviewView,
    PointView,
    RequestDetail,
    RequestView,
    SubjectErased,
    SubjectView,
)

_SEES = ("requests:read", "usage:own")
_AT = Parameter("at", "`at` of the request in the list, where several have this id. Default: the newest.", "number")
_PROJECT = Parameter("project", "Only of this project.")
_TIME = (
    Parameter("since", "From this time on: a day (UTC), an RFC 3339 time, or seconds since 1970."),
    Parameter("until", "Before this time."),
)
_FOUND_BY = (
    *_TIME,
    _PROJECT,
    Parameter("key", "Only of the key of this id."),
    Parameter("user", "Only of keys that act for this user."),
    Parameter("team", "Only of this team."),
    Parameter("subject", "Only of the person of this id, as clients send it (`user`, `safety_identifier`)."),
    Parameter("service", "Only at this service."),
    Parameter("release", "Only of those that were assigned this release."),
    Parameter("model", "Only by this model."),
    Parameter("replica", "Only at this replica."),
    Parameter("status", "Only with this HTTP status; `4xx` and `5xx`: any of the class."),
    Parameter("ending", "Only those that were `complete`, that `failed`, or whose client left (`client_gone`)."),
    Parameter("code", "Only with this code of an error."),
    Parameter(
        "cache",
        "Only with this verdict of caches: `hit`, `similar`, `stale`, `shared`, `fallback`, `refresh`, `miss` or "
        "`bypass`.",
    ),
    Parameter("stream", "`true`: only streamed ones, `false`: only others.", "boolean"),
    Parameter("purpose", "`client`, or `internal` for what the gateway asked for itself. Default: both."),
    Parameter("trace", "Only of the trace of this id, 32 hexadecimal digits."),
    Parameter("min_cost", "Only those that cost at least so many US dollars.", "number"),
    Parameter("min_ms", "Only those that took at least so many milliseconds.", "number"),
    Parameter("max_ms", "Only those that took at most so many milliseconds.", "number"),
    Parameter("min_first_ms", "Only those with at least so many milliseconds to the first chunk.", "number"),
    Parameter(
        "text",
        "Only where this was said, upper and lower case alike. Needs `requests:content`, finds only what was kept, "
        "and looks at the newest 20,000 contents that the rest of the query leaves.",
    ),
)

OBSERVED: tuple[Operation, ...] = (
    Operation(
        name="requests.list",
        method="GET",
        path=f"{BASE}/requests",
        permissions=_SEES,
        summary="The log of requests, newest first",
        answer=RequestView,
        listed=True,
        query=(*_FOUND_BY, *PAGES),
        reads=requests.listed,
    ),
    Operation(
        name="requests.get",
        method="GET",
        path=f"{BASE}/requests/{{id}}",
        permissions=_SEES,
        summary="One request: its course, why it went so, what it cost",
        answer=RequestDetail,
        query=(_AT,),
        reads=requests.one,
    ),
    Operation(
        name="requests.content",
        method="GET",
        path=f"{BASE}/requests/{{id}}/content",
        permissions=("requests:content",),
        summary="What was said in a request, where it was kept; the audit notes who reads it",
        answer=ContentView,
        query=(_AT,),
        reads=requests.content,
    ),
    Operation(
        name="series.list",
        method="GET",
        path=f"{BASE}/series",
        permissions=_SEES,
        summary="What happened, added up by time; the numbers under charts. Who may only see its own usage sees its "
        "own key's",
        answer=PointView,
        listed=True,
        query=(
            *_TIME,
            Parameter(
                "step", "Seconds of one point: 10, 60, 3600 or another multiple of 10. Default: 60.", "integer"
            ),
            Parameter("by", "Group by these, with commas: service, model, release, project, key, gateway."),
            Parameter("service", "Only at this service."),
            Parameter("model", "Only by this model."),
            Parameter("release", "Only of this release."),
            _PROJECT,
            Parameter("key", "Only of the key of this id."),
            Parameter("limit", "How much a page holds, 1 to 5000. Default: 5000.", "integer"),
            PAGES[1],
        ),
        reads=charts.series,
    ),
    Operation(
        name="overview.get",
        method="GET",
        path=f"{BASE}/overview",
        permissions=_SEES,
        summary="How it goes: every service over a window of time, against the window before",
        answer=OverviewView,
        query=(
            Parameter("window", "`1m`, `5m`, `15m`, `1h`, `6h`, `24h`, `7d` or `30d`. Default: `1h`."),
            Parameter("until", "When the window ends. Default: as late as everything is known."),
            _PROJECT,
            Parameter("key", "Only of the key of this id."),
        ),
        reads=overview.overview,
    ),
    Operation(
        name="changes.list",
        method="GET",
        path=f"{BASE}/changes",
        permissions=_SEES,
        summary="What was changed, newest first: releases, rollouts, keys, limits, the deployment. Each only for who "
        "may list the thing",
        answer=ChangeView,
        listed=True,
        query=(
            *_TIME,
            Parameter("service", "Only what concerns this service."),
            _PROJECT,
            Parameter("kind", "Only this kind: release, rollout, key, limit, deployment, replica or other."),
            *PAGES,
        ),
        reads=changes.listed,
    ),
    Operation(
        name="subjects.get",
        method="GET",
        path=f"{BASE}/subjects/{{id}}",
        permissions=("requests:read", "subjects:erase"),
        summary="What is known of a person, by the id that clients send",
        answer=SubjectView,
        query=(_PROJECT,),
        reads=subjects.one,
    ),
    Operation(
        name="subjects.erase",
        method="DELETE",
        path=f"{BASE}/subjects/{{id}}",
        permissions=("subjects:erase",),
        summary="Erase what was said by and to a person, its id from the log, and what caches would serve of it; the "
        "audit notes a hash",
        answer=SubjectErased,
        query=(_PROJECT,),
        writes=subjects.forget,
        reads=subjects.erase,
    ),
    REPLICAS,
    *ALERTING,
)
