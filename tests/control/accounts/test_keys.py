"""Keys: told once, rotated with a grace, revoked for good; and nobody gets one that may more than they do."""

from __future__ import annotations

import pytest

from penstock.core.errors import (
    CONFLICT,
    INVALID_API_KEY,
    INVALID_VALUE,
    KEY_EXPIRED,
    KEY_REVOKED,
    NOT_FOUND,
    PERMISSION_DENIED,
    PenstockError,
)
from tests.control.accounts.office import NOW, ROOT, Office, actor


async def test_a_new_key_works_and_its_secret_is_in_no_row_and_no_later_answer(full: Office) -> None:
    made = await full.do("keys.create", body={"project": "red", "role": "developer", "name": "app"})
    secret = made["secret"]
    assert secret.startswith(f"pk-{made['key']['id']}-")
    assert full.keyring().find(secret).project == "red"
    assert secret not in (await full.ask("keys.get", made["key"]["id"])).body.decode()
    assert secret.encode() not in b"".join(act.content for act in full.acts())
    assert b"digest" not in b"".join(act.content for act in full.acts())
    dump = "\n".join(full.database._engine.raw_connection().iterdump())
    assert secret not in dump
    assert secret.removeprefix(f"pk-{made['key']['id']}-") not in dump


async def test_rotation_leaves_both_until_the_grace_ends_and_not_after(full: Office) -> None:
    made = await full.do("keys.create", body={"project": "red"})
    id, old = made["key"]["id"], made["secret"]
    turned = await full.do("keys.rotate", id, {"grace_s": 60})
    assert turned["key"]["previous_until"] == NOW + 60
    full.now = NOW + 59.9
    assert full.keyring().find(old) == full.keyring().find(turned["secret"])
    full.now = NOW + 60
    with pytest.raises(PenstockError) as caught:
        full.keyring().find(old)
    assert caught.value.fault is KEY_EXPIRED
    assert full.keyring().find(turned["secret"]).key_id == id


async def test_rotation_without_grace_ends_the_old_secret_at_once(full: Office) -> None:
    made = await full.do("keys.create", body={"project": "red"})
    await full.do("keys.rotate", made["key"]["id"], {"grace_s": 0})
    with pytest.raises(PenstockError) as caught:
        full.keyring().find(made["secret"])
    assert caught.value.fault is INVALID_API_KEY


async def test_a_body_may_be_left_out_of_a_rotation(full: Office) -> None:
    assert (await full.do("keys.rotate", "red-key"))["key"]["previous_until"] == NOW + 86400


async def test_revoking_is_for_good_and_twice_is_once(full: Office) -> None:
    made = await full.do("keys.create", body={"project": "red"})
    id = made["key"]["id"]
    await full.do("keys.rotate", id)
    first = await full.do("keys.revoke", id)
    full.now += 10
    before = len(full.acts())
    assert await full.do("keys.revoke", id) == first
    assert len(full.acts()) == before
    with pytest.raises(PenstockError) as caught:
        full.keyring().find(made["secret"])
    assert caught.value.fault in (KEY_REVOKED, INVALID_API_KEY)
    for operation, body in (("keys.rotate", None), ("keys.change", {"name": "x"})):
        error = await full.refused(operation, id, body)
        assert (error.fault, "for good" in error.message) == (CONFLICT, True)


@pytest.mark.parametrize("operation", ["keys.revoke", "keys.rotate", "keys.change"])
async def test_the_admin_key_is_not_lost_by_accident(full: Office, operation: str) -> None:
    await full.do("keys.create", body={"id": "admin", "project": "*", "role": "admin"})
    error = await full.refused(operation, "admin", {} if operation == "keys.change" else None)
    assert error.fault is CONFLICT
    assert "PENSTOCK_ADMIN_KEY" in error.message


async def test_what_is_changed_and_what_is_left_out(full: Office) -> None:
    body = {"project": "red", "name": "a", "scopes": {"services": ["chat"]}, "expires_at": "2027-01-01T00:00:00Z"}
    id = (await full.do("keys.create", body=body))["key"]["id"]
    changed = await full.do("keys.change", id, {"name": "b"})
    assert (changed["name"], changed["scopes"]["services"], changed["expires_at"]) == ("b", ["chat"], 1798761600.0)
    changed = await full.do("keys.change", id, {"expires_at": None, "scopes": {"networks": ["10.0.0.0/8"]}})
    assert (changed["expires_at"], changed["scopes"]["services"]) == (None, None)
    assert full.acts()[0].action == "keys.change"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"project": "red", "role": "develper"}, "role"),
        ({"project": "red", "user": "blue-user"}, "user"),
        ({"project": "red", "team": "blue-team"}, "team"),
        ({"project": "red", "expires_at": NOW}, "expires_at"),
        ({"project": "red", "priority": "high"}, "priority"),
        ({"project": "red", "scopes": {"networks": ["10.0.0.1/8"]}}, "scopes.networks[0]"),
        ({"project": "red", "id": "Up"}, "id"),
        ({}, "project"),
    ],
)
async def test_what_cannot_be_is_refused_with_the_field(full: Office, body: dict[str, object], param: str) -> None:
    error = await full.refused("keys.create", body=body)
    assert (error.fault, error.param) == (INVALID_VALUE, param)


