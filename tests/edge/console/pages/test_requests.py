"""The log of requests as it is written: what is asked of it, found, missing, off, away; one request; one trace."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from types import MappingProxyType

import msgspec
import pytest

from penstock.control.observed.views import RequestView
from penstock.core.administration import Actor, Answer
from penstock.core.errors import INVALID_VALUE, NOT_FOUND, PERMISSION_DENIED, STORE_UNAVAILABLE, PenstockError
from penstock.edge.console.console import Console
from penstock.edge.console.pages.request_filters import FIELDS
from tests.edge.console.canned import NOW, Admin, Told, actor, ask, overview
from tests.edge.console.pages.request_paper import TRACE, content, detail, row, told
from tests.edge.console.pages.test_rendering import hostile, tags

OFF = PenstockError(NOT_FOUND, "This gateway keeps no log of requests and no charts.")
ALL = {
    "service": "chat", "status": "5xx", "model": "small", "user": "ann", "key": "mobile", "text": "parcel",
    "release": "rel_1", "replica": "small-0", "project": "red", "team": "search", "subject": "cust-1",
    "code": "upstream_error", "ending": "failed", "cache": "hit", "stream": "true", "purpose": "client",
    "min_ms": "1500", "max_ms": "9000", "min_first_ms": "200", "min_cost": "0.01", "trace": TRACE,
}  # fmt: skip


async def shown(
    path: str,
    pages: Mapping[str, Told] | None = None,
    given: Mapping[str, str] = MappingProxyType({}),
    /,
    who: Actor | None = None,
    fragment: bool = False,
    **query: str,
) -> tuple[Answer, Admin]:
    admin = Admin({**told(), **(pages or {})})
    page = msgspec.structs.replace(ask(path, who=who, fragment=fragment), query={**given, **query})
    return await Console(admin.administer, now=lambda: NOW).answer(page), admin


def asked_of(admin: Admin, operation: str) -> list[dict[str, str]]:
    return [dict(each.query) for each in admin.asked if each.operation == operation]


def hrefs(answer: Answer) -> list[str]:
    return [each.replace("&amp;", "&") for each in re.findall(r'href="([^"]*)"', answer.body.decode())]


def words(answer: Answer) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", answer.body.decode()).split())


# -- the list ----------------------------------------------------------------------------------------------------


async def test_every_filter_of_the_operation_is_in_the_form_and_asked_as_it_was_typed() -> None:
    assert {each.name for each in FIELDS} == set(ALL)
    answer, admin = await shown("/requests", None, ALL, since="2026-09-21", until="2026-09-22T01:00:00Z")
    (query,) = asked_of(admin, "requests.list")
    assert query == {**ALL, "since": "2026-09-21", "until": "2026-09-22T01:00:00Z", "limit": "50"}
    html = answer.body.decode()
    assert all(f'name="{each}"' in html for each in (*ALL, "since", "until"))
    for name, value in ALL.items():
        assert re.search(rf'name="{name}"[^>]*value="{value}"|value="{value}" selected', html), name


async def test_without_a_time_the_last_day_is_meant_and_a_window_says_otherwise() -> None:
    for window, since in (("", NOW - 86400), ("1h", NOW - 3600), ("nonsense", NOW - 86400)):
        _, admin = await shown("/requests", window=window)
        assert float(asked_of(admin, "requests.list")[0]["since"]) == since
    _, admin = await shown("/requests", until=str(NOW - 7200), window="1h")
    assert float(asked_of(admin, "requests.list")[0]["since"]) == NOW - 3 * 3600


async def test_times_of_charts_are_written_out_and_hold_all_that_they_held() -> None:
    answer, admin = await shown("/requests", since="1789999000.7", until="1789999100.2")
    (query,) = asked_of(admin, "requests.list")
    assert query["since"] == "2026-09-21 13:56:40"
    assert query["until"] == "2026-09-21 13:58:21"
    assert 'value="2026-09-21 13:56:40"' in answer.body.decode()


async def test_what_was_typed_stays_where_it_cannot_be_asked() -> None:
    wrong = PenstockError(INVALID_VALUE, "'min_ms' must be a length of time.", param="min_ms")
    answer, _ = await shown("/requests", {"requests.list": wrong}, min_ms="soon", service="chat")
    html = answer.body.decode()
    assert answer.status == 200
    assert "&#39;min_ms&#39; must be a length of time." in html
    assert 'value="soon"' in html
    assert re.search(r"<details[^>]* open", html)
    assert "No request is like this" not in html


async def test_what_arrives_now_is_followed_and_an_older_page_stands_still() -> None:
    answer, _ = await shown("/requests", service="chat")
    assert 'data-live="rows"' in answer.body.decode()
    for query in ({"until": "2026-09-21"}, {"after": "abc"}, {"text": "parcel"}, {"window": "7d"}):
        still, _ = await shown("/requests", None, query)
        assert "data-live" not in still.body.decode()
    live, admin = await shown("/requests", fragment=True, service="chat")
    assert set(json.loads(live.body)["regions"]) == {"rows"}
    assert [each.operation for each in admin.asked] == ["requests.list"]
    _, admin = await shown("/requests", fragment=True, find="req_7")
    assert [each.operation for each in admin.asked] == ["requests.list"]


async def test_pages_lead_to_one_another_with_all_filters() -> None:
    page = {"object": "list", "data": [row()], "has_more": True, "next": "cursor/1"}
    listed = Answer(status=200, body=msgspec.json.encode(page))
    answer, admin = await shown("/requests", {"requests.list": lambda _: listed}, after="c0", service="chat")
    assert asked_of(admin, "requests.list")[0]["after"] == "c0"
    assert "/console/requests?after=cursor%2F1&service=chat" in hrefs(answer)
    assert "/console/requests?service=chat" in hrefs(answer)


async def test_shortcuts_follow_what_is_usual_and_take_back_what_they_gave() -> None:
    answer, _ = await shown("/requests", service="chat")
    found = hrefs(answer)
    # The 95th percentile of the paper is 2 529 ms, the mean cost 0.00148 dollars.
    for way in ("status=5xx", "status=4xx", "min_ms=2600", "min_cost=0.015", "ending=client_gone", "window=1h"):
        assert f"/console/requests?service=chat&{way}" in found, way
    on, _ = await shown("/requests", service="chat", min_ms="700")
    assert re.search(r'class="chip" href="/console/requests\?service=chat" aria-current', on.body.decode())
    blind, _ = await shown("/requests", {"overview.get": PenstockError(PERMISSION_DENIED, "no")})
    assert "/console/requests?min_ms=5000" in hrefs(blind)


async def test_the_chart_narrows_the_time_and_says_what_it_cannot() -> None:
    answer, _ = await shown("/requests", service="chat", status="5xx", window="1h")
    html = answer.body.decode().replace("&amp;", "&")
    assert 'data-series="/console/data/series?window=1h&partly=true&service=chat"' in html
    assert 'data-requests="/console/requests?service=chat&status=5xx"' in html
    assert "It counts what the list leaves out by status, too." in words(answer)


async def test_nothing_is_told_with_what_fills_it() -> None:
    empty, _ = await shown("/requests", {"requests.list": []})
    assert "penstock chat" in words(empty)
    unlike, _ = await shown("/requests", {"requests.list": []}, text="parcel")
    assert "No request is like this" in words(unlike)
    assert "newest 20 000" in words(unlike)


async def test_a_log_that_is_off_says_how_it_is_turned_on() -> None:
    answer, _ = await shown("/requests", {"requests.list": OFF})
    assert "observe: requests: enabled: true" in words(answer)
    # Whose project is not there may not take that for a log that is off.
    gone = PenstockError(NOT_FOUND, "There is no project 'blue'.", param="project")
    other, _ = await shown("/requests", {"requests.list": gone}, project="blue")
    assert "enabled: true" not in words(other)
    assert "There is no project" in words(other)


async def test_a_log_that_is_away_is_unknown_since_a_time_and_stays_followed() -> None:
    away: dict[str, Told] = {
        "requests.list": PenstockError(STORE_UNAVAILABLE, "The store is away."),
        "overview.get": overview(stale_since=NOW - 75),
    }
    answer, _ = await shown("/requests", away)
    assert answer.status == 200
    assert "unknown , stale since 2026-09-21 14:12:05 UTC" in words(answer)
    assert 'data-live="rows"' in answer.body.decode()
    assert "No requests" not in words(answer)


async def test_the_same_id_twice_leads_to_each() -> None:
    twice = [row(at=NOW - 10.000001), row(at=NOW - 20.5), row(id="other")]
    answer, _ = await shown("/requests", {"requests.list": twice})
    found = hrefs(answer)
    assert f"/console/requests/req_01jd9f3kq8m4?at={NOW - 10.000001!r}" in found
    assert "/console/requests/other" in found


@pytest.mark.parametrize(
    ("typed", "where"),
    [
        ("req_7", "/console/requests/req_7"),
        ("a b", "/console/requests/a%20b"),
        ("service:chat status:5xx", "/console/requests?service=chat&status=5xx"),
        ("req_gone", ""),
        ("color:red", ""),
    ],
)
async def test_the_field_of_the_frame_finds(typed: str, where: str) -> None:
    gone: dict[str, Told] = {"requests.get": lambda one: _unless_gone(one.target)}
    answer, _ = await shown("/requests", gone, find=typed)
    if where:
        assert (answer.status, answer.headers["location"]) == (303, where)
    else:
        assert "There is no request of the id" in words(answer)
        assert f"/console/requests?user={typed.replace(':', '%3A')}" in hrefs(answer)


def _unless_gone(id: str) -> object:
    if id in ("req_gone", "color:red") or TRACE in id:
        raise PenstockError(NOT_FOUND, "There is no request.")
    return detail(id=id)


@pytest.mark.parametrize("typed", [TRACE, TRACE.upper(), f"00-{TRACE}-00f067aa0ba902b7-01"])
async def test_the_field_of_the_frame_knows_a_trace(typed: str) -> None:
    answer, _ = await shown("/requests", {"requests.get": lambda one: _unless_gone(one.target)}, find=typed)
    target = "/console/traces/" + TRACE
    if typed.isupper():
        # The paper knows a request of that id.
        target = f"/console/requests/{typed}"
    assert answer.headers["location"] == target


# -- one request -------------------------------------------------------------------------------------------------


async def test_a_request_says_why_and_shows_its_course() -> None:
    answer, admin = await shown("/requests/req_7")
    said = words(answer)
    for each in detail().why:
        assert each.replace("'", "&#39;") in said
    assert said.index("Why it went so") < said.index("Course") < said.index("Facts")
    assert "upstream_error the engine closed the connection" in said
    assert "gpt-5-mini: from 1.12 s for 3.69 s, gpt-5-mini" in answer.body.decode()
    assert "small: from 39 ms for 1.08 s, small-0, failed with upstream_error" in answer.body.decode()
    assert {each.operation for each in admin.asked} == {"requests.get"}
    found = hrefs(answer)
    assert f"/console/traces/{TRACE}" in found
    assert "/console/playground?replay=req_7&service=chat" in found
    assert "/console/requests?service=chat&release=rel_c01f3a6ef0f8d5b2" in found
    assert "/console/requests?subject=cust-4711" in found


async def test_a_request_of_long_ago_leads_to_others_of_its_time() -> None:
    answer, _ = await shown("/requests/req_7", {"requests.get": detail(at=NOW - 30 * 86400)})
    since = f"{NOW - 30.5 * 86400:.0f}"
    assert any(f"user=ann&since={since}" in each for each in hrefs(answer))


async def test_what_was_said_is_read_when_somebody_asks_for_it_and_only_then() -> None:
    at = str(NOW - 62.482117)
    before, admin = await shown("/requests/req_7", at=at)
    assert asked_of(admin, "requests.content") == []
    assert asked_of(admin, "requests.get") == [{"at": at}]
    assert "Show what was said" in words(before)
    again = Admin(told())
    page = msgspec.structs.replace(ask("/requests/req_7/content", method="POST"), form={"at": at})
    after = await Console(again.administer, now=lambda: NOW).answer(page)
    assert asked_of(again, "requests.content") == [{"at": at}]
    html = after.body.decode()
    assert '<mark title="personal data, masked before it was kept">[EMAIL]</mark>' in html
    assert "calls find_parcel" in words(after)
    assert "thought The tool says in transit" in words(after)
    assert "temperature: 0.3" in html
    # No link leads there: a browser that looks ahead reads nothing.
    link, _ = await shown("/requests/req_7/content")
    assert "mark title" not in link.body.decode()


async def test_brackets_of_what_is_not_masked_are_words() -> None:
    plain = {"requests.content": content(masked=False)}
    page = ask("/requests/req_7/content", method="POST")
    answer = await Console(Admin({**told(), **plain}).administer, now=lambda: NOW).answer(page)
    assert b"<mark" not in answer.body
    assert b"[EMAIL]" in answer.body


async def test_who_may_not_read_what_was_said_is_told_so() -> None:
    answer, _ = await shown("/requests/req_7", who=actor("viewer"))
    assert "needs requests:content" in words(answer)
    assert "Replay in the playground" not in words(answer)
    page = ask("/requests/req_7/content", method="POST", who=actor("viewer"))
    admin = Admin(told())
    refused = await Console(admin.administer, now=lambda: NOW).answer(page)
    assert (refused.status, admin.asked) == (403, [])


async def test_what_cannot_be_replayed_is_not_offered_as_a_replay() -> None:
    answer, _ = await shown("/requests/req_7", {"requests.get": detail(content="none")})
    assert "/console/playground?service=chat" in hrefs(answer)
    assert not any("replay=" in each for each in hrefs(answer))


async def test_what_is_gone_and_what_was_never_kept_are_told_apart() -> None:
    none, _ = await shown("/requests/req_7", {"requests.get": detail(content="none")})
    assert "Nothing of it was kept" in words(none)
    gone = {"requests.content": PenstockError(NOT_FOUND, "What was said is no longer kept.")}
    page = ask("/requests/req_7/content", method="POST")
    answer = await Console(Admin({**told(), **gone}).administer, now=lambda: NOW).answer(page)
    assert "What was said is no longer kept." in words(answer)


async def test_a_request_whose_id_came_twice_leads_to_the_other() -> None:
    pair = detail(others=(NOW - 4000.5,))
    answer, _ = await shown("/requests/req_7", {"requests.get": pair})
    assert "Clients chose this id 2 times" in words(answer)
    assert f"/console/requests/{pair.id}?at={NOW - 4000.5!r}" in hrefs(answer)


async def test_a_request_that_is_not_there_yet_is_looked_for_a_few_times() -> None:
    looked: list[str | None] = []
    path, query = "/requests/req_gone", dict[str, str]()
    for _ in range(9):
        answer, _ = await shown(path, None, query)
        assert answer.status == 404
        assert "a second or so after its reply" in words(answer) or not looked or "refresh" not in answer.headers
        looked.append(answer.headers.get("refresh"))
        if (said := looked[-1]) is None:
            break
        url = said.partition("url=")[2]
        path, _, rest = url.removeprefix("/console").partition("?")
        query = dict(pair.split("=") for pair in rest.split("&"))
    assert looked[0] == "1;url=/console/requests/req_gone?look=1"
    assert len(looked) == 4
    assert looked[-1] is None
    assert "retention" not in words(answer)
    assert "Its time may be over" in words(answer)


async def test_ids_that_want_to_be_commands_are_one_word_of_a_shell() -> None:
    evil = "x'; rm -rf ~; echo '$(id)`id`"
    answer, _ = await shown("/requests/x", {"requests.get": detail(id=evil, scores={})})
    found = [
        each.replace("&#39;", "'").replace("&#34;", '"').replace("&amp;", "&")
        for each in re.findall(r'data-copy="([^"]*)"', answer.body.decode())
    ]
    trace = next(each for each in found if each.startswith("penstock trace"))
    assert shlex.split(trace) == ["penstock", "trace", evil]
    feedback = next(each for each in found if "/v1/feedback" in each)
    assert json.loads(shlex.split(feedback)[-1]) == {"request_id": evil, "thumb": "up"}


# -- one trace ---------------------------------------------------------------------------------------------------


async def test_all_requests_of_a_trace_stand_in_one_course() -> None:
    answer, admin = await shown(f"/traces/{TRACE.upper()}")
    assert asked_of(admin, "requests.list") == [{"limit": "50", "trace": TRACE}]
    assert len(asked_of(admin, "requests.get")) == 3
    said = words(answer)
    assert said.index("vectors complete 200") > said.index("chat complete 200")
    # The second came 5.1 s after the first, the third lasted until 7.61 s.
    assert "vectors: from 5.10 s for 84 ms" in answer.body.decode()
    assert "7.61 s" in said


async def test_a_trace_that_nobody_knows_and_one_that_is_none() -> None:
    answer, _ = await shown(f"/traces/{TRACE}", {"requests.list": []})
    assert f"penstock trace {TRACE}" in words(answer)
    assert (await shown("/traces/zz"))[0].status == 400


# -- all of them -------------------------------------------------------------------------------------------------

PATHS = ("/requests", "/requests/req_7", f"/traces/{TRACE}")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("role", ["owner", "viewer", "developer", "billing"])
async def test_roles_see_what_is_theirs(path: str, role: str) -> None:
    answer, _ = await shown(path, who=actor(role, everywhere=False))
    assert answer.status == 200
    assert tags(answer).wrong == []
    own = role in ("developer", "billing")
    if path == "/requests":
        assert ("Your own: ann." in words(answer)) is own
        assert ('name="text"' in answer.body.decode()) is (role == "owner")


async def test_who_may_see_nothing_is_refused_before_anything_is_asked() -> None:
    nobody = msgspec.structs.replace(actor(), permissions=frozenset({"keys:read"}))
    for path in PATHS:
        answer, admin = await shown(path, who=nobody)
        assert (answer.status, admin.asked) == (403, [])


@pytest.mark.parametrize("path", [*PATHS, "/requests/req_7/content"])
async def test_hostile_words_stay_words(path: str) -> None:
    pages = hostile({name: each for name, each in told().items() if name != "series.list"})
    method = "POST" if path.endswith("content") else "GET"
    answer = await Console(Admin(pages).administer, now=lambda: NOW).answer(ask(path, method=method))
    assert answer.status == 200, answer.body.decode()[-2000:]
    assert b"<script>alert" not in answer.body
    assert tags(answer).wrong == []


async def test_hostile_addresses_stay_words() -> None:
    evil = "\"><script>alert('x')</script>"
    for query in ({"find": evil}, dict.fromkeys((*ALL, "since", "until", "after", "window"), evil)):
        answer, _ = await shown("/requests", {"requests.get": OFF}, query)
        assert b"<script>alert" not in answer.body
        assert tags(answer).wrong == []


def test_the_paper_is_as_the_operation_answers() -> None:
    assert set(RequestView.__struct_fields__) < set(detail().__struct_fields__)
