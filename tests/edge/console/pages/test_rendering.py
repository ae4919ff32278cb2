"""Every page as it is written: of much, of nothing, of what nobody knows, of hostile words, for every role."""

from __future__ import annotations

import html.parser
import json

import msgspec
import pytest

from penstock.core.administration import Actor, Answer, Ask
from penstock.core.errors import NOT_FOUND, PERMISSION_DENIED, STORE_UNAVAILABLE, PenstockError
from penstock.edge.console.pages import (
    alerts,
    audit,
    caches,
    deployment,
    keys,
    limits,
    models,
    rollback,
    rollouts,
    services,
    usage,
)
from tests.edge.console.canned import Admin, Told, actor, ask
from tests.edge.console.pages.paper import stage, told
from tests.edge.console.pages.paper_served import HOSTILE, NEW, OLD

MODULES = (services, rollback, rollouts, models, usage, limits, keys, alerts, audit, deployment, caches)
ROUTES = tuple(route for module in MODULES for route in module.ROUTES)
PLACES = {
    "/services/{id}": "chat",
    "/services/{id}/rollback": "chat",
    "/releases/{id}": OLD,
    "/rollbacks/{id}": "roll_2",
    "/models/{id}": "small@5f1c0de2a9b81c44",
    "/audit/{id}/redact": "9",
}
PATHS = tuple(
    route.path.replace("{id}", PLACES.get(route.path, "roll_1")) for route in ROUTES if route.method == "GET"
)
_WORDS = {
    "object", "state", "kind", "what", "preset", "severity", "period", "per", "metric", "scorer", "sticky", "fault",
    "on_deadline", "promote", "priority", "cost", "spent", "amount", "breaker", "mirror_budget", "day", "hour",
    "purpose",
}  # fmt: skip


async def shown(path: str, pages: dict[str, Told] | None = None, who: Actor | None = None) -> Answer:
    query = {}
    if "?" in path:
        path, _, rest = path.partition("?")
        query = dict(pair.split("=") for pair in rest.split("&"))
    admin = Admin(told() if pages is None else pages)
    return await stage().answer(admin, ask(path, who=who, **query))


