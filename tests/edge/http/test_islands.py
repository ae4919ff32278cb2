"""One project never reads or changes what is another's, whatever it writes where an identifier belongs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.control.accounts.operations import OPERATIONS, Operation
from penstock.core.accounts import Directory
from penstock.core.usage import AuditQuery
from tests.edge.http.paper import PaperSite, paper_site

_BLUE = (
    ["blue", "blue-team", "blue-user", "blue-key", "blue-act", "Blue", "blue@example.com"]
    + [f"blue-{kind}-{what}" for kind in ("key", "user", "team") for what in ("limit", "budget")]
    + [f"blue-req-{row}" for row in range(3)]
)
_ODD = (
    *(
        ".",
        "..",
        "/",
        "//",
        "%",
        "%2f",
        "%00",
        "\0",
        "*",
        "_",
        "\\",
        "'",
        '"',
        ";",
        "--",
        "?",
        "#",
        "&",
        "=",
        "+",
        " ",
    ),
    *("' OR '1'='1", "'; DROP TABLE keys; --", "${jndi:x}", "{{7*7}}", "../", "%2e%2e%2f", "\u202e", "\uff0e", "ı"),
    *("é", "BLUE", "rotate", "/revoke", "admin", "null", "None", "[]", "{}", "-1", "1e9", "NaN"),
)
_pieces = st.one_of(st.sampled_from(_BLUE), st.sampled_from(_ODD), st.text(max_size=12))
_ids = st.lists(_pieces, min_size=1, max_size=4).map("".join) | st.sampled_from(_BLUE)
_CONTENT = AuditQuery(kind="content")
_KEYS = ("owner", "admin", "developer", "viewer")


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    found = uvloop.new_event_loop()
    yield found
    found.close()


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, loop: asyncio.AbstractEventLoop) -> Iterator[PaperSite]:
    site = paper_site(Path(tmp_path_factory.mktemp("islands")))
    yield loop.run_until_complete(site.__aenter__())
    loop.run_until_complete(site.__aexit__(None, None, None))


def blue(directory: Directory) -> tuple[object, ...]:
    """All that is not red's."""
    return tuple(
        record
        for field in Directory.__struct_fields__
        if field != "version"
        for record in getattr(directory, field)
        if not any(word in repr(record) for word in ("project='red'", "id='red'"))
        and getattr(record, "subject", "blue") in (*_BLUE, "*", "")
    )


def check(here: PaperSite, before: tuple[object, ...], status: int, body: bytes, said: str) -> None:
    assert status < 500, body
    assert blue(here.office.directory) == before
    shown = body.decode("utf-8", "replace")
    if status < 400:
        # What was asked may come back as it was written; nothing else of blue's may.
        for word in ("blue@example.com", "blue-user", "blue-team", "blue-act", "blue-req-", '"blue"'):
            assert word not in shown or word.strip('"') in said, shown


_PLACED = [each for each in OPERATIONS if "{id}" in each.path]
# A person's id is whatever clients say: each project may have one that is called the same.
_ANYBODYS = ("subjects.get", "subjects.erase")
_WELL: dict[str, dict[str, object]] = {
    "limits.change": {"amount": 1},
    "budgets.change": {"amount": "1"},
    "users.change": {"memberships": [{"project": "red", "role": "viewer"}]},
    "keys.change": {"name": "mine"},
    "teams.change": {"name": "mine"},
    "projects.change": {"name": "mine"},
}
_MADE: dict[str, dict[str, object]] = {
    "teams.create": {"project": "red"},
    "users.create": {"memberships": [{"project": "red", "role": "viewer", "team": "red-team"}]},
    "keys.create": {"project": "red", "user": "red-user", "team": "red-team"},
    "limits.create": {"kind": "key", "subject": "red-key", "metric": "tokens", "amount": 1},
    "budgets.create": {"kind": "key", "subject": "red-key", "period": "day", "amount": "1"},
}


@pytest.mark.parametrize("operation", _PLACED, ids=lambda operation: operation.name)
def test_all_that_is_theirs_in_the_place_of_an_id(
    here: PaperSite, loop: asyncio.AbstractEventLoop, operation: Operation
) -> None:
    before = blue(here.office.directory)
    for id in (*_BLUE, "blue-owner-key"):
        target = operation.path.replace("{id}", id)
        body = None if operation.method in ("GET", "DELETE") else _WELL.get(operation.name, {})
        paper = loop.run_until_complete(here.ask(operation.method, target, body, key="owner"))
        if operation.name == "subjects.erase":
            erased = json.loads(paper.reply_body)
            assert {erased[name] for name in ("requests", "contents", "feedback", "archived_days")} == {0}
        else:
            assert paper.status >= 400, paper.reply_body
        check(here, before, paper.status, paper.reply_body, id if operation.name in _ANYBODYS else "")


