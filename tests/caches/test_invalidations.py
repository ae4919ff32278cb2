"""Each scope takes what it names, of the age that it names, and nothing else."""

from __future__ import annotations

import pytest

from penstock.caches.invalidations import Invalidations
from penstock.core.caching import Invalidation, Scope
from tests.caches.doubles import entry_of

AT = 1_000_000.0
ENTRY = entry_of(b"\xab" * 20, tags=("faq", "eu"), subject="ann")


@pytest.mark.parametrize(
    ("scope", "value", "other"),
    [
        ("release", "rel_1", "rel_2"),
        ("service", "chat", "chat2"),
        ("project", "red", "blue"),
        ("key", "ab" * 20, "ac" * 20),
        ("tag", "eu", "us"),
        ("tag", "faq", "fa"),
        ("subject", "ann", ""),
    ],
)
def test_a_scope(scope: Scope, value: str, other: str) -> None:
    for project, covered in (("", True), ("red", True), ("blue", False)):
        record = Invalidation(scope=scope, value=value, project=project, at=AT)
        assert Invalidations([record]).covers(ENTRY) is covered
    assert not Invalidations([Invalidation(scope=scope, value=other, at=AT)]).covers(ENTRY)
    assert not Invalidations([Invalidation(scope=scope, value=value, at=AT - 0.001)]).covers(ENTRY)


def test_all_and_by_age() -> None:
    assert Invalidations([Invalidation(scope="all", at=AT)]).covers(ENTRY)
    older = Invalidations([Invalidation(scope="all", at=AT - 3600)])
    assert not older.covers(ENTRY)
    assert older.covers(entry_of(created_at=AT - 3601))


def test_nothing_holds_at_first() -> None:
    assert not Invalidations().covers(ENTRY)


def test_of_two_the_later_holds_in_any_order() -> None:
    old, new = (Invalidation(scope="tag", value="eu", at=at) for at in (AT - 5, AT))
    for records in ([old, new], [new, old]):
        both = Invalidations(records)
        assert both.covers(ENTRY)
        assert both.records == (new,)


def test_what_no_entry_outlives_is_forgotten() -> None:
    old, new = Invalidation(scope="all", at=AT - 5), Invalidation(scope="tag", value="x", at=AT)
    assert Invalidations([old, new]).since(AT).records == (new,)


def test_a_subject_that_nobody_is_takes_nobody() -> None:
    assert not Invalidations([Invalidation(scope="subject", value="", at=AT)]).covers(entry_of())


@pytest.mark.parametrize(
    ("scope", "value"), [("all", ""), ("release", "rel_1"), ("service", "chat"), ("project", "red")]
)
def test_since_when_nothing_holds_any_more(scope: Scope, value: str) -> None:
    for project, since in (("", AT), ("red", AT), ("blue", -1.0)):
        records = Invalidations([Invalidation(scope=scope, value=value, project=project, at=AT)])
        assert records.newest(project="red", service="chat", release="rel_1") == since
    other = Invalidations([Invalidation(scope="service", value="other", at=AT)])
    assert other.newest(project="red", service="chat", release="rel_1") == -1.0


def test_a_person_is_forgotten_in_whichever_project() -> None:
    records = Invalidations(
        [Invalidation(scope="subject", value="ann", project=name, at=at) for name, at in (("red", AT), ("blue", 5.0))]
    )
    assert records.forgets("ann", AT)
    assert not records.forgets("ann", AT + 1)
    assert not records.forgets("bob", AT)
    assert not records.forgets("", AT)
    assert Invalidations([Invalidation(scope="all", at=AT)]).forgets("", AT)
    assert not Invalidations([Invalidation(scope="all", project="red", at=AT)]).forgets("", AT)
