"""Projects, teams, users and roles: what may be changed by whom, and what stands in the way."""

from __future__ import annotations

import json

import pytest

from penstock.core.accounts import Membership
from penstock.core.errors import CONFLICT, INVALID_VALUE, NOT_FOUND, PERMISSION_DENIED
from tests.control.accounts.office import NOW, ROOT, Office, actor


async def test_every_change_is_in_the_audit_with_before_and_after(full: Office) -> None:
    await full.do("projects.change", "red", {"name": "Redder"})
    act = full.acts()[0]
    assert (act.actor, act.action, act.target, act.project) == ("root", "projects.change", "red", "red")
    assert (act.address, act.request_id, act.at) == ("192.0.2.7", "req_1", NOW)
    content = json.loads(act.content)
    assert (content["before"]["name"], content["after"]["name"]) == ("Red", "Redder")


async def test_a_change_that_changes_nothing_makes_no_row_and_no_version(full: Office) -> None:
    rows, version, told = len(full.acts()), full.state.version(), full.changes
    for operation, target, body in (
        ("projects.change", "red", {"name": "Red"}),
        ("projects.restore", "red", None),
        ("teams.change", "red-team", {}),
        ("limits.change", "red-key-limit", {"amount": 9}),
        ("budgets.change", "red-key-budget", {"amount": "10.00"}),
    ):
        await full.do(operation, target, body)
    assert (len(full.acts()), full.state.version(), full.changes) == (rows, version, told)


async def test_a_project_renames_itself_but_raises_no_bound_of_its_own(full: Office) -> None:
    red = actor("owner")
    assert (await full.do("projects.change", "red", {"name": "R"}, as_=red))["name"] == "R"
    for field, value in (("priority", "high"), ("capture", "none")):
        error = await full.refused("projects.change", "red", {field: value}, as_=red)
        assert (error.fault, error.param) == (PERMISSION_DENIED, field)
    for operation, body in (("projects.create", {"id": "x"}), ("projects.archive", None)):
        assert (await full.refused(operation, "red", body, as_=red)).fault is PERMISSION_DENIED
    # It may keep less of what is said than it did, and not more.
    for word in ("all", "masked", "none"):
        assert (await full.do("projects.change", "red", {"log": word}, as_=red))["log"] == word
    for word in ("sampled", ""):
        error = await full.refused("projects.change", "red", {"log": word}, as_=red)
        assert (error.fault, error.param) == (PERMISSION_DENIED, "log")
    assert (await full.do("projects.change", "red", {"log": "all"}))["log"] == "all"
    secret = (await full.do("keys.create", body={"project": "red"}))["secret"]
    assert full.keyring().find(secret).log == "all"


@pytest.mark.parametrize("id", ["*", "Red", "-x", "a/b", "a b", "", "x" * 65, "ré", "a\n"])
async def test_ids_are_plain(full: Office, id: str) -> None:
    assert (await full.refused("projects.create", body={"id": id})).fault is INVALID_VALUE


async def test_an_id_is_used_once(full: Office) -> None:
    assert (await full.refused("projects.create", body={"id": "red"})).fault is CONFLICT
    assert (await full.refused("teams.create", body={"id": "red-team", "project": "blue"})).fault is CONFLICT


async def test_a_team_with_members_stays(full: Office) -> None:
    error = await full.refused("teams.delete", "red-team")
    assert error.fault is CONFLICT
    assert "1 members and 1 keys" in error.message
    id = (await full.do("teams.create", body={}, as_=actor("owner")))["id"]
    assert await full.do("teams.delete", id, as_=actor("owner")) == {"object": "team", "id": id, "deleted": True}
    assert (await full.refused("teams.get", id)).fault is NOT_FOUND


# -- users -------------------------------------------------------------------------------------------------------


async def test_a_project_makes_users_of_its_own_only(full: Office) -> None:
    red = actor("owner")
    made = await full.do("users.create", body={"memberships": [{"project": "red", "role": "viewer"}]}, as_=red)
    assert made["memberships"] == [{"project": "red", "role": "viewer", "team": ""}]
    for memberships, fault in (
        ([], INVALID_VALUE),
        ([{"project": "blue", "role": "viewer"}], NOT_FOUND),
        ([{"project": "gray", "role": "viewer"}], NOT_FOUND),
        ([{"project": "*", "role": "viewer"}], PERMISSION_DENIED),
        ([{"project": "red", "role": "viewer", "team": "blue-team"}], NOT_FOUND),
        ([{"project": "red", "role": "viewer"}] * 2, INVALID_VALUE),
        ([{"project": "red", "role": "vewer"}], INVALID_VALUE),
    ):
        assert (await full.refused("users.create", body={"memberships": memberships}, as_=red)).fault is fault