async def test_nobody_gives_away_what_they_do_not_have(full: Office) -> None:
    admin = actor("admin")
    error = await full.refused("keys.create", body={"role": "owner"}, as_=admin)
    assert error.fault is PERMISSION_DENIED
    assert "roles:write" in error.message
    assert (await full.do("keys.create", body={"role": "admin"}, as_=admin))["key"]["project"] == "red"
    error = await full.refused("keys.create", body={"role": "viewer", "project": "*"}, as_=admin)
    assert error.fault is PERMISSION_DENIED


@pytest.mark.parametrize("operation", ["keys.rotate", "keys.change"])
async def test_nobody_takes_over_a_key_that_may_more(full: Office, operation: str) -> None:
    owner = (await full.do("keys.create", body={"project": "red", "role": "owner"}))["key"]["id"]
    body = {"name": "mine"} if operation == "keys.change" else None
    assert (await full.refused(operation, owner, body, as_=actor("admin"))).fault is PERMISSION_DENIED
    assert (await full.do(operation, owner, body, as_=actor("owner"))) is not None


@pytest.mark.parametrize(
    ("mine", "theirs", "field"),
    [
        ({"services": ["chat"]}, {}, "services"),
        ({"services": ["chat"]}, {"services": ["chat", "code"]}, "services"),
        ({"models": ["m"]}, {"models": ["n"]}, "models"),
        ({"networks": ["10.0.0.0/8"]}, {"networks": ["0.0.0.0/0"]}, "networks"),
        ({"networks": ["10.0.0.0/8"]}, {"networks": ["::/0"]}, "networks"),
        ({"networks": ["10.0.0.0/8"]}, {}, "networks"),
    ],
)
async def test_a_bounded_key_makes_none_with_wider_bounds(
    full: Office, mine: dict[str, object], theirs: dict[str, object], field: str
) -> None:
    id = (await full.do("keys.create", body={"project": "red", "role": "owner", "scopes": mine}))["key"]["id"]
    bounded = actor("owner", key_id=id)
    error = await full.refused("keys.create", body={"scopes": theirs}, as_=bounded)
    assert (error.fault, error.param) == (PERMISSION_DENIED, f"scopes.{field}")
    assert (await full.refused("keys.rotate", "red-key", as_=bounded)).fault is PERMISSION_DENIED
    assert (await full.refused("keys.change", id, {"scopes": {}}, as_=bounded)).fault is PERMISSION_DENIED
    assert (await full.do("keys.create", body={"scopes": mine}, as_=bounded))["secret"]
    if "10.0.0.0/8" in mine.get("networks", ()):  # type: ignore[operator]
        narrower = {"scopes": {"networks": ["10.1.0.0/16"]}}
        assert (await full.do("keys.create", body=narrower, as_=bounded))["secret"]


async def test_ids_are_chosen_only_where_a_taken_one_tells_nothing(full: Office) -> None:
    taken = await full.refused("keys.create", body={"id": "blue-key"}, as_=actor("owner"))
    free = await full.refused("keys.create", body={"id": "nobody-has-it"}, as_=actor("owner"))
    assert (taken.fault, taken.message) == (free.fault, free.message)
    assert taken.fault is PERMISSION_DENIED
    assert (await full.refused("keys.create", body={"project": "red", "id": "red-key"}, as_=ROOT)).fault is CONFLICT


async def test_an_archived_project_gets_no_keys_until_it_is_restored(full: Office) -> None:
    await full.do("projects.archive", "red")
    assert (await full.refused("keys.create", body={"project": "red"})).fault is CONFLICT
    await full.do("projects.restore", "red")
    assert (await full.do("keys.create", body={"project": "red"}))["secret"]


async def test_the_keys_of_another_project_are_not_there(full: Office) -> None:
    red = actor("owner")
    assert {key["id"] for key in (await full.do("keys.list", as_=red))["data"]} == {"red-key"}
    for operation in ("keys.get", "keys.rotate", "keys.revoke", "keys.change"):
        body = {} if operation == "keys.change" else None
        foreign = await full.refused(operation, "blue-key", body, as_=red)
        unknown = await full.refused(operation, "gray-key", body, as_=red)
        assert foreign.fault is unknown.fault is NOT_FOUND
        assert foreign.message.replace("blue", "gray") == unknown.message
