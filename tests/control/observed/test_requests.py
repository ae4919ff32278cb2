"""The request log, asked: who sees what, every filter, pages, and what was said."""

from __future__ import annotations

import pytest

from penstock.core.errors import INVALID_VALUE, NOT_FOUND, PERMISSION_DENIED
from penstock.core.requests import AttemptMade, Marks
from tests.contracts.scores import feedback, score
from tests.control.accounts.office import NOW, Office, actor, entry, record, said

RED = actor("owner")
BLUE = actor("owner", "blue")


async def ids(office: Office, **query: object) -> list[str]:
    found = await office.do("requests.list", **query)  # type: ignore[arg-type]
    return [each["id"] for each in found["data"]]


async def test_a_request_is_found_by_each_of_its_facts_and_by_no_other(here: Office) -> None:
    here.requests.append_requests(
        [
            record(
                "red",
                "one",
                at=NOW - 10,
                subject="ada",
                service="chat",
                release="rel_1",
                model="m",
                replica="m-1",
                status=500,
                ending="failed",
                code="upstream_failed",
                cache="hit",
                stream=True,
                cost_nano=50_000_000,
                duration_s=2.0,
                first_chunk_s=0.5,
                trace=bytes(range(16)),
            ),
            record("blue", "two", at=NOW - 20, duration_s=0.1, cost_nano=1_000_000),
        ],
        [said("red", "one", at=NOW - 10)],
    )
    assert await ids(here) == ["one", "two"]
    for name, right, wrong in (
        ("project", "red", "green"),
        ("key", "red-key", "x"),
        ("user", "red-user", "x"),
        ("team", "red-team", "x"),
        ("subject", "ada", "x"),
        ("release", "rel_1", "x"),
        ("replica", "m-1", "x"),
        ("status", "500", "404"),
        ("status", "5xx", "4xx"),
        ("ending", "failed", "client_gone"),
        ("code", "upstream_failed", "x"),
        ("cache", "hit", "miss"),
        ("stream", "true", ""),
        ("min_cost", "0.05", "0.06"),
        ("min_ms", "2000", "2001"),
        ("min_first_ms", "500", "501"),
        ("text", "PARCEL", "letter"),
        ("since", str(NOW - 15), str(NOW)),
        ("trace", bytes(range(16)).hex().upper(), "0" * 32),
    ):
        assert await ids(here, **{name: right}) == ["one"], name
        # What is empty says nothing.
        assert await ids(here, **{name: wrong}) == ([] if wrong else ["one", "two"]), name
    assert await ids(here, max_ms="100") == ["two"]
    assert await ids(here, until=str(NOW - 15)) == ["two"]
    assert await ids(here, purpose="internal") == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status", "6xx"),
        ("status", "teapot"),
        ("ending", "done"),
        ("stream", "maybe"),
        ("trace", "zz"),
        ("min_cost", "-1"),
        ("min_cost", "NaN"),
        ("min_ms", "inf"),
        ("text", "ab"),
        ("since", "yesterday"),
        ("purpose", "other"),
        ("after", "!"),
        ("limit", "0"),
    ],
)
async def test_what_no_filter_can_mean_is_refused_by_its_name(here: Office, name: str, value: str) -> None:
    error = await here.refused("requests.list", **{name: value})
    assert (error.fault, error.param) == (INVALID_VALUE, name)