async def test_a_role_is_given_only_by_who_has_it(full: Office) -> None:
    owner = {"memberships": [{"project": "red", "role": "owner"}]}
    assert (await full.refused("users.create", body=owner, as_=actor("admin"))).fault is PERMISSION_DENIED
    assert (await full.refused("users.change", "red-user", owner, as_=actor("admin"))).fault is PERMISSION_DENIED
    assert (await full.do("users.change", "red-user", owner, as_=actor("owner")))["memberships"][0]["role"] == "owner"


async def test_a_user_of_two_projects_is_seen_by_each_as_its_own(full: Office) -> None:
    both = [{"project": name, "role": "developer"} for name in ("red", "blue")]
    await full.do("users.create", body={"id": "two", "memberships": both})
    red = actor("owner")
    assert [m["project"] for m in (await full.do("users.get", "two", as_=red))["memberships"]] == ["red"]
    for body in ({"name": "x"}, {"disabled": True}):
        assert (await full.refused("users.change", "two", body, as_=red)).fault is PERMISSION_DENIED
    await full.do("users.change", "two", {"memberships": []}, as_=red)
    assert [user.memberships for user in full.directory.users if user.id == "two"] == [
        (Membership("blue", "developer"),)
    ]
    assert (await full.refused("users.get", "two", as_=red)).fault is NOT_FOUND


async def test_who_leaves_a_project_loses_the_keys_there(full: Office) -> None:
    await full.do("users.change", "red-user", {"memberships": []})
    assert full.key("red-key").revoked_at == NOW
    assert full.key("blue-key").revoked_at is None


async def test_identities_of_tokens_are_given_for_the_whole_gateway_and_once(full: Office) -> None:
    identity = {"issuer": "https://id.example.com", "subject": "s1"}
    error = await full.refused("users.change", "red-user", identity, as_=actor("owner"))
    assert error.fault is PERMISSION_DENIED
    await full.do("users.change", "red-user", identity)
    assert (await full.refused("users.change", "blue-user", identity)).fault is CONFLICT
    assert (await full.refused("users.change", "blue-user", {"issuer": "x"})).fault is INVALID_VALUE


async def test_a_user_is_disabled_and_enabled(full: Office) -> None:
    assert (await full.do("users.change", "red-user", {"disabled": True}))["disabled_at"] == NOW
    full.now += 5
    assert (await full.do("users.change", "red-user", {"disabled": True}))["disabled_at"] == NOW
    assert (await full.do("users.change", "red-user", {"disabled": False}))["disabled_at"] is None


# -- roles -------------------------------------------------------------------------------------------------------


async def test_custom_roles(full: Office) -> None:
    made = await full.do("roles.create", body={"name": "auditor", "permissions": ["audit:read", "audit:read"]})
    assert made["permissions"] == ["audit:read"]
    listed = [role["name"] for role in (await full.do("roles.list"))["data"]]
    assert "auditor" in listed
    assert "owner" in listed
    await full.do("keys.create", body={"project": "red", "role": "auditor"})
    assert (await full.refused("roles.delete", "auditor")).fault is CONFLICT
    changed = await full.do("roles.change", "auditor", {"permissions": ["audit:read", "audit:verify"]})
    assert changed["permissions"] == ["audit:read", "audit:verify"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"name": "owner", "permissions": []}, "name"),
        ({"name": "x", "permissions": ["keys:wrte"]}, "permissions[0]"),
        ({"name": "X", "permissions": []}, "name"),
    ],
)
async def test_roles_that_cannot_be(full: Office, body: dict[str, object], param: str) -> None:
    assert (await full.refused("roles.create", body=body)).param == param


async def test_builtin_roles_stay_as_they_are(full: Office) -> None:
    assert (await full.refused("roles.change", "viewer", {"permissions": ["call"]})).fault is CONFLICT
    assert (await full.refused("roles.delete", "viewer")).fault is CONFLICT


async def test_no_role_is_defined_with_more_than_one_has(full: Office) -> None:
    maker = type(ROOT)(
        key_id="m", project="default", everywhere=True, permissions=frozenset({"roles:write", "roles:read"})
    )
    error = await full.refused("roles.create", body={"name": "x", "permissions": ["keys:write"]}, as_=maker)
    assert error.fault is PERMISSION_DENIED
    await full.do("roles.create", body={"name": "x", "permissions": ["roles:read"]}, as_=maker)
    error = await full.refused("roles.change", "x", {"permissions": ["keys:write"]}, as_=maker)
    assert error.fault is PERMISSION_DENIED
