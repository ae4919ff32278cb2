"""What was used and done, asked: held to one's own project, in pages, and wrong questions named."""

from __future__ import annotations

import msgspec
import pytest

from penstock.control.accounts.operations import OPERATIONS
from penstock.control.accounts.traffic import recent
from penstock.core.errors import INVALID_VALUE, NOT_FOUND, PERMISSION_DENIED
from tests.control.accounts.office import NOW, ROOT, Office, actor, entry

RED = actor("owner")


async def pages(here: Office, operation: str, **more: object) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    after: dict[str, str] = {}
    while True:
        page = await here.do(operation, **more, **after)
        found += page["data"]
        assert page["has_more"] == (page["next"] is not None)
        if not page["has_more"]:
            return found
        after = {"after": page["next"]}


async def test_sums_are_by_what_is_asked(full: Office) -> None:
    (all_of_it,) = (await full.do("usage.sums"))["data"]
    assert (all_of_it["requests"], all_of_it["cost"], all_of_it["group"]) == (6, "0.015", {})
    by = await full.do("usage.sums", by="project,day")
    assert [each["group"] for each in by["data"]] == [
        {"project": "blue", "day": "2026-11-18"},
        {"project": "red", "day": "2026-11-18"},
    ]
    assert by["data"][0]["tokens"]["input"] == 30


async def test_what_caches_answered_is_told_apart(full: Office) -> None:
    hit = msgspec.structs.replace(entry("red", "hit", cost_nano=500_000), cache="hit", saved_nano=2_000_000)
    full.ledger.append([hit])
    (red,) = (await full.do("usage.sums", project="red"))["data"]
    assert (red["requests"], red["cached_requests"], red["rows"]) == (4, 1, 3)
    assert (red["cost"], red["saved"]) == ("0.008", "0.002")
    assert (red["tokens"]["input"], red["cached_tokens"]["input"]) == (30, 10)
    one = await full.do("usage.request", "hit")
    assert (one["cost"], one["saved"], one["tokens"]["input"]) == ("0.0005", "0.002", 0)
    assert (one["entries"][0]["cache"], one["entries"][0]["tokens"]["input"]) == ("hit", 10)
    # What a service does lately is what its models do.
    before = recent(full.ledger, "chat", NOW + 1)
    full.ledger.append([msgspec.structs.replace(hit, request_id=f"hit-{n}", settled_at=NOW) for n in range(50)])
    assert recent(full.ledger, "chat", NOW + 1) == before
    assert (before.requests, before.mean_dollars) == (6, 0.0025)


async def test_what_a_release_used_is_found(full: Office) -> None:
    full.ledger.append([msgspec.structs.replace(entry("red", "of-b"), release="rel_b")])
    (row,) = (await full.do("usage.entries", release="rel_b"))["data"]
    assert (row["request_id"], row["release"]) == ("of-b", "rel_b")
    by = (await full.do("usage.sums", by="release"))["data"]
    assert [(each["group"]["release"], each["requests"]) for each in by] == [("", 6), ("rel_b", 1)]


async def test_pages_hold_everything_once(full: Office) -> None:
    for limit in ("1", "2", "3", "200"):
        rows = await pages(full, "usage.entries", limit=limit)
        assert sorted(str(row["request_id"]) for row in rows) == sorted(
            f"{name}-req-{row}" for name in ("red", "blue") for row in range(3)
        )
        keys = await pages(full, "keys.list", limit=limit)
        assert [key["id"] for key in keys] == ["blue-key", "red-key"]
        groups = await pages(full, "usage.sums", by="project", limit=limit)
        assert [each["group"] for each in groups] == [{"project": "blue"}, {"project": "red"}]
        acts = await pages(full, "audit.list", limit=limit)
        assert [row["number"] for row in acts] == list(range(len(acts), 0, -1))


async def test_a_project_has_its_own_usage_and_audit_only(full: Office) -> None:
    assert {row["project"] for row in (await full.do("usage.entries", as_=RED))["data"]} == {"red"}
    assert (await full.do("usage.sums", as_=RED))["data"][0]["requests"] == 3
    assert {row["project"] for row in (await full.do("audit.list", as_=RED))["data"]} == {"red"}
    for operation in ("usage.entries", "usage.sums", "audit.list", "usage.export"):
        foreign = await full.refused(operation, as_=RED, project="blue")
        unknown = await full.refused(operation, as_=RED, project="gray")
        assert foreign.fault is unknown.fault is NOT_FOUND
    assert (await full.do("usage.entries", as_=RED, key="blue-key"))["data"] == []


async def test_a_developer_has_their_own_usage_only(full: Office) -> None:
    full.ledger.append([entry("red", "by-another", at=NOW)])
    key = actor("developer", key_id="red-key")
    somebody = actor("developer", key_id="red-other")
    person = actor("developer", key_id="red-other", user="red-user")
    assert len((await full.do("usage.entries", as_=key))["data"]) == 4
    assert (await full.do("usage.entries", as_=somebody))["data"] == []
    assert len((await full.do("usage.entries", as_=person))["data"]) == 4
    assert (await full.refused("usage.entries", as_=somebody, key="red-key")).fault is NOT_FOUND
    assert (await full.refused("usage.request", "red-req-0", as_=somebody)).fault is NOT_FOUND
    assert (await full.do("usage.request", "red-req-0", as_=person))["cost"] == "0.0025"


