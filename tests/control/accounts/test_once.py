"""The same request twice is one, with the same answer, whatever races; another under the same key is refused."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path

import pytest

from penstock.core.accounts import Change
from penstock.core.errors import (
    CONFLICT,
    IDEMPOTENCY_CONFLICT,
    OUT_OF_RESOURCES,
    PERMISSION_DENIED,
    STORE_CONFLICT,
    PenstockError,
)
from tests.control.accounts.office import NOW, OLD_PEPPER, PEPPER, ROOT, Office, actor

KEY = {"project": "red", "name": "app"}


async def test_the_same_request_again_is_told_the_same_and_changes_nothing(full: Office) -> None:
    first = await full.ask("keys.create", body=KEY, once="a")
    version = full.state.version()
    again = await full.ask("keys.create", body=KEY, once="a")
    assert (again.status, again.body) == (first.status, first.body) == (201, first.body)
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert full.state.version() == version
    secret = json.loads(first.body)["secret"]
    assert full.keyring().find(secret).key_id == json.loads(first.body)["key"]["id"]


async def test_the_secret_of_the_second_answer_is_kept_nowhere(full: Office, tmp_path: Path) -> None:
    secret = (await full.do("keys.create", body=KEY, once="a"))["secret"].split("-", 2)[2]
    with sqlite3.connect(tmp_path / "store.db") as database:
        assert secret not in "\n".join(database.iterdump())


async def test_without_the_pepper_the_secret_cannot_be_told(full: Office) -> None:
    one = (await full.do("keys.create", body=KEY, once="a"))["secret"]
    other = (await full.do("keys.create", body=KEY, once="b"))["secret"]
    assert one.rpartition("-")[2] != other.rpartition("-")[2]
    full.administration = full.made((OLD_PEPPER,))
    assert (await full.refused("keys.create", body=KEY, once="a")).fault is CONFLICT


async def test_the_same_after_the_pepper_has_changed(full: Office) -> None:
    full.administration = full.made((OLD_PEPPER,))
    first = await full.ask("keys.create", body=KEY, once="a")
    full.administration = full.made((PEPPER, OLD_PEPPER))
    assert (await full.ask("keys.create", body=KEY, once="a")).body == first.body


async def test_once_it_was_rotated_the_first_secret_is_told_only_while_it_works(full: Office) -> None:
    first = await full.do("keys.create", body=KEY, once="a")
    id = first["key"]["id"]
    turned = await full.ask("keys.rotate", id, {"grace_s": 60}, once="b")
    assert (await full.ask("keys.rotate", id, {"grace_s": 60}, once="b")).body == turned.body
    assert (await full.do("keys.create", body=KEY, once="a"))["secret"] == first["secret"]
    await full.do("keys.rotate", id, once="c")
    error = await full.refused("keys.create", body=KEY, once="a")
    assert error.fault is CONFLICT
    assert "Rotate it" in error.message


@pytest.mark.parametrize(
    ("operation", "target", "body"),
    [
        ("keys.create", "", KEY | {"name": "other"}),
        ("teams.create", "", {"project": "red"}),
        ("keys.revoke", "red-key", None),
    ],
)
async def test_another_request_under_the_same_key_is_refused(
    full: Office, operation: str, target: str, body: object
) -> None:
    await full.do("keys.create", body=KEY, once="a")
    error = await full.refused(operation, target, body, once="a")
    assert (error.fault, error.param) == (IDEMPOTENCY_CONFLICT, "idempotency-key")


async def test_a_key_is_its_sender_s_own(full: Office) -> None:
    first = await full.do("keys.create", body=KEY, once="a")
    second = await full.do("keys.create", body=KEY, once="a", as_=actor("owner"))
    assert first["key"]["id"] != second["key"]["id"]


async def test_who_may_not_ask_is_not_told_again_either(full: Office) -> None:
    await full.do("keys.create", body=KEY, once="a", as_=actor("owner", key_id="k"))
    error = await full.refused("keys.create", body=KEY, once="a", as_=actor("viewer", key_id="k"))
    assert error.fault is PERMISSION_DENIED


async def test_after_a_day_it_is_a_new_request(full: Office) -> None:
    first = await full.do("keys.create", body=KEY, once="a")
    full.now = NOW + 86401
    assert (await full.do("keys.create", body=KEY, once="a"))["secret"] != first["secret"]


async def test_what_was_refused_may_be_asked_again(full: Office) -> None:
    body = {"project": "green"}
    await full.refused("teams.create", body=body, once="a")
    await full.do("projects.create", body={"id": "green"})
    assert (await full.do("teams.create", body=body, once="a"))["project"] == "green"


async def test_of_many_at_once_one_is_carried_out(full: Office) -> None:
    before = len(full.directory.keys)
    answers = await asyncio.gather(*(full.ask("keys.create", body=KEY, once="a") for _ in range(16)))
    assert len({answer.body for answer in answers}) == 1
    assert sum("idempotent-replayed" in answer.headers for answer in answers) == 15
    assert len(full.directory.keys) == before + 1


@pytest.mark.parametrize(
    ("operation", "target", "body"),
    [
        ("keys.rotate", "red-key", {"grace_s": 60}),
        ("teams.create", "", {"project": "red", "id": "chosen"}),
        ("projects.create", "", {"id": "green"}),
    ],
)
async def test_who_is_overtaken_by_the_same_request_is_told_the_same(
    full: Office, operation: str, target: str, body: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await full.ask(operation, target, body, once="a")
    looks, known = iter([None]), full.state.once
    monkeypatch.setattr(full.state, "once", lambda key: next(looks, known(key)))
    again = await full.ask(operation, target, body, once="a")
    assert (again.status, again.body) == (first.status, first.body)
    assert again.headers["idempotent-replayed"] == "true"


async def test_many_at_once_on_the_same_thing_lose_no_change(full: Office) -> None:
    made = await asyncio.gather(*(full.do("teams.create", body={"project": "red"}) for _ in range(24)))
    ids = {team["id"] for team in made}
    assert len(ids) == 24
    assert ids <= {team.id for team in full.directory.teams}
    assert len([act for act in full.acts() if act.action == "teams.create"]) == 24 + 2


async def test_those_who_write_here_are_not_in_one_another_s_way(
    full: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    changing, conflicts = full.state.change, list[Change]()

    def change(asked: Change) -> int:
        try:
            return changing(asked)
        except PenstockError:
            conflicts.append(asked)
            raise

    monkeypatch.setattr(full.state, "change", change)
    await asyncio.gather(*(full.do("teams.create", body={"project": "red"}) for _ in range(48)))
    assert not conflicts, "who loses twenty times is refused, and each time costs a reading of the whole directory"


async def test_who_always_comes_second_is_told_so(full: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Change] = []

    def taken(change: Change) -> int:
        tried.append(change)
        raise PenstockError(STORE_CONFLICT, "Somebody else was faster.")

    monkeypatch.setattr(full.state, "change", taken)
    assert (await full.refused("teams.create", body={"project": "red"})).fault is STORE_CONFLICT
    assert len(tried) == 20


async def test_too_much_at_once_is_refused_and_not_queued_for_ever(full: Office) -> None:
    asked = [full.ask("projects.list") for _ in range(100)]
    told = await asyncio.gather(*asked, return_exceptions=True)
    refused = [each for each in told if isinstance(each, PenstockError)]
    assert len(refused) == 36
    assert {each.fault for each in refused} == {OUT_OF_RESOURCES}
    assert (await full.ask("projects.list", as_=ROOT)).status == 200
