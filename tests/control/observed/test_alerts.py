"""Objectives, alerts and silences over the admin API: who sees what, and what the audit keeps."""

from __future__ import annotations

import json

import msgspec
import pytest

from penstock.control.accounts.administration import Administration
from penstock.control.objectives.standing import Stood
from penstock.control.observed.alerts import objectives_of
from penstock.core.errors import INVALID_VALUE, NOT_FOUND, PERMISSION_DENIED
from penstock.core.series import Alert
from penstock.observe.config import Objective
from penstock.observe.windows import lengths
from tests.control.accounts.office import NOW, Office, actor

SEEN = actor("viewer")
ABOVE = actor("operator", everywhere=True)


def alert(id: str, **more: object) -> Alert:
    made = Alert(
        id=id, kind="burn", severity="page", service="a", text="It burns.", since=NOW - 60, changed_at=NOW - 60
    )
    return msgspec.structs.replace(made, **more)


@pytest.fixture
def here(full: Office) -> Office:
    found = [
        alert("slo/a/availability/page"),
        alert("slo/a/availability/ticket", severity="ticket", since=NOW - 30, changed_at=NOW - 30),
        alert("slo/b/availability/page", service="b", since=NOW - 90, changed_at=NOW - 90, notified_at=NOW - 50),
        alert("budget/red-budget/red/80", kind="budget", severity="ticket", project="red", service=""),
        alert("budget/blue-budget/blue/80", kind="budget", severity="ticket", project="blue", service=""),
        alert("old", resolved_at=NOW - 3600),
        alert("very old", resolved_at=NOW - 30 * 86400),
    ]
    full.alerts.put_alerts(found, {})
    return full


async def ids(here: Office, **more: object) -> list[str]:
    return [each["id"] for each in (await here.do("alerts.list", **more))["data"]]


async def test_what_is_not_over_comes_first_and_pages_before_tickets(here: Office) -> None:
    assert await ids(here) == [
        "slo/a/availability/page",
        "slo/b/availability/page",
        "slo/a/availability/ticket",
        "budget/blue-budget/blue/80",
        "budget/red-budget/red/80",
        "old",
    ]
    assert await ids(here, state="resolved", since="0") == ["old", "very old"]
    assert await ids(here, service="b") == ["slo/b/availability/page"]


async def test_pages(here: Office) -> None:
    first = await here.do("alerts.list", limit="4")
    second = await here.do("alerts.list", limit="4", after=first["next"])
    assert [each["id"] for each in (*first["data"], *second["data"])] == await ids(here)
    assert (first["has_more"], second["has_more"]) == (True, False)


async def test_a_project_sees_what_is_about_it(here: Office) -> None:
    assert await ids(here, as_=SEEN) == ["budget/red-budget/red/80"]
    assert (await here.refused("alerts.list", as_=actor("developer"))).fault is PERMISSION_DENIED


async def test_a_silence_from_begin_to_end(here: Office) -> None:
    made = await here.do(
        "silences.create", body={"pattern": "slo/a/*", "reason": "We know.", "for_s": 600}, as_=ABOVE
    )
    assert (made["until"], made["by"]) == (NOW + 600, ABOVE.key_id)
    assert await ids(here, state="silenced") == ["slo/a/availability/page", "slo/a/availability/ticket"]
    assert (await here.do("alerts.list"))["data"][0]["silenced_until"] == NOW + 600
    assert made in (await here.do("silences.list"))["data"]
    gone = await here.do("silences.delete", made["id"], as_=ABOVE)
    assert gone == {"object": "silence", "id": made["id"], "deleted": True}
    assert made not in (await here.do("silences.list"))["data"]
    assert await ids(here, state="silenced") == []
    ended, begun = here.acts()[:2]
    assert (ended.action, begun.action, begun.actor, begun.target) == (
        "silences.delete",
        "silences.create",
        ABOVE.key_id,
        made["id"],
    )
    assert json.loads(begun.content)["after"]["pattern"] == "slo/a/*"
    assert json.loads(ended.content)["after"] is None
    assert (await here.refused("silences.delete", made["id"])).fault is NOT_FOUND


@pytest.mark.parametrize(
    "body",
    [
        {"pattern": ""},
        {"pattern": "x" * 513},
        {"pattern": "a\nb"},
        {"pattern": "a", "for_s": 0},
        {"pattern": "a", "for_s": 1e9},
        {"pattern": "a", "reason": "x" * 513},
    ],
)
async def test_silences_that_cannot_be_are_refused_and_nothing_is_noted(
    here: Office, body: dict[str, object]
) -> None:
    before = len(here.acts())
    assert (await here.refused("silences.create", body=body)).fault is INVALID_VALUE
    assert len(here.acts()) == before


async def test_who_may_silence(here: Office) -> None:
    body = {"pattern": "*"}
    assert (await here.refused("silences.create", body=body, as_=actor("viewer", everywhere=True))).fault is (
        PERMISSION_DENIED
    )
    assert (await here.refused("silences.create", body=body, as_=actor("operator"))).fault is PERMISSION_DENIED
    assert (await here.refused("silences.list", as_=SEEN)).fault is PERMISSION_DENIED


async def test_objectives(here: Office) -> None:
    asked: list[str | None] = []
    objective = Objective(kind="availability", target=0.999)
    counts = dict.fromkeys((*lengths(objective), 30 * 86400.0))

    def standing(project: str | None):  # type: ignore[no-untyped-def]
        asked.append(project)
        return objectives_of([Stood(service=name, objective=objective, counts=counts) for name in ("b", "a")])

    sources = msgspec.structs.replace(here.sources(), objectives=standing)
    here.administration = Administration(
        state=here.state, sources=sources, peppers=here.peppers, clock=lambda: here.now
    )
    found = (await here.do("objectives.list"))["data"]
    assert [each["service"] for each in found] == ["a", "b"]
    assert found[0]["text"] == "99.9 % of requests do not fail, over 30 days"
    assert (found[0]["budget_left"], found[0]["burn"]["1h"], found[0]["good"]) == (None, None, None)
    await here.do("objectives.list", project="blue")
    await here.do("objectives.list", as_=SEEN)
    assert asked == [None, "blue", "red"]
    assert (await here.refused("objectives.list", project="blue", as_=SEEN)).fault is NOT_FOUND
    assert len((await here.do("objectives.list", service="a"))["data"]) == 1
