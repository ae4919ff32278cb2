"""A person is found and erased in the log, in what was said and in feedback, and the audit keeps a hash."""

from __future__ import annotations

import hashlib
import json

import pytest
from msgspec.structs import replace

from penstock.control.observed import subjects
from penstock.core.caching import Invalidation, subject_digest
from penstock.core.errors import INVALID_VALUE, NOT_FOUND
from penstock.core.requests import subject_named
from penstock.core.series import Fed
from tests.contracts.scores import feedback, score
from tests.control.accounts.office import NOW, Office, actor, record, said


async def test_a_subject_is_erased_and_nothing_else(full: Office) -> None:
    full.requests.append_requests([record("red", "other", subject="red-subject-2", at=NOW - 5)], [])
    note = json.dumps({"project": "red", "comment": "thanks"})
    foreign = json.dumps({"project": "blue"})
    full.scores.append_scores(
        [
            score("red-request", at=NOW - 60),
            feedback("red-request", at=NOW, note=note),
            score("red-request", at=NOW - 5000, metric="of-another-with-this-id"),
            score("other", at=NOW - 5),
            feedback("blue-request", at=NOW, note=foreign),
        ]
    )
    shown = await full.do("subjects.get", "red-subject")
    assert (shown["requests"], shown["contents"], shown["first_at"]) == (1, 1, NOW - 60)
    erased = await full.do("subjects.erase", "red-subject")
    assert (erased["requests"], erased["contents"], erased["feedback"], erased["untold"]) == (1, 1, 2, [])
    left = full.requests.request("red-request")[0]
    assert (left.subject, left.cost_nano) == ("", 2_500_000)
    assert full.requests.content("red-request", NOW - 60) is None
    assert [each.metric for each in full.scores.of_request("red-request")] == ["of-another-with-this-id"]
    assert len(full.scores.of_request("other")) == len(full.scores.of_request("blue-request")) == 1
    (act,) = (each for each in full.acts() if each.action == "subjects.erase")
    assert b"red-subject" not in act.content + act.target.encode()
    kept = json.loads(act.content)
    assert kept["subject_sha256"] == hashlib.sha256(b"red-subject").hexdigest()
    assert (kept["requests"], kept["contents"], kept["feedback"]) == (1, 1, 2)
    # Once more is no error.
    assert (await full.do("subjects.erase", "red-subject"))["requests"] == 0
    assert (await full.refused("subjects.get", "red-subject")).fault is NOT_FOUND


async def test_a_project_finds_and_erases_its_own_alone(full: Office) -> None:
    for project in ("red", "blue"):
        full.requests.append_requests(
            [record(project, f"{project}-ada", subject="ada")], [said(project, f"{project}-ada", subject="ada")]
        )
    red = actor("owner")
    assert (await full.do("subjects.get", "ada", as_=red))["requests"] == 1
    assert (await full.do("subjects.get", "ada"))["requests"] == 2
    assert (await full.refused("subjects.erase", "ada", as_=red, project="blue")).fault is NOT_FOUND
    assert (await full.do("subjects.erase", "ada", as_=red))["requests"] == 1
    assert (await full.do("subjects.get", "ada"))["requests"] == 1
    assert (await full.do("subjects.erase", "ada", project="blue"))["requests"] == 1
    assert (await full.refused("subjects.erase", "a" * 2049)).fault is INVALID_VALUE


async def test_caches_serve_nothing_of_whom_is_erased_from_the_first_moment_on(
    full: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subjects, "TOLD_WITHIN_S", 0.2)
    seen: list[object] = []
    full.administration._sources = replace(
        full.sources(), flush=lambda within_s: seen.extend(full.directory.invalidations)
    )
    assert (await full.do("subjects.get", "red-subject"))["invalidated_at"] is None
    digest = subject_digest("red-subject")
    erased = await full.do("subjects.erase", "red-subject", as_=actor("owner"), once="again")
    assert erased["invalidated_at"] == NOW
    # Before it waits for anything.
    assert seen == [Invalidation(scope="subject", value=digest, project="red", at=NOW)]
    act = next(each for each in full.acts() if each.action == "caches.invalidate")
    assert (act.target, act.project) == (f"subject:red:{digest}", "red")
    # An idempotency key does not stop it: there may be more by now.
    full.now += 5
    assert (await full.do("subjects.erase", "red-subject", once="again"))["invalidated_at"] == NOW + 5
    full.requests.append_requests([record("red", "after", subject="red-subject", at=NOW + 6)], [])
    assert (await full.do("subjects.get", "red-subject"))["invalidated_at"] == NOW + 5
    assert full.changes >= 2


async def test_it_waits_for_what_is_on_its_way_and_names_who_is_late(
    here: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subjects, "TOLD_WITHIN_S", 0.2)
    waited: list[float] = []

    def flush(within_s: float) -> None:
        waited.append(within_s)
        here.requests.append_requests([record("red", "late", subject="ada")], [])
        here.series.append_series((), Fed(gateway="g1", until=NOW))

    here.administration._sources = replace(here.sources(), flush=flush)
    here.administration._standing = lambda: {"g1": frozenset(), "g2": frozenset()}
    erased = await here.do("subjects.erase", "ada")
    assert (waited, erased["requests"], erased["untold"]) == ([0.2], 1, ["g2"])

    def slow(within_s: float) -> None:
        raise TimeoutError

    here.series.append_series((), Fed(gateway="g2", until=NOW + 1))
    here.administration._sources = replace(here.sources(), flush=slow)
    assert (await here.do("subjects.erase", "ada"))["untold"] == []


async def test_a_long_id_is_found_as_the_client_sends_it(full: Office) -> None:
    # Tokens of one issuer begin alike.
    long, other = "x" * 600, "x" * 601
    for each in (long, other):
        named = subject_named(each)
        full.requests.append_requests([record("red", each[-1] + str(len(each)), subject=named)], [])
    assert (await full.do("subjects.get", long))["requests"] == 1
    assert len((await full.do("requests.list", subject=long))["data"]) == 1
    erased = await full.do("subjects.erase", long)
    assert (erased["id"], erased["requests"]) == (long, 1)
    assert (await full.do("subjects.get", other))["requests"] == 1
