"""The console as the supervisor writes it: pages, who may see them, what goes wrong, and words that want to be more
than words."""

from __future__ import annotations

import asyncio
import json
import re
from html.parser import HTMLParser

import msgspec
import pytest

from penstock.access.roles import BUILTIN
from penstock.core.administration import Actor, Answer
from penstock.core.errors import CONFLICT, NOT_FOUND, STORE_UNAVAILABLE, PenstockError
from penstock.edge.console import console as console_module
from penstock.edge.console.console import Console
from penstock.edge.console.page import Page, PageRoute, Redirect, Visit
from penstock.edge.console.routes import ROUTES, Table
from tests.edge.console.canned import (
    NOW,
    Admin,
    Told,
    actor,
    alert,
    ask,
    changes,
    content,
    detail,
    overview,
    point,
    told,
)

HOSTILE = "\"><script>alert('x')</script><img src=x onerror=alert(1)>{{ 7*7 }}{% raw %}' onmouseover='alert(2)"


def console(pages: dict[str, Told] | None = None, routes: tuple[PageRoute, ...] = ROUTES) -> tuple[Console, Admin]:
    admin = Admin(told() if pages is None else pages)
    return Console(admin.administer, routes, now=lambda: NOW), admin


class Elements(HTMLParser):
    """Every element and attribute of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]


def harmless(answer: Answer) -> None:
    """Nothing in it runs but the files of the console."""
    found = Elements(answer.body.decode())
    assert not [each for each in found.attributes if each[1].startswith("on") or each[1] == "style"]
    sources = [value for tag, name, value in found.attributes if tag == "script" and name == "src"]
    assert len(sources) == found.tags.count("script")
    assert all(source.startswith("/console/static/") for source in sources)
    assert "style" not in found.tags
    links = [value for _, name, value in found.attributes if name in ("href", "action", "src")]
    assert all(link.startswith(("/console", "#")) or link == "" for link in links), links


# -- the frame ---------------------------------------------------------------------------------------------------


async def test_the_overview_says_first_how_it_goes() -> None:
    page, _ = console()
    answer = await page.answer(ask("/"))
    html = answer.body.decode()
    assert answer.status == 200
    assert "All 3 services answer." in html
    assert html.index("All 3 services answer.") < html.index("Median latency")
    assert "/console/requests?service=chat&amp;since=1789996400&amp;until=1790000000" in html
    harmless(answer)


async def test_what_nobody_knows_is_never_a_number() -> None:
    pages = told()
    pages["overview.get"] = overview(
        stale_since=NOW - 60, total=None, before=None, services=(), in_flight=None, queued=None, changes=()
    )
    page, _ = console(pages)
    html = (await page.answer(ask("/"))).body.decode()
    tiles = html[html.index('class="tiles') : html.index('class="charts"')]
    assert tiles.count("unknown</span>") >= 6
    assert not re.search(r">\s*\$?0(\.0+)?( %|/s)?\s*<", tiles)
    assert "Stale since" in html
    assert "penstock init" in html


@pytest.mark.parametrize("role", BUILTIN)
async def test_the_menu_has_what_the_role_may_see_and_nothing_else(role: str) -> None:
    page, _ = console()
    who = actor(role)
    answer = await page.answer(ask("/playground" if who.may("call") else "/", who=who))
    if answer.status == 303:
        answer = await page.answer(ask(answer.headers["location"].removeprefix("/console"), who=who))
    html = answer.body.decode()
    for path, permission in (
        ("keys", "keys:read"),
        ("audit", "audit:read"),
        ("deployment", "deployment:read"),
        ("playground", "call"),
        ("requests", "usage:own"),
    ):
        assert (f'href="/console/{path}" data-go' in html) == who.may(permission), path


async def test_a_page_is_shown_to_nobody_who_may_not_see_it() -> None:
    nothing = Actor(key_id="k", project="red")
    nobody = Actor(key_id="", project="")
    for route in ROUTES:
        page, admin = console()
        path = route.path.replace("{id}", "x")
        if route.permissions:
            assert (await page.answer(ask(path, who=nothing, method=route.method))).status == 403, path
        if path != "/sign-in":
            assert (await page.answer(ask(path, who=nobody, method=route.method))).status == 403, path
        assert not admin.asked, path


async def test_somebody_who_may_not_see_the_overview_begins_where_they_may() -> None:
    page, _ = console()
    answer = await page.answer(ask("/", who=actor("billing")))
    assert (answer.status, answer.headers["location"]) == (303, "/console/usage")
    assert (await page.answer(ask("/", who=Actor(key_id="k", project="red")))).status == 403


async def test_live_parts_come_alone() -> None:
    page, _ = console()
    whole = (await page.answer(ask("/"))).body.decode()
    answer = await page.answer(ask("/", fragment=True))
    regions = json.loads(answer.body)["regions"]
    assert set(regions) == {"health", "tiles", "services", "beside"}
    assert all(html in whole for html in regions.values())
    again = json.loads((await page.answer(ask("/", fragment=True))).body)["regions"]
    assert again == regions, "a live part that differs though nothing changed is sent every two seconds"


# -- what goes wrong ---------------------------------------------------------------------------------------------


async def test_a_refusal_stands_in_the_place_of_the_page() -> None:
    for fault, status in ((STORE_UNAVAILABLE, 503), (NOT_FOUND, 404), (CONFLICT, 409)):
        page, _ = console({"overview.get": PenstockError(fault, f"Because {HOSTILE}")})
        answer = await page.answer(ask("/", window=HOSTILE))
        assert answer.status == status
        assert b"Because " in answer.body
        assert b"req_1" in answer.body
        harmless(answer)


async def test_what_is_broken_tells_nothing_but_where_to_look(caplog: pytest.LogCaptureFixture) -> None:
    def breaks(_: object) -> object:
        raise RuntimeError("a secret inside")

    page, _ = console({"overview.get": breaks})
    answer = await page.answer(ask("/"))
    assert answer.status == 500
    assert b"a secret inside" not in answer.body
    assert b"req_1" in answer.body
    assert "a secret inside" in caplog.text


async def test_a_page_that_is_not_there_says_so_in_the_frame() -> None:
    page, _ = console()
    query = {"path": HOSTILE, "self": HOSTILE, HOSTILE: HOSTILE}
    answer = await page.answer(msgspec.structs.replace(ask(f"/{HOSTILE}"), query=query))
    assert answer.status == 404
    assert b'aria-label="Pages"' in answer.body
    harmless(answer)


async def test_a_page_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hangs(visit: Visit) -> Page:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(console_module, "WITHIN_S", 0.01)
    page, _ = console(routes=(PageRoute("GET", "/", hangs),))
    answer = await page.answer(ask("/"))
    assert answer.status >= 500
    assert b"not ready within" in answer.body


# -- forms -------------------------------------------------------------------------------------------------------


async def test_a_message_is_shown_once_and_only_the_consoles_own() -> None:
    async def done(visit: Visit) -> Redirect:
        return Redirect("/console/?window=1h", f"Made {HOSTILE}")

    page, _ = console(routes=(*ROUTES, PageRoute("POST", "/make", done, ("call",))))
    answer = await page.answer(ask("/make", method="POST"))
    assert answer.status == 303
    path, _, query = answer.headers["location"].partition("?")
    assert path == "/console/"
    said = dict(each.split("=") for each in query.split("&"))["said"]
    first = await page.answer(ask("/", said=said))
    assert b"Made &#34;&gt;&lt;script&gt;" in first.body
    harmless(first)
    assert b"Made" not in (await page.answer(ask("/", said=said))).body.partition(b"What changed")[0]
    assert b"Wire me money" not in (await page.answer(ask("/", said="Wire me money"))).body


async def test_a_form_that_is_sent_twice_is_carried_out_once_for_each_of_its_requests() -> None:
    async def makes(visit: Visit) -> Redirect:
        for name in ("one", "two"):
            await visit.api.post("keys.create", msgspec.Raw, body={"name": name, "team": msgspec.UNSET})
        return Redirect("/console")

    page, admin = console({"keys.create": point()}, routes=(PageRoute("POST", "/make", makes, ("keys:write",)),))
    sent = msgspec.structs.replace(ask("/make", method="POST"), form={"once": "abc"})
    for _ in range(2):
        assert (await page.answer(sent)).status == 303
    keys = [each.idempotency_key for each in admin.asked]
    assert keys == ["abc.1", "abc.2", "abc.1", "abc.2"]
    assert admin.asked[0].body == b'{"name":"one"}'
    assert admin.asked[0].address == "192.0.2.9"


# -- hostile words -----------------------------------------------------------------------------------------------


async def test_words_stay_words_on_the_overview() -> None:
    seen = overview()
    services = tuple(
        msgspec.structs.replace(each, service=HOSTILE, state=HOSTILE, releases={HOSTILE: 0.5, "b": 0.5})
        for each in seen.services
    )
    pages = told()
    pages["overview.get"] = overview(
        services=services,
        alerts=(alert(text=HOSTILE, id=HOSTILE),),
        changes=tuple(msgspec.structs.replace(each, text=HOSTILE, actor=HOSTILE, kind=HOSTILE) for each in changes()),
    )
    page, _ = console(pages)
    who = msgspec.structs.replace(actor(), key_id=HOSTILE, user=HOSTILE)
    answer = await page.answer(msgspec.structs.replace(ask("/", who=who), name=HOSTILE, request_id=HOSTILE))
    assert answer.status == 200
    assert b"<script>alert" not in answer.body
    assert b"49" not in re.findall(rb"x onerror=alert\(1\)&gt;(.{4})", answer.body)
    harmless(answer)


async def test_words_stay_words_at_the_door_and_in_the_playground() -> None:
    pages = told()
    said = content()
    hostile = msgspec.json.encode({"messages": [{"role": HOSTILE, "content": HOSTILE}], HOSTILE: HOSTILE})
    pages |= {
        "requests.get": detail(id=HOSTILE, service=HOSTILE, release=HOSTILE),
        "requests.content": msgspec.structs.replace(said, request=msgspec.Raw(hostile)),
    }
    page, admin = console(pages)
    answer = await page.answer(ask("/playground", replay=HOSTILE, service=HOSTILE, other=HOSTILE))
    assert answer.status == 200
    assert b"<script>alert" not in answer.body
    harmless(answer)
    admin.told["requests.content"] = PenstockError(NOT_FOUND, HOSTILE)
    answer = await page.answer(ask("/playground", replay="req_7"))
    assert b"cannot be filled in" in answer.body
    harmless(answer)
    door = msgspec.structs.replace(
        ask("/sign-in", next=HOSTILE), form={"refused": HOSTILE, "issuers": f"0\t{HOSTILE}\n1\tOther"}
    )
    answer = await page.answer(door)
    assert answer.status == 401
    assert b"<script>alert" not in answer.body
    harmless(answer)


# -- the table of pages ------------------------------------------------------------------------------------------


def test_a_path_finds_its_page() -> None:
    async def shown(visit: Visit) -> Page:
        raise AssertionError

    table = Table(
        [
            PageRoute("GET", "/things", shown),
            PageRoute("GET", "/things/{id}", shown),
            PageRoute("POST", "/things/{id}/stop", shown),
            PageRoute("GET", "/things/{id}/parts/{id}"[:18], shown),
        ]
    )

    def found(method: str, path: str) -> tuple[str, str] | None:
        route = table.find(method, path)
        return None if route is None else (route[0].path, route[1])

    assert found("GET", "/things/") == ("/things", "")
    assert found("HEAD", "/things/a/b") == ("/things/{id}", "a/b")
    assert found("POST", "/things/a/b/stop") == ("/things/{id}/stop", "a/b")
    assert found("GET", "/things/a/stop") == ("/things/{id}", "a/stop")
    assert found("POST", "/things/a") is None
    assert found("DELETE", "/things") is None


def test_every_page_that_changes_something_asks_for_a_permission() -> None:
    for route in ROUTES:
        assert route.method in ("GET", "POST")
        assert route.permissions or route.path == "/sign-in", route.path
