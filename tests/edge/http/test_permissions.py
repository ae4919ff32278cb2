"""Every route that is registered, with every role: what happens is what the checked-in table says."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from penstock.access.roles import BUILTIN
from penstock.edge.http.routes import Route
from tests.edge.http.paper import Paper, PaperSite, paper_site

TABLE = Path(__file__).resolve().parents[3] / "docs/reference/permissions.md"
_ROW = re.compile(r"\| (GET|POST|PUT|PATCH|DELETE) \| `([^`]+)` \| [^|]+ \|(.*)\|$")


def _table() -> dict[tuple[str, str], dict[str, str]]:
    found = {}
    for line in TABLE.read_text().splitlines():
        if row := _ROW.match(line):
            cells = [cell.strip() for cell in row[3].split("|")]
            found[row[1], row[2]] = dict(zip(BUILTIN, cells, strict=True))
    return found


EXPECTED = _table()
_RELEASED = ("models", "prompts", "aliases", "releases", "services", "rollouts", "splits")
_OURS = {"projects": "red", "prices": "m@0", "roles": "viewer", "usage": "red-req-0"}


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[PaperSite]:
    async with paper_site(tmp_path) as found:
        yield found


def denied(paper: Paper) -> str:
    """Why the caller was not let in; empty when it was."""
    if paper.status in (401, 403):
        code: str = paper.json()["error"]["code"]
        return code
    return ""


async def test_every_route_has_a_row_and_every_row_a_route(here: PaperSite) -> None:
    routes = {(method, route.path) for route in here.app.routes() for method in route.endpoints}
    assert routes == set(EXPECTED), "run `make docs`, and read what it changes in permissions.md"
    for route in here.app.routes():
        assert set(route.needs) == set(route.endpoints), f"{route.path} does not say what it needs"


def test_a_route_that_forgets_a_method_says_nothing_of_it() -> None:
    async def answer(*_: object) -> None: ...

    assert not Route("/x", {"GET": answer}).needs


@pytest.mark.parametrize(("method", "path"), EXPECTED, ids=lambda part: part)
async def test_who_may(here: PaperSite, method: str, path: str) -> None:
    target = path.replace("{id}", "nobody-has-it")
    body: object = None if method in ("GET", "DELETE") else {} if not path.endswith("deployment") else b"models: {}"
    row = EXPECTED[method, path]
    opened = set(row.values()) == {"open"}
    assert denied(await here.ask(method, target, body, key=None)) == ("" if opened else "invalid_api_key")
    here.keys["wrong"] = "pk-wrong"
    assert denied(await here.ask(method, target, body, key="wrong")) == ("" if opened else "invalid_api_key")
    for role, may in row.items():
        own = denied(await here.ask(method, target, body, key=role))
        everywhere = denied(await here.ask(method, target, body, key=f"all-{role}"))
        match may:
            case "":
                assert (own, everywhere) == ("permission_denied", "permission_denied"), role
            case "own" | "open":
                assert (own, everywhere) == ("", ""), role
            case "all":
                assert (own, everywhere) == ("permission_denied", ""), role


_PLACED = [(method, path) for method, path in EXPECTED if "{id}" in path and path.startswith(("/admin", "/v1/usage"))]


@pytest.mark.parametrize(("method", "path"), _PLACED, ids=lambda part: part)
async def test_with_a_key_of_another_project_it_is_not_there(here: PaperSite, method: str, path: str) -> None:
    resource = path.split("/")[3 if path.startswith("/admin") else 2]
    if resource in ("prices", "roles", *_RELEASED):
        pytest.skip("the same for every project")
    own = _OURS.get(resource, f"red-{resource.rstrip('s')}")
    if resource in ("limits", "budgets"):
        own = f"red-key-{resource.rstrip('s')}"
    bodies = {"limits": {"amount": 1}, "budgets": {"amount": "1"}}
    body = bodies.get(resource, {}) if method == "PATCH" else None
    before = here.office.directory
    foreign = await here.ask(method, path.replace("{id}", own), body, key="blue-owner")
    unknown = await here.ask(method, path.replace("{id}", "x" * len(own)), body, key="blue-owner")
    same = foreign.reply_body if foreign.status == 403 else foreign.reply_body.replace(own.encode(), b"x" * len(own))
    assert same == unknown.reply_body
    assert foreign.status == unknown.status
    # To erase what is not there is no error: it is asked for again when the first answer was lost.
    gone = 200 if (method, resource) == ("DELETE", "subjects") else 404
    assert foreign.status == (gone if "all" not in EXPECTED[method, path].values() else 403)
    after = here.office.directory
    # An erasure ends what caches serve of somebody, whom nobody need know; it does so in its own project.
    assert {each.project for each in after.invalidations} == ({"blue"} if gone == 200 else set())
    assert replace(after, version=before.version, invalidations=()) == before
    ours = await here.ask(method, path.replace("{id}", own), body, key="all-owner")
    assert ours.status in (200, 409), ours.reply_body
