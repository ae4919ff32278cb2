"""Two services side by side, asked the same."""

from __future__ import annotations

import msgspec

from penstock.control.observed.views import ContentView, RequestDetail
from penstock.core.errors import PenstockError
from penstock.edge.console.page import Page, PageRoute, Visit


class Replay(msgspec.Struct, frozen=True):
    """What is asked again. ``request`` is JSON in OpenAI's shape, empty where it was not kept; ``missing`` says
    why."""

    id: str
    service: str
    release: str = ""
    request: str = ""
    masked: bool = False
    missing: str = ""


async def show(visit: Visit) -> Page:
    replay = await _replay(visit, visit.asked("replay")) if visit.asked("replay") else None
    service = visit.asked("service") or ("" if replay is None else replay.service)
    return Page(
        "Playground",
        "playground.html",
        {"replay": replay, "service": service, "other": visit.asked("other")},
    )


async def _replay(visit: Visit, id: str) -> Replay:
    found = await visit.api.get("requests.get", RequestDetail, id)
    try:
        content = await visit.api.get("requests.content", ContentView, id)
    except PenstockError as error:
        return Replay(id, found.service, found.release, missing=error.message)
    return Replay(id, found.service, found.release, bytes(content.request).decode(), content.masked)


ROUTES = (PageRoute("GET", "/playground", show, ("call",)),)
