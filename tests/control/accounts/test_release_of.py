"""The release that a service has now, and what it needs in the store."""

from __future__ import annotations

import pytest

from penstock.control.accounts.release_of import current, released, with_parts
from penstock.core.accounts import Directory, Record
from penstock.core.errors import CONFLICT, NOT_FOUND, PenstockError
from penstock.core.releases import ModelVersion, Release, Served
from tests.control.accounts.office import NOW
from tests.control.accounts.shelf import directory, model, prompt, release, served, split

SMALL, LARGE, KIND = model(), model("large"), prompt()
FIRST = release(SMALL)
SECOND = release(LARGE, KIND, at=NOW - 60)
FILE = served(SMALL, LARGE, KIND, FIRST)


def test_the_file_says_until_the_store_does() -> None:
    assert current(Directory(), FILE, "chat") == FIRST
    assert current(directory(FIRST, SECOND, split((FIRST, 90), (SECOND, 10))), FILE, "chat") == FIRST
    assert current(directory(FIRST, SECOND, split((FIRST, 10), (SECOND, 90))), FILE, "chat") == SECOND


def test_a_service_that_the_file_does_not_have_is_none() -> None:
    with pytest.raises(PenstockError, match="Did you mean 'chat'") as caught:
        current(directory(SECOND, split((SECOND, 100))), FILE, "chatt")
    assert (caught.value.fault, caught.value.param) == (NOT_FOUND, "service")


def test_a_release_is_looked_up_within_its_service() -> None:
    there = directory(SECOND)
    assert released(there, FILE, "chat", FIRST.id) == FIRST
    assert released(there, FILE, "chat", SECOND.id) == SECOND
    with pytest.raises(PenstockError, match="GET /admin/v1/releases") as caught:
        released(there, FILE, "chat", "rel_none")
    assert (caught.value.fault, caught.value.param) == (NOT_FOUND, "release")
    with pytest.raises(PenstockError, match="of service 'chat', and not of 'other'") as caught:
        released(there, FILE, "other", SECOND.id, "candidate")
    assert (caught.value.fault, caught.value.param) == (CONFLICT, "candidate")


def ids(put: tuple[Record, ...]) -> list[str]:
    return [getattr(each, "id", "") for each in put]


def test_only_what_is_missing_is_put() -> None:
    put = with_parts(Directory(), FILE, FIRST, at=NOW)
    assert ids(put) == [SMALL.id, FIRST.id]
    for each in put:
        assert isinstance(each, Release | ModelVersion)
        assert each.created_at == NOW
        assert each.message == ("from the deployment file" if isinstance(each, Release) else "")
    put = with_parts(Directory(), FILE, SECOND, at=NOW)
    assert ids(put) == [LARGE.id, KIND.id, SECOND.id]
    assert put[-1] == SECOND
    assert with_parts(directory(*put), FILE, SECOND, at=NOW + 9) == ()
    assert ids(with_parts(directory(LARGE, SECOND), FILE, SECOND, at=NOW)) == [KIND.id]


@pytest.mark.parametrize("there", [served(SMALL, FIRST), served(SMALL, LARGE, FIRST)])
def test_a_part_that_is_nowhere_is_said(there: Served) -> None:
    with pytest.raises(PenstockError, match="which neither the store nor the deployment file has") as caught:
        with_parts(Directory(), there, SECOND, at=NOW)
    assert caught.value.fault is CONFLICT