async def test_one_request_is_told_with_all_its_attempts(full: Office) -> None:
    full.ledger.append([entry("red", "red-req-0", attempt=1, at=NOW)])
    told = await full.do("usage.request", "red-req-0", as_=RED)
    assert (told["cost"], len(told["entries"]), told["tokens"]["output"]) == ("0.005", 2, 10)
    foreign = await full.refused("usage.request", "blue-req-0", as_=RED)
    unknown = await full.refused("usage.request", "gray-req-0", as_=RED)
    assert foreign.fault is unknown.fault is NOT_FOUND
    assert foreign.message.replace("blue", "gray") == unknown.message
    for odd in ("", "\0", "x" * 5000, "a/../b", "' OR 1=1"):
        assert (await full.refused("usage.request", odd)).fault is NOT_FOUND


@pytest.mark.parametrize(
    ("operation", "query", "param"),
    [
        ("usage.sums", {"by": "projct"}, "by"),
        ("usage.sums", {"by": "day,day"}, "by"),
        ("usage.sums", {"since": "yesterday"}, "since"),
        ("usage.sums", {"until": "nan"}, "until"),
        ("usage.sums", {"since": "1e300"}, "since"),
        ("usage.sums", {"limit": "1001"}, "limit"),
        ("usage.entries", {"purpose": "evil"}, "purpose"),
        ("usage.entries", {"after": "!"}, "after"),
        ("usage.entries", {"after": "WzFd"}, "after"),
        ("usage.entries", {"servic": "chat"}, "servic"),
        ("usage.entries", {"service": "a\0b"}, "service"),
        ("audit.list", {"kind": "all"}, "kind"),
        ("audit.list", {"after": "WyJhIl0"}, "after"),
        ("keys.list", {"limit": "0"}, "limit"),
        ("keys.list", {"limit": "-1"}, "limit"),
        ("keys.list", {"limit": "²"}, "limit"),
        ("keys.list", {"after": "Cg"}, "after"),
        ("keys.get", {"limit": "1"}, "limit"),
    ],
)
async def test_a_question_with_a_slip_in_it_is_not_answered(
    full: Office, operation: str, query: dict[str, str], param: str
) -> None:
    error = await full.refused(operation, "red-key", **query)
    assert (error.fault, error.param) == (INVALID_VALUE, param)


async def test_the_nearest_parameter_is_named(full: Office) -> None:
    assert "Did you mean 'project'?" in (await full.refused("keys.list", projct="red")).message


@pytest.mark.parametrize("since", ["2026-11-18", "2026-11-18T00:00:00Z", "2026-11-18T02:00:00+02:00", "1794960000"])
async def test_times_may_be_written_in_any_usual_way(full: Office, since: str) -> None:
    assert len((await full.do("usage.entries", since=since))["data"]) == 6
    assert (await full.do("usage.entries", until=since))["data"] == []


async def test_the_audit_verifies_and_a_head_can_be_kept(full: Office) -> None:
    head = await full.do("audit.head")
    assert await full.do("audit.verify") == {
        "whole": True,
        "object": "audit_verified",
        "findings": [],
        "head": await full.do("audit.head"),
    }
    kept = {"heads": [head]}
    assert (await full.do("audit.verify", body=kept))["whole"] is True
    forged = {"heads": [head | {"number": head["number"] + 1}]}
    assert (await full.do("audit.verify", body=forged))["whole"] is False
    odd = {"heads": [head | {"digest": "xyz"}]}
    assert (await full.refused("audit.verify", body=odd)).param == "heads[0].digest"


async def test_redaction_empties_content_and_keeps_the_chain(full: Office) -> None:
    rows = (await full.do("audit.list", kind="content", project="red"))["data"]
    assert [row["content"] for row in rows] == [{"said": 1}]
    body = {"numbers": [rows[0]["number"]], "reason": "asked to"}
    assert (await full.do("audit.redact", body=body, as_=RED))["redacted"] == 1
    count = len(full.acts())
    assert (await full.do("audit.redact", body=body, as_=RED))["redacted"] == 0
    assert len(full.acts()) == count
    (row,) = (await full.do("audit.list", kind="content", project="red"))["data"]
    assert (row["content"], row["redacted_by"]) == (None, count)
    assert (await full.do("audit.verify"))["whole"] is True


async def test_a_project_redacts_neither_another_s_rows_nor_what_it_did(full: Office) -> None:
    rows = (await full.do("audit.list", limit="200"))["data"]
    blue = next(row for row in rows if row["project"] == "blue" and row["kind"] == "content")
    done = next(row for row in rows if row["project"] == "red" and row["kind"] == "administrative")
    for number in (blue["number"], done["number"], 10**9):
        error = await full.refused("audit.redact", body={"numbers": [number], "reason": "x"}, as_=RED)
        assert error.fault is NOT_FOUND
    assert (await full.do("audit.redact", body={"numbers": [done["number"]], "reason": "x"}, as_=ROOT))[
        "redacted"
    ] == 1


@pytest.mark.parametrize("operation", [each.name for each in OPERATIONS if each.everywhere])
async def test_what_concerns_all_takes_a_key_for_all(full: Office, operation: str) -> None:
    assert (await full.refused(operation, "red", {}, as_=RED)).fault is PERMISSION_DENIED