class Tags(html.parser.HTMLParser):
    """What could run: scripts that are written into the page, attributes that are code, styles."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self.forms: list[list[str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = dict(attrs)
        if tag == "script" and "src" not in names:
            self.wrong.append("script")
        self.wrong += [f"{tag} {name}" for name in names if name.startswith("on") or name == "style"]
        self.wrong += [
            f"{tag} href" for name in ("href", "action") if (names.get(name) or "").startswith("javascript")
        ]
        if tag == "form":
            self.forms.append([(names.get("method") or "get").lower()])
        if tag == "input" and self.forms:
            self.forms[-1].append(names.get("name") or "")


def tags(answer: Answer) -> Tags:
    found = Tags()
    found.feed(answer.body.decode())
    return found


@pytest.mark.parametrize("path", PATHS)
async def test_a_page_of_much_runs_no_code_and_every_form_has_its_token(path: str) -> None:
    answer = await shown(path)
    assert answer.status == 200
    if "text/html" in answer.headers["content-type"]:
        found = tags(answer)
        assert found.wrong == []
        assert all({"token", "once"} <= set(form) for form in found.forms[1:] if form[0] == "post" and len(form) > 2)


def poisoned(value: object, name: str = "") -> object:
    match value:
        case dict():
            return {key: poisoned(each, str(key)) for key, each in value.items()}
        case list():
            return [poisoned(each, name) for each in value]
        case str() if name not in _WORDS:
            return HOSTILE
    return value


def hostile(pages: dict[str, Told]) -> dict[str, Told]:
    def turned(found: Told) -> Told:
        def answer(one: Ask) -> object:
            given = found(one) if callable(found) else found
            body = json.loads(msgspec.json.encode(given))
            if isinstance(body, list):
                body = {"object": "list", "data": body, "has_more": False, "next": None}
            return Answer(status=200, body=json.dumps(poisoned(body)).encode())

        return answer

    # Times as texts are the gateway's own words.
    return {name: turned(found) for name, found in pages.items() if name not in ("usage.sums", "prices.list")}


@pytest.mark.parametrize("path", PATHS)
async def test_hostile_words_stay_words(path: str) -> None:
    answer = await shown(path, hostile(told()))
    assert answer.status in (200, 404), answer.body.decode()[-2000:]
    assert b"<script>alert" not in answer.body
    if "text/html" in answer.headers["content-type"]:
        assert tags(answer).wrong == []


EMPTY = (
    ("/services", "penstock apply"),
    ("/rollouts", "penstock rollout start"),
    ("/models", "penstock models register"),
    ("/usage", "penstock chat"),
    ("/limits", "penstock budgets set"),
    ("/keys", "penstock keys create"),
    ("/alerts", "Nothing wants you"),
    ("/audit", "penstock audit list"),
)


@pytest.mark.parametrize(("path", "says"), EMPTY)
async def test_an_empty_page_holds_what_would_fill_it(path: str, says: str) -> None:
    def nothing(_: Ask) -> list[msgspec.Struct]:
        return []

    pages: dict[str, Told] = {name: nothing for name in told() if name.endswith((".list", ".sums"))}
    answer = await shown(path, pages)
    assert answer.status == 200
    assert says in answer.body.decode()


@pytest.mark.parametrize("path", PATHS)
async def test_while_the_store_is_away_a_page_says_so_and_no_number_is_made_up(path: str) -> None:
    away = PenstockError(STORE_UNAVAILABLE, "The store cannot be reached. Try again.")
    answer = await shown(path, dict.fromkeys(told(), away))
    assert answer.status in (200, 503)
    if path not in ("/keys/new", "/audit/9/redact", "/caches/invalidate"):
        assert "The store cannot be reached" in answer.body.decode()


async def test_what_an_engine_does_not_say_is_unknown_and_never_zero() -> None:
    body = (await shown("/models")).body.decode()
    row = body[body.index('id="small-1"') :]
    row = row[: row.index("</tr>")]
    assert row.count('class="unknown"') == 5
    assert "it has told nothing yet" in row
    assert ">0<" not in row
    alert_page = (await shown("/alerts")).body.decode()
    assert "unknown of the error budget" not in alert_page
    assert "vectors cost: unknown" in alert_page


OFFERED = {
    "/services/chat": ("Roll back",),
    "/rollouts/roll_1": ("Hold", "End it", "Roll back"),
    "/keys": ("Make a key", "Rotate", "Revoke"),
    "/keys/k1a2b3": ("Rotate", "Revoke"),
    "/limits": ("Set a budget", "Set a limit", "Remove"),
    "/alerts": ("Silence</button>", "End it"),
    "/audit": ("Check all of it",),
}


@pytest.mark.parametrize(("path", "words"), OFFERED.items())
async def test_what_one_may_not_do_is_not_offered(path: str, words: tuple[str, ...]) -> None:
    owner = (await shown(path)).body.decode()
    assert all(word in owner for word in words)
    permissions = actor().permissions - {each for each in actor().permissions if each.endswith(("write", "verify"))}
    seeing = msgspec.structs.replace(actor(), permissions=permissions)
    answer = await shown(path, who=seeing)
    assert answer.status == 200
    assert [word for word in words if word in answer.body.decode()] == []


async def test_nobody_moves_a_service_with_a_key_of_one_project() -> None:
    own = actor("owner", everywhere=False, project="red")
    assert "Roll back" not in (await shown("/services/chat", who=own)).body.decode()


async def test_a_part_that_a_role_may_not_see_says_so_and_the_rest_stays() -> None:
    pages = told() | {"objectives.list": PenstockError(PERMISSION_DENIED, "no")}
    body = (await shown("/services/chat", pages)).body.decode()
    assert "Your role may not see the objectives" in body
    assert OLD in body


async def test_a_canary_that_is_taken_back_is_compared_with_what_those_have_whom_it_moves() -> None:
    admin = Admin(told())
    await stage().answer(admin, ask("/services/chat/rollback"))
    (compared,) = (each for each in admin.asked if each.operation == "releases.diff")
    assert (compared.target, compared.query["from"]) == (OLD, NEW)


async def test_there_is_nothing_to_go_back_to_and_nothing_to_press() -> None:
    back = msgspec.convert({"service": "chat", "to": None, "reason": "No release before is known."}, dict)
    pages = told() | {"services.back": lambda _: Answer(status=200, body=msgspec.json.encode(back))}
    body = (await shown("/services/chat/rollback", pages)).body.decode()
    assert "No release before is known." in body
    assert "Roll back to" not in body


async def test_answers_side_by_side_are_for_those_who_may_read_them() -> None:
    paired = msgspec.structs.replace(_of("rollouts.get"), preset="champion_challenger")
    pages = told() | {"rollouts.get": paired}
    body = (await shown("/rollouts/roll_1", pages)).body.decode()
    assert "We open at nine." in body
    assert "We open at eight" in body
    assert "−0.830" in body or "-0.830" in body
    seeing = msgspec.structs.replace(actor(), permissions=actor().permissions - {"requests:content"})
    body = (await shown("/rollouts/roll_1", pages, who=seeing)).body.decode()
    assert "We open at" not in body
    assert body.count("What was said is not kept.") == 4


def _of(operation: str) -> msgspec.Struct:
    found = told()[operation]
    assert callable(found)
    one = found(Ask(actor=actor(), operation=operation, target="roll_1"))
    assert isinstance(one, msgspec.Struct)
    return one


async def test_a_number_leads_to_the_requests_behind_it() -> None:
    body = (await shown("/usage?by=service&window=7d&project=red")).body.decode()
    assert "/console/requests?project=red&amp;service=chat&amp;since=" in body
    assert "/console/usage.csv?by=service&amp;window=7d&amp;project=red" in body


async def test_the_file_that_is_downloaded_has_no_formula() -> None:
    def evil(ask: Ask) -> object:
        found = told()["usage.sums"]
        assert callable(found)
        rows = found(ask)
        assert isinstance(rows, list)
        return [msgspec.structs.replace(rows[0], group={"user": "=HYPERLINK(1)"})]

    answer = await shown("/usage.csv?by=user", told() | {"usage.sums": evil})
    assert answer.headers["content-type"].startswith("text/csv")
    lines = answer.body.decode().splitlines()
    assert lines[0].startswith("user,requests")
    assert lines[1].startswith("'=HYPERLINK(1),")


@pytest.mark.parametrize("query", ["by=nothing", "window=ever"])
async def test_usage_that_cannot_be_added_up_is_refused(query: str) -> None:
    assert (await shown(f"/usage?{query}")).status == 400


@pytest.mark.parametrize("path", ["/keys/nobody", "/rollouts/roll_9", "/releases/rel_9", "/models/m@0"])
async def test_what_there_is_not_is_not_found(path: str) -> None:
    gone = PenstockError(NOT_FOUND, "There is none of this name.")
    assert (await shown(path, dict.fromkeys(told(), gone))).status == 404


LIVE = (
    ("/services/chat", {"figures"}, {"overview.get"}),
    ("/rollouts/roll_1", {"standing", "decisions"}, {"rollouts.get"}),
    ("/alerts", {"firing"}, {"alerts.list"}),
    ("/models", {"replicas"}, None),
    ("/services", {"services"}, None),
    ("/rollouts", {"rollouts"}, None),
    ("/rollbacks/roll_2", {"ticks"}, None),
)


@pytest.mark.parametrize(("path", "regions", "needs"), LIVE)
async def test_what_is_live_asks_for_no_more_than_it_shows(
    path: str, regions: set[str], needs: set[str] | None
) -> None:
    admin = Admin(told())
    answer = await stage().answer(admin, ask(path, fragment=True))
    assert set(json.loads(answer.body)["regions"]) == regions
    assert needs is None or {each.operation for each in admin.asked} == needs


async def test_requests_from_before_the_first_split_had_what_the_file_says() -> None:
    def told_of(ask: Ask) -> object:
        found = told()["usage.sums"]
        assert callable(found)
        rows = found(ask)
        assert isinstance(rows, list)
        groups = ({"release": "", "user": "bo", "key": "k1"}, {"release": NEW, "user": "ann", "key": "k2"})
        return [
            msgspec.structs.replace(row, group=group, requests=count)
            for row, group, count in zip(rows, groups, (70, 7), strict=False)
        ]

    body = (await shown("/services/chat/rollback", told() | {"usage.sums": told_of})).body.decode()
    assert ">7</a> in the last day got another release" in body
    assert "1 user</a>" in body
