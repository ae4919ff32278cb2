"""The timeline of changes: their sentences, and who sees which."""

from __future__ import annotations

import json

import pytest

from penstock.control.accounts.turn import cursor
from penstock.control.observed.change_words import told
from penstock.control.observed.changes import LOOKED_AT
from penstock.core.errors import INVALID_VALUE
from penstock.core.usage import Act
from tests.control.accounts.office import NOW, Office, actor


def act(action: str, target: str = "x", *, project: str = "*", **content: object) -> Act:
    return Act(
        at=NOW, actor="root", project=project, action=action, target=target, content=json.dumps(content).encode()
    )


LIMIT = {"kind": "project", "subject": "red", "metric": "requests", "per": "minute", "amount": 60}
BUDGET = {"kind": "global", "subject": "*", "period": "month", "amount": "500"}


@pytest.mark.parametrize(
    ("done", "text", "kind", "service"),
    [
        (act("keys.create", "k1", after={"name": "CI"}), "Key k1 (CI) was made", "key", ""),
        (act("keys.revoke", "k1", before={"name": ""}), "Key k1 was revoked", "key", ""),
        (
            act("limits.change", before=LIMIT, after=LIMIT | {"amount": 90}),
            "Limit on project red went from 60 requests a minute to 90 requests a minute",
            "limit",
            "",
        ),
        (
            act("limits.delete", before=LIMIT | {"subject": "*", "service": "chat"}),
            "Limit of 60 requests a minute on each project at chat was removed",
            "limit",
            "chat",
        ),
        (
            act("caches.invalidate", "service::chat", after={"scope": "service", "value": "chat", "at": 1.0}),
            "All answers of the service chat in caches were invalidated",
            "other",
            "chat",
        ),
        (
            act("caches.invalidate", "all::", after={"scope": "all"}),
            "All answers in caches were invalidated",
            "other",
            "",
        ),
        (act("budgets.create", after=BUDGET), "Budget of $500 a month for global was made", "limit", ""),
        (
            act("releases.create", "rel_1", after={"service": "chat"}),
            "Release rel_1 of chat was made",
            "release",
            "chat",
        ),
        (
            act("rollouts.create", "ro_1", after={"service": "chat", "candidate": "rel_2"}),
            "Rollout ro_1 of rel_2 was started",
            "rollout",
            "chat",
        ),
        (
            act("rollouts.rollback", "ro_1", what="rollback", reason="success is worse.", split={"service": "chat"}),
            "Rollout ro_1 rolled back: success is worse",
            "rollout",
            "chat",
        ),
        (
            act("splits.change", "chat", after={"shares": {"rel_1": 90.0, "rel_2": 10.0}}),
            "The split of chat was set to rel_1 90 %, rel_2 10 %",
            "release",
            "chat",
        ),
        (
            act("services.rollback", "chat", after={"candidate": "rel_1"}),
            "chat was rolled back to rel_1",
            "release",
            "chat",
        ),
        (
            act("deployment.apply", "", sha256="ab", changed=["service chat: new", "model m: changed"]),
            "Deployment: service chat: new and 1 more",
            "deployment",
            "",
        ),
        (act("aliases.put", "prompt:a:b"), "Alias prompt:a:b was set", "release", ""),
    ],
)
def test_a_change_is_a_short_sentence(done: Act, text: str, kind: str, service: str) -> None:
    found = told(done)
    assert found is not None
    assert (found.text, found.kind, found.service) == (text, kind, service)


def test_what_is_no_change_is_none() -> None:
    for done in (
        act("admin.denied"),
        act("audit.redact"),
        act("requests.read_content"),
        act("users.create"),
        act("caches.invalidate", "subject::f0", after={"scope": "subject", "value": "f0"}),
        Act(at=NOW, actor="a", project="*", action="deployment.apply", outcome="bad_deployment"),
    ):
        assert told(done) is None
    # Content of another version, or redacted.
    for content in (b"", b"no json", b'{"after": 7}'):
        assert told(Act(at=NOW, actor="a", project="*", action="keys.create", target="k", content=content))


async def test_who_may_list_a_thing_sees_that_it_was_changed(full: Office) -> None:
    full.audit.append_acts([("1", act("releases.create", "rel_1")), ("2", act("deployment.apply", ""))])

    async def kinds(who: object) -> set[tuple[str, str, str]]:
        found = await full.do("changes.list", as_=who, limit="200")
        return {(each["action"], each["project"], each["actor"]) for each in found["data"]}

    everything = await kinds(actor("owner", everywhere=True))
    assert {("keys.create", "red", "root"), ("keys.create", "blue", "root")} <= everything
    red = await kinds(actor("owner"))
    assert ("keys.create", "red", "root") in red
    assert ("releases.create", "*", "") in red
    assert not {each for each in red if each[1] == "blue" or each[0] == "deployment.apply"}
    developer = await kinds(actor("developer"))
    assert {each[0].partition(".")[0] for each in developer} == {"projects", "limits", "budgets", "releases"}


async def test_changes_are_filtered_and_come_in_pages(full: Office) -> None:
    full.audit.append_acts(
        [(f"c{n}", act("splits.change", "chat" if n % 2 else "other", after={})) for n in range(10)]
    )
    found = await full.do("changes.list", service="chat", kind="release", limit="3")
    assert [each["service"] for each in found["data"]] == ["chat"] * 3
    rest = await full.do("changes.list", service="chat", kind="release", limit="3", after=found["next"])
    assert (len(rest["data"]), (rest["data"][0]["target"])) == (2, "chat")
    assert (await full.refused("changes.list", kind="weather")).param == "kind"
    assert (await full.refused("changes.list", project="blue", as_=actor("owner"))).param == "project"
    blue = await full.do("changes.list", project="blue", kind="key")
    assert {each["project"] for each in blue["data"]} == {"blue"}


async def test_one_page_reads_no_whole_audit(here: Office) -> None:
    here.audit.append_acts([(f"x{n}", act("admin.denied")) for n in range(LOOKED_AT + 300)])
    here.audit.append_acts([])
    found = await here.do("changes.list")
    assert (found["data"], found["has_more"]) == ([], True)
    assert not (await here.do("changes.list", after=found["next"]))["has_more"]


@pytest.mark.parametrize("place", [10**30, -(10**30), 2**63])
async def test_a_place_that_no_row_has_is_refused(here: Office, place: int) -> None:
    for operation in ("changes.list", "audit.list"):
        assert (await here.refused(operation, after=cursor(place))).fault is INVALID_VALUE
