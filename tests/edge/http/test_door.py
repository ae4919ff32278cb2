"""Who is let in to administer, and what the audit hears of those who are not."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from penstock.core.errors import ENDPOINT_FORBIDDEN, PERMISSION_DENIED, PenstockError
from penstock.core.identity import Principal
from penstock.core.usage import Act
from penstock.edge.http.door import MOST_KEYS, TOLD, Door
from penstock.edge.http.routes import Needs
from penstock.gateway.snapshot import Admission
from tests.edge.http.paper import Paper, PaperSite, paper_site
from tests.gateway.doubles import OWNER, snapshot

NEEDS = Needs(("keys:read",))
VIEWER = msgspec.structs.replace(OWNER, key_id="v", project="red", permissions=frozenset({"keys:read"}))
CALLER = msgspec.structs.replace(VIEWER, key_id="c", permissions=frozenset({"call"}))


class Way:
    """A door that takes whoever it is told to."""

    def __init__(self) -> None:
        self.now = 0.0
        self.acts: list[Act] = []
        self.who = CALLER
        self.door = Door(self._admit, self.acts.append, lambda: self.now)

    async def _admit(self, presented: str | None, address: str) -> Admission:
        return Admission(snapshot([], {}), self.who, address)

    async def knock(self, who: Principal) -> str:
        """Why it was not opened; empty when it was."""
        self.who = who
        try:
            await self.door.let_in(Paper("GET", "/admin/v1/keys/x", {}, b""), NEEDS, "/admin/v1/keys/{id}")
        except PenstockError as error:
            return error.fault.code
        return ""


async def test_who_may_is_let_in_and_not_noted() -> None:
    way = Way()
    assert await way.knock(VIEWER) == ""
    assert not way.acts


@pytest.mark.parametrize(
    ("who", "code"),
    [
        (CALLER, PERMISSION_DENIED.code),
        (msgspec.structs.replace(VIEWER, endpoints=frozenset({"/v1/models"})), ENDPOINT_FORBIDDEN.code),
    ],
)
async def test_who_may_not_is_noted_with_what_was_asked_from_where(who: Principal, code: str) -> None:
    way = Way()
    assert await way.knock(who) == code
    (act,) = way.acts
    assert (act.kind, act.actor, act.project) == ("administrative", who.key_id, "red")
    assert (act.action, act.target, act.outcome) == ("admin.denied", "GET /admin/v1/keys/x", code)
    assert act.address == "192.0.2.9"
    assert act.request_id.startswith("req_")


async def test_one_key_is_noted_so_often_in_a_minute_and_then_how_often_it_was_not() -> None:
    way = Way()
    for _ in range(TOLD + 7):
        await way.knock(CALLER)
    assert len(way.acts) == TOLD
    assert {act.content for act in way.acts} == {b""}
    other = msgspec.structs.replace(CALLER, key_id="d")
    await way.knock(other)
    assert way.acts[-1].actor == "d", "others are noted all the same"
    way.now = 60.0
    await way.knock(CALLER)
    await way.knock(CALLER)
    assert json.loads(way.acts[-2].content) == {"untold": 7}
    assert way.acts[-1].content == b""


async def test_keys_without_number_are_not_counted_without_bound() -> None:
    way = Way()
    for number in range(MOST_KEYS + 5):
        await way.knock(msgspec.structs.replace(CALLER, key_id=f"k{number}"))
    assert len(way.acts) == MOST_KEYS
    way.now = 60.0
    assert await way.knock(msgspec.structs.replace(CALLER, key_id="later")) == PERMISSION_DENIED.code
    assert way.acts[-1].actor == "later"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[PaperSite]:
    async with paper_site(tmp_path) as found:
        yield found


async def test_every_way_to_administer_leads_through_it(here: PaperSite) -> None:
    for path in ("/admin/live", "/admin/deployment", "/admin/v1/roles"):
        assert (await here.ask("GET", path, key="developer")).status == 403
    assert (await here.ask("GET", "/admin/live", key=None)).status == 401, "nobody to name"
    assert [act.target for act in here.desk.acts] == [
        "GET /admin/live",
        "GET /admin/deployment",
        "GET /admin/v1/roles",
    ]


async def test_a_new_deployment_goes_with_the_name_of_who_sends_it(here: PaperSite) -> None:
    assert (await here.ask("PUT", "/admin/deployment", b"services: {}")).status == 200
    (act,) = here.desk.acts
    assert (act.action, act.actor, act.project, act.address) == (
        "deployment.apply", "all-owner-key", "*", "192.0.2.9",
    )  # fmt: skip