async def test_pages_follow_one_another_without_a_gap(here: Office) -> None:
    here.requests.append_requests([record("red", f"r{n}", at=NOW - n // 3) for n in range(10)], [])
    found: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = await here.do("requests.list", limit="4", **after)
        found += [each["id"] for each in page["data"]]
        assert page["has_more"] == (page["next"] is not None)
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert sorted(found) == sorted(f"r{n}" for n in range(10))
    assert len(set(found)) == 10


async def test_a_project_sees_its_own_and_who_sees_only_its_usage_its_users(full: Office) -> None:
    other = record("red", "of-another", user="red-other", key_id="red-other-key")
    full.requests.append_requests([other, record("red", "of-no-one", user="", key_id="own-key")], [])
    assert sorted(await ids(full, as_=RED)) == ["of-another", "of-no-one", "red-request"]
    own = actor("developer", user="red-user")
    assert await ids(full, as_=own) == ["red-request"]
    assert await ids(full, as_=actor("developer", key_id="own-key")) == ["of-no-one"]
    for query in ({"user": "red-other"}, {"project": "blue"}):
        assert (await full.refused("requests.list", as_=own, **query)).fault is NOT_FOUND
    assert (await full.do("requests.get", "red-request", as_=own))["id"] == "red-request"
    for target, who in (("of-another", own), ("red-request", BLUE), ("nobody", RED)):
        assert (await full.refused("requests.get", target, as_=who)).fault is NOT_FOUND


async def test_one_request_says_all_that_is_known_of_it(full: Office) -> None:
    failed = AttemptMade(1, "m", "m-0", 0.001, 0.1, None, "upstream_failed", "It said 500")
    won = AttemptMade(2, "n", "n-0", 0.12, 1.0, 0.4)
    full.requests.append_requests(
        [
            record(
                "red",
                "r",
                at=NOW - 5,
                asked="gpt",
                release="rel_1",
                rollout="ro_1",
                model="n",
                replica="n-0",
                attempts=(failed, won),
                queued_s=0.02,
                first_chunk_s=0.4,
                marks=Marks(0.001, 0.002, 0.003, 0.004, 0.02, 0.4, 1.0),
            )
        ],
        [],
    )
    full.ledger.append([entry("red", "r", at=NOW - 5), entry("blue", "r", at=NOW - 5, attempt=7)])
    full.scores.append_scores(
        [
            score("r", at=NOW - 5),
            # Another project has chosen the same id.
            score("r", at=NOW - 900, metric="of-another"),
            feedback("r", at=NOW, note='{"project": "blue"}'),
        ]
    )
    found = await full.do("requests.get", "r")
    assert found["attempts"] == 2
    assert [each["attempt"] for each in found["usage"]] == [0]
    assert found["scores"] == {"format": 0.5}
    assert found["spans"][0]["ms"] == pytest.approx(1000.0)
    assert [each["message"] for each in found["spans"] if each["depth"] == 2] == [failed.message, ""]
    assert any("fallback 'n' (n-0)" in each for each in found["why"])
    assert (found["duration_ms"], found["first_chunk_ms"], found["queued_ms"]) == (1000.0, 400.0, 20.0)


async def test_of_two_with_one_id_the_newest_is_meant_unless_its_time_is_said(here: Office) -> None:
    here.requests.append_requests([record("red", "r", at=NOW - 9, model="old"), record("red", "r", at=NOW - 1)], [])
    newest = await here.do("requests.get", "r")
    assert (newest["model"], newest["others"]) == ("m", [NOW - 9])
    older = await here.do("requests.get", "r", at=str(NOW - 9))
    assert (older["model"], older["others"]) == ("old", [NOW - 1])
    # What another project has asked by this id does not exist for it.
    here.requests.append_requests([record("blue", "r", at=NOW - 4)], [])
    assert (await here.do("requests.get", "r", as_=RED))["others"] == [NOW - 9]
    assert (await here.refused("requests.get", "r", at="1")).fault is NOT_FOUND
    assert (await here.refused("requests.get", "r", at="now")).param == "at"


async def test_who_reads_what_was_said_is_in_the_audit(full: Office) -> None:
    found = await full.do("requests.content", "red-request", as_=RED)
    assert found["request"]["messages"][0]["content"] == "Where is my parcel?"
    assert found["reply"]["choices"][0]["text"] == "On its way."
    (act,) = (each for each in full.acts() if each.action == "requests.read_content")
    assert (act.actor, act.project, act.target) == ("red-owner", "red", "red-request")
    rows = len(full.acts())
    for who, fault in ((BLUE, NOT_FOUND), (actor("operator"), PERMISSION_DENIED)):
        assert (await full.refused("requests.content", "red-request", as_=who)).fault is fault
    # Looking for it word by word is reading, too.
    assert (await full.refused("requests.list", as_=actor("operator"), text="parcel")).fault is PERMISSION_DENIED
    assert len(full.acts()) == rows


async def test_what_was_not_kept_says_whose_policy_that_is(here: Office) -> None:
    here.requests.append_requests([record("red", "r", content="none"), record("red", "gone", content="all")], [])
    assert "policy" in (await here.refused("requests.content", "r")).message
    assert "no longer kept" in (await here.refused("requests.content", "gone")).message