@pytest.mark.parametrize("name", _MADE)
def test_all_that_is_theirs_in_what_is_made(here: PaperSite, loop: asyncio.AbstractEventLoop, name: str) -> None:
    before = blue(here.office.directory)
    for kind in ("project", "team", "user", "key"):
        text = (
            json.dumps(_MADE[name])
            .replace(f'"red-{kind}"', f'"blue-{kind}"')
            .replace('"kind": "key"', f'"kind": "{kind}"')
        )
        if kind == "project":
            text = text.replace('"red"', '"blue"').replace('"blue-project"', '"blue"').replace('"red-key"', '"blue"')
        if "blue" not in text:
            continue
        target = f"/admin/v1/{name.partition('.')[0]}"
        paper = loop.run_until_complete(here.ask("POST", target, text.encode(), key="owner"))
        assert paper.status >= 400, (text, paper.reply_body)
        check(here, before, paper.status, paper.reply_body, text)


@given(st.data())
@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_in_the_place_of_an_id(here: PaperSite, loop: asyncio.AbstractEventLoop, data: st.DataObject) -> None:
    operation = data.draw(st.sampled_from(_PLACED))
    id = data.draw(_ids)
    raw = data.draw(st.booleans()) and id.isascii() and id.isprintable() and not set(id) & set("?# ")
    target = operation.path.replace("{id}", id if raw else quote(id, safe=""))
    bodies: dict[str, object] = {"limits": {"amount": 1}, "budgets": {"amount": "1"}}
    body = bodies.get(operation.name.partition(".")[0], {}) if operation.method in ("PATCH", "POST") else None
    before = blue(here.office.directory)
    key = data.draw(st.sampled_from(_KEYS))
    paper = loop.run_until_complete(here.ask(operation.method, target, body, key=key))
    check(here, before, paper.status, paper.reply_body, id if operation.name in _ANYBODYS else "")


@given(st.data())
@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_in_a_query(here: PaperSite, loop: asyncio.AbstractEventLoop, data: st.DataObject) -> None:
    operation = data.draw(st.sampled_from([each for each in OPERATIONS if each.query]))
    names = data.draw(st.lists(st.sampled_from([each.name for each in operation.query]), max_size=3, unique=True))
    values = [data.draw(_ids) for _ in names]
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in zip(names, values, strict=True))
    key = data.draw(st.sampled_from(_KEYS))
    before = blue(here.office.directory)
    paper = loop.run_until_complete(here.ask(operation.method, f"{operation.path}?{query}", key=key))
    check(here, before, paper.status, paper.reply_body, "")


def _bodies(operation: Operation) -> st.SearchStrategy[object]:
    projects = st.sampled_from(["blue", "red"]) | _ids
    roles = st.just("viewer") | _ids
    member = st.fixed_dictionaries({"project": projects, "role": roles}, optional={"team": _ids})
    fields = {
        "project": projects,
        "user": _ids,
        "team": _ids,
        "role": roles,
        "id": _ids,
        "name": _ids,
        "memberships": st.lists(member, max_size=2),
        "kind": st.sampled_from(["key", "user", "team", "project", "service", "global"]),
        "subject": _ids,
        "service": _ids,
        "metric": st.sampled_from(["requests", "tokens", "concurrent"]),
        "amount": st.just(1) if operation.name.startswith("limits") else st.just("1"),
        "numbers": st.lists(st.integers(1, 60), min_size=1, max_size=3),
        "reason": _ids,
        "issuer": _ids,
    }
    assert operation.request is not None
    known = [name for name in operation.request.__struct_fields__ if name in fields]
    return st.fixed_dictionaries({}, optional={name: fields[name] for name in known}) | st.fixed_dictionaries(
        {name: fields[name] for name in known if name != "id"}
    )


@given(st.data())
@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_in_a_body(here: PaperSite, loop: asyncio.AbstractEventLoop, data: st.DataObject) -> None:
    operation = data.draw(st.sampled_from([each for each in OPERATIONS if each.request is not None]))
    body = json.dumps(data.draw(_bodies(operation)))
    place = data.draw(st.sampled_from(_BLUE) | _ids)
    before = blue(here.office.directory)
    key = data.draw(st.sampled_from(_KEYS))
    target = operation.path.replace("{id}", quote(place, safe=""))
    paper = loop.run_until_complete(here.ask(operation.method, target, body.encode(), key=key))
    check(here, before, paper.status, paper.reply_body, body)
    contents = [row.act.content for row in here.office.audit.acts(_CONTENT, None, 50) if row.act.project == "blue"]
    assert contents == [b'{"said":1}'], "blue's prompts were redacted"
