"""One request: why it went as it did, its course, what it cost, what was said."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from penstock.control.observed.views import ContentView, RequestDetail
from penstock.core.errors import NOT_FOUND, PenstockError
from penstock.edge.console.page import Page, PageRoute, Visit
from penstock.edge.console.pages.parts import Part, part
from penstock.edge.console.pages.request_said import Said, curl, said
from penstock.edge.console.pages.request_waterfall import of_request
from penstock.edge.console.pages.requests import SEEN
from penstock.edge.console.showing import link

_READ = ("requests:content",)
# How often, and after how many seconds, the page looks again for a request that may be on its way into the log.
_LOOKS, _AFTER_S = 4, 1
_DAY_S = 86400.0


class Like(msgspec.Struct, frozen=True):
    """A way to requests that have something in common with this one."""

    label: str
    value: str
    href: str


async def show(visit: Visit) -> Page:
    return await _shown(visit, visit.asked("at"))


async def content(visit: Visit) -> Page:
    """What was said is loaded when somebody asks for it, and never by a link: the audit notes who reads it."""
    at = visit.filled("at")
    found = await part(visit.api.get("requests.content", ContentView, visit.place, at=at))
    return await _shown(visit, at, found)


async def _shown(visit: Visit, at: str, content: Part[ContentView] | None = None) -> Page:
    try:
        view = await visit.api.get("requests.get", RequestDetail, visit.place, at=at)
    except PenstockError as error:
        if error.fault is not NOT_FOUND:
            raise
        return _unknown(visit, at, error)
    spoken = None if content is None or content.value is None else said(content.value)
    values = {
        "it": view,
        "tone": _tone(view),
        "waterfall": of_request(view),
        "attempts": [each for each in view.spans if each.depth == 2],
        "likes": list(_likes(view, visit.now)),
        "speed": 1000.0 / view.between_ms if view.between_ms else None,
        "reads": visit.may(*_READ),
        "replays": visit.may("call") and visit.may(*_READ) and view.kind in ("chat", ""),
        "content": content,
        "said": spoken,
        "curl": _curl(spoken, view),
        "others": sorted((*view.others, view.at), reverse=True) if view.others else (),
        "feedback": _feedback(view.id),
        "in_terminal": f"penstock trace {shlex.quote(view.id)}",
        "prices": sorted({each.price for each in view.usage if each.price}),
        "sees": {each: visit.may(f"{each}:read") for each in ("releases", "keys", "usage")},
    }
    return Page(view.id, "request.html", values)


def _unknown(visit: Visit, at: str, error: PenstockError) -> Page:
    """It may be on its way: the page looks again a few times by itself, and then leaves it to whoever looks."""
    given = visit.asked("look")
    looks = int(given) if given in {str(each) for each in range(_LOOKS)} else 0
    headers: Mapping[str, str] = {}
    if looks < _LOOKS - 1 and not visit.ask.fragment:
        again = link(f"/requests/{visit.place}", at=at, look=looks + 1)
        headers = {"refresh": f"{_AFTER_S};url={again}"}
    values = {"id": visit.place, "error": error, "looking": bool(headers)}
    return Page("No such request", "request_unknown.html", values, NOT_FOUND.status, headers)


def _tone(view: RequestDetail) -> str:
    if view.ending == "client_gone":
        return "warn"
    if view.status >= 500 or (view.ending == "failed" and view.status < 400):
        return "bad"
    return "warn" if view.status >= 400 else "good"


def _likes(view: RequestDetail, now: float) -> Iterator[Like]:
    """Around its own time where that is long ago."""
    time = {}
    if now - view.at > _DAY_S / 2:
        time = {"since": f"{view.at - _DAY_S / 2:.0f}", "until": f"{view.at + _DAY_S / 2:.0f}"}
    service = {"service": view.service} if view.service else {}
    alike: Sequence[tuple[str, str, Mapping[str, str]]] = (
        ("service", view.service, service),
        ("release", view.release, {**service, "release": view.release}),
        ("model", view.model, {"model": view.model}),
        ("replica", view.replica, {"replica": view.replica}),
        ("user", view.user, {"user": view.user}),
        ("person", view.subject, {"subject": view.subject}),
        ("key", view.key_id, {"key": view.key_id}),
        ("error", view.code, {**service, "code": view.code}),
    )
    for label, value, filters in alike:
        if value:
            yield Like(label, value, link("/requests", **filters, **time))


def _curl(spoken: Said | None, view: RequestDetail) -> str:
    return "" if spoken is None or not spoken.body.startswith("{") else curl(spoken, view.dialect)


def _feedback(id: str) -> str:
    """Ids are chosen by clients: in a command for a shell they are one word, whatever they hold."""
    body = msgspec.json.encode({"request_id": id, "thumb": "up"}).decode()
    bearer = '-H "authorization: Bearer $PENSTOCK_API_KEY"'
    return f'curl "$PENSTOCK_URL/v1/feedback" {bearer} -d {shlex.quote(body)}'


ROUTES = (
    PageRoute("GET", "/requests/{id}", show, SEEN),
    PageRoute("POST", "/requests/{id}/content", content, _READ),
)
