"""What is not served from caches any more: who may say so, of what, and what is kept of it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.caches.invalidations import Invalidations
from penstock.control.accounts import cache_records
from penstock.control.accounts.cache_records import FORGOTTEN_AFTER_S, kept, with_one_more
from penstock.core.caching import DeskFigures, DeskScope, Entry, Invalidation, subject_digest
from penstock.core.chat import Kind
from penstock.core.errors import INVALID_VALUE, NOT_FOUND, PERMISSION_DENIED
from tests.control.accounts.office import NOW, Office, actor

KEY = "0123456789abcdef" * 2 + "01234567"


async def test_it_holds_from_now_on_and_is_in_the_audit(full: Office) -> None:
    told = await full.do("caches.invalidate", body={"scope": "service", "value": "chat", "older_than_s": 60})
    assert told == {
        "object": "cache_invalidation",
        "scope": "service",
        "value": "chat",
        "project": "",
        "at": NOW - 60,
        "since": NOW,
        "known_within_s": 1.0,
    }
    assert full.directory.invalidations == (Invalidation(scope="service", value="chat", at=NOW - 60),)
    act = full.acts()[0]
    assert (act.action, act.target, act.project) == ("caches.invalidate", "service::chat", "*")
    assert json.loads(act.content)["after"]["at"] == NOW - 60
    # Once more with what is older changes nothing.
    rows = len(full.acts())
    await full.do("caches.invalidate", body={"scope": "service", "value": "chat", "older_than_s": 61})
    assert len(full.acts()) == rows
    full.now += 5
    await full.do("caches.invalidate", body={"scope": "service", "value": "chat"})
    (only,) = (await full.do("caches.list"))["data"]
    assert (only["at"], only["value"]) == (NOW + 5, "chat")


async def test_a_project_invalidates_and_sees_its_own_alone(full: Office) -> None:
    red = actor("operator")
    told = await full.do("caches.invalidate", body={"scope": "tag", "value": "faq"}, as_=red)
    assert (told["scope"], told["value"], told["project"]) == ("tag", "faq", "red")
    for scope in ("all", "project"):
        told = await full.do("caches.invalidate", body={"scope": scope, "older_than_s": 10}, as_=red)
        assert (told["scope"], told["value"], told["project"]) == ("project", "red", "red")
    for body, param in (
        ({"scope": "project", "value": "blue"}, "value"),
        ({"scope": "tag", "value": "x", "project": "blue"}, "project"),
    ):
        error = await full.refused("caches.invalidate", body=body, as_=red)
        assert (error.fault, error.param) == (NOT_FOUND, param)
    await full.do("caches.invalidate", body={"scope": "tag", "value": "secret", "project": "blue"})
    await full.do("caches.invalidate", body={"scope": "service", "value": "chat"})
    seen = (await full.do("caches.list", as_=red))["data"]
    assert {(each["scope"], each["project"]) for each in seen} == {
        ("tag", "red"),
        ("project", "red"),
        ("service", ""),
    }
    assert len((await full.do("caches.list", project="blue"))["data"]) == 1
    for role in ("viewer", "developer"):
        error = await full.refused("caches.invalidate", body={"scope": "all"}, as_=actor(role))
        assert error.fault is PERMISSION_DENIED


async def test_a_person_is_named_by_a_digest_everywhere(full: Office) -> None:
    told = await full.do("caches.invalidate", body={"scope": "subject", "value": "ada@example.com"})
    assert told["value"] == subject_digest("ada@example.com")
    act = full.acts()[0]
    assert "ada@" not in f"{full.directory.invalidations}{act.content!r}{act.target}"


@pytest.mark.parametrize(
    "body",
    [
        {"scope": "all", "value": "x"},
        {"scope": "key", "value": "abc"},
        {"scope": "tag"},
        {"scope": "tag", "value": "x" * 129},
        {"scope": "release", "value": ""},
        {"scope": "subject", "value": ""},
        {"scope": "project", "value": "red", "project": "blue"},
        {"scope": "service", "value": "chat", "older_than_s": -1},
        {"scope": "service", "value": "chat", "older_than_s": 1e12},
        {"scope": "planet", "value": "chat"},
    ],
)
async def test_what_makes_no_sense_is_refused(full: Office, body: dict[str, Any]) -> None:
    before = full.directory
    assert (await full.refused("caches.invalidate", body=body)).fault is INVALID_VALUE
    assert full.directory == before


async def test_a_cache_key_is_one_however_it_is_written(full: Office) -> None:
    told = await full.do("caches.invalidate", body={"scope": "key", "value": KEY.upper(), "project": "red"})
    assert (told["value"], told["project"]) == (KEY, "red")
    error = await full.refused("caches.invalidate", body={"scope": "key", "value": KEY, "project": "gone"})
    assert (error.fault, error.param) == (NOT_FOUND, "project")


async def test_who_sees_how_semantic_caches_stand(full: Office) -> None:
    def desk(project: str, service: str = "chat", caller: str = "") -> DeskFigures:
        return DeskFigures(
            scope=DeskScope(project, service, caller), max_error=0.02, requests=1000, hits=300, audits=40,
            wrong_seen=1, wrong_estimate=3.5, wrong_at_most=12, threshold=0.1, probability=0.05, labels=700,
            entries=600,
        )  # fmt: skip

    figures = (desk("red"), desk("blue"), desk("blue", "faq", "u_1"))
    full.administration._sources = msgspec.structs.replace(full.sources(), desks=lambda: figures)
    found = (await full.do("caches.semantic"))["data"]
    assert [(each["project"], each["service"], each["caller"]) for each in found] == [
        ("blue", "chat", ""),
        ("blue", "faq", "u_1"),
        ("red", "chat", ""),
    ]
    assert (found[0]["allowed"], found[0]["wrong_at_most"]) == (20.0, 12)
    assert len((await full.do("caches.semantic", service="faq"))["data"]) == 1
    red = actor("viewer")
    assert [each["project"] for each in (await full.do("caches.semantic", as_=red))["data"]] == ["red"]
    assert (await full.refused("caches.semantic", as_=red, project="blue")).fault is NOT_FOUND


# -- what is kept ------------------------------------------------------------------------------------------------

PROJECTS = ("", "p", "q", "r")


def entry(project: str, service: str, release: str, tag: str, subject: str, at: float) -> Entry:
    return Entry(
        key=bytes.fromhex(KEY), kind=Kind.CHAT, chunks=(), streamed=False, usage=None, created_at=at, fresh_for_s=1.0,
        service=service, release=release, project=project, subject=subject, tags=(tag,),
    )  # fmt: skip


@st.composite
def _invalidation(draw: st.DrawFn) -> Invalidation:
    scope = draw(st.sampled_from(["all", "release", "service", "project", "key", "tag", "subject"]))
    project = draw(st.sampled_from(PROJECTS))
    value = {"all": "", "project": draw(st.sampled_from(PROJECTS[1:])), "key": KEY}.get(
        scope, draw(st.sampled_from("abc"))
    )
    if scope == "project" and project:
        value = project
    return Invalidation(scope=scope, value=value, project=project, at=NOW - draw(st.integers(0, 40)))


ENTRIES = st.builds(
    entry,
    st.sampled_from(PROJECTS[1:]),
    *[st.sampled_from("abc")] * 4,
    st.integers(0, 45).map(lambda ago: NOW - ago),
)


@given(st.lists(_invalidation(), max_size=30), st.lists(ENTRIES, min_size=1, max_size=20))
@settings(max_examples=80, deadline=None)
def test_what_is_kept_refuses_just_what_all_of_them_refuse(records: list[Invalidation], entries: list[Entry]) -> None:
    some = kept(records, NOW)
    assert [Invalidations(some).covers(each) for each in entries] == [
        Invalidations(records).covers(each) for each in entries
    ]
    assert len({each.id for each in some}) == len(some)
    assert set(kept(some, NOW)) == set(some)
    known: dict[str, Invalidation] = {}
    for each in records:
        put, remove = with_one_more(tuple(known.values()), each, NOW)
        for _, id in remove:
            del known[id]
        for record in put:
            assert isinstance(record, Invalidation)
            known[record.id] = record
    assert set(known.values()) == set(some)


@given(st.lists(_invalidation(), max_size=40), st.lists(ENTRIES, max_size=20), st.integers(2, 6))
@settings(max_examples=80, deadline=None)
def test_beyond_the_bound_nothing_comes_back(records: list[Invalidation], entries: list[Entry], most: int) -> None:
    bound = cache_records.MOST
    cache_records.MOST = most
    try:
        some = kept(records, NOW)
    finally:
        cache_records.MOST = bound
    assert len(some) <= most
    now, before = Invalidations(some), Invalidations(records)
    assert all(now.covers(each) for each in entries if before.covers(each))
    # What began after all of them is served.
    assert not any(now.covers(msgspec.structs.replace(each, created_at=NOW + 1)) for each in entries)


def test_two_thousand_people_are_all_that_are_kept_by_name() -> None:
    many = [Invalidation(scope="subject", value=f"{n:032x}", project=f"p{n % 3}", at=NOW + n) for n in range(2_001)]
    assert len(kept(many[1:], NOW + 3_000)) == 2_000
    some = kept(many, NOW + 3_000)
    whole = {each.value: each.at - NOW for each in some if each.scope == "project"}
    assert len(some) == 1_003
    assert whole == {"p0": 999.0, "p1": 1_000.0, "p2": 998.0}


def test_they_are_forgotten_when_no_entry_can_be_that_old() -> None:
    old = Invalidation(scope="tag", value="a", at=NOW)
    assert kept([old], NOW + FORGOTTEN_AFTER_S) == (old,)
    assert kept([old], NOW + FORGOTTEN_AFTER_S + 1) == ()
    put, remove = with_one_more([old], Invalidation(scope="tag", value="b", at=NOW + 9e7), NOW + 9e7)
    assert [each.value for each in put if isinstance(each, Invalidation)] == ["b"]
    assert remove == (("invalidation", "tag::a"),)
