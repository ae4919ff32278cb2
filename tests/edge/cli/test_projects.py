"""``penstock projects``, ``teams``, ``users`` and ``roles``: what is asked of the gateway, and what is shown."""

from __future__ import annotations

import msgspec
import pytest

from penstock.control.accounts.projects import ChangeProject, CreateProject, ProjectView
from penstock.control.accounts.roles import ChangeRole, CreateRole, RoleView
from penstock.control.accounts.teams import ChangeTeam, CreateTeam, TeamView
from penstock.control.accounts.turn import Gone
from penstock.control.accounts.users import ChangeUser, CreateUser, Member, UserView
from penstock.edge.cli.main import main
from tests.edge.cli.accounts import Accounts

RED = ProjectView(id="red", name="Team Red", created_at=0.0)
TEAM = TeamView(id="search", project="red", name="Search", created_at=0.0)
ADA = UserView(
    id="user_1",
    kind="person",
    name="Ada",
    email="ada@example.com",
    issuer="",
    subject="",
    memberships=(Member("red", "admin"), Member("blue", "viewer", "search")),
    created_at=0.0,
    disabled_at=None,
)
ROLE = RoleView(name="support", permissions=("call", "usage:read"))
Out = pytest.CaptureFixture[str]
replace = msgspec.structs.replace


def test_a_project_is_made_listed_changed_archived_and_restored(gateway_accounts: Accounts, capsys: Out) -> None:
    gateway_accounts.answer("projects.create", RED)
    assert main(["projects", "create", "red", "--name", "Team Red", "--capture", "hashes"]) == 0
    assert gateway_accounts.bodies("projects.create") == [
        CreateProject(id="red", name="Team Red", capture="hashes"),
    ]
    gateway_accounts.list("projects.list", RED, replace(RED, id="old", archived_at=0.0))
    assert main(["projects", "list"]) == 0
    assert (
        "old  Team Red  normal    -        -    1970-01-01T00:00:00Z  1970-01-01T00:00:00Z" in capsys.readouterr().out
    )
    gateway_accounts.answer("projects.change", RED)
    assert main(["projects", "update", "red", "--capture", "gateway"]) == 0
    gateway_accounts.answer("projects.change", RED)
    assert main(["projects", "update", "red", "--log", "masked"]) == 0
    gateway_accounts.answer("projects.change", RED)
    assert main(["projects", "update", "red", "--log", "gateway"]) == 0
    assert gateway_accounts.bodies("projects.change") == [
        ChangeProject(capture=""),
        ChangeProject(log="masked"),
        ChangeProject(log=""),
    ]
    gateway_accounts.answer("projects.archive", RED)
    assert main(["projects", "archive", "red", "-y"]) == 0
    gateway_accounts.answer("projects.restore", RED)
    assert main(["projects", "restore", "red"]) == 0
    assert [asked.target for asked in gateway_accounts.asked[-2:]] == ["red", "red"]
    assert main(["projects", "update", "red"]) == 1
    assert main(["projects", "archive", "red"]) == 2


def test_teams(gateway_accounts: Accounts, capsys: Out) -> None:
    gateway_accounts.answer("teams.create", TEAM)
    assert main(["teams", "create", "--project", "red", "--name", "Search"]) == 0
    assert gateway_accounts.bodies("teams.create") == [CreateTeam(project="red", name="Search")]
    gateway_accounts.list("teams.list", TEAM)
    assert main(["teams", "list", "--project", "red"]) == 0
    gateway_accounts.answer("teams.change", TEAM)
    assert main(["teams", "update", "search", "--name", "Find"]) == 0
    assert gateway_accounts.bodies("teams.change") == [ChangeTeam(name="Find")]
    gateway_accounts.answer("teams.get", TEAM)
    assert main(["teams", "show", "search"]) == 0
    gateway_accounts.answer("teams.delete", Gone(object="team", id="search"))
    assert main(["teams", "delete", "search", "--yes"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "Team search is deleted."


def test_a_user_is_made_with_memberships(gateway_accounts: Accounts, capsys: Out) -> None:
    gateway_accounts.answer("users.create", ADA)
    assert main(["users", "create", "--name", "Ada", "--member", "red:admin", "--member", "*:viewer"]) == 0
    (asked,) = gateway_accounts.bodies("users.create")
    assert asked == CreateUser(name="Ada", memberships=(Member("red", "admin"), Member("*", "viewer")))
    gateway_accounts.list("users.list", ADA, replace(ADA, id="user_2", disabled_at=0.0))
    assert main(["users", "list"]) == 0
    out = capsys.readouterr().out
    assert "red:admin, blue:viewer:search  enabled" in out
    assert "disabled 1970-01-01T00:00:00Z" in out
    assert main(["users", "create", "--member", "red"]) == 2
    assert "write PROJECT:ROLE" in capsys.readouterr().err


def test_memberships_that_are_not_mentioned_stay(gateway_accounts: Accounts, capsys: Out) -> None:
    gateway_accounts.answer("users.get", ADA)
    gateway_accounts.answer("users.change", ADA)
    assert main(["users", "update", "user_1", "--leave", "red", "--member", "green:developer", "--yes"]) == 0
    wanted = (Member("blue", "viewer", "search"), Member("green", "developer"))
    assert gateway_accounts.bodies("users.change") == [ChangeUser(memberships=wanted)]
    gateway_accounts.answer("users.get", ADA)
    assert main(["users", "update", "user_1", "--leave", "green", "--yes"]) == 1
    assert "no member of 'green'; it is of red, blue" in capsys.readouterr().err
    gateway_accounts.answer("users.change", ADA)
    assert main(["users", "disable", "user_1"]) == 0
    assert gateway_accounts.bodies("users.change")[-1] == ChangeUser(disabled=True)
    gateway_accounts.answer("users.change", ADA)
    assert main(["users", "enable", "user_1"]) == 0
    assert gateway_accounts.bodies("users.change")[-1] == ChangeUser(disabled=False)


def test_roles(gateway_accounts: Accounts, capsys: Out) -> None:
    gateway_accounts.answer("roles.create", ROLE)
    assert main(["roles", "create", "support", "--permission", "call", "--permission", "usage:read"]) == 0
    assert gateway_accounts.bodies("roles.create") == [CreateRole(name="support", permissions=("call", "usage:read"))]
    gateway_accounts.answer("roles.get", ROLE)
    assert main(["roles", "show", "support"]) == 0
    assert "call, usage:read" in capsys.readouterr().out
    gateway_accounts.list("roles.list", ROLE)
    assert main(["roles", "list"]) == 0
    gateway_accounts.answer("roles.change", ROLE)
    assert main(["roles", "update", "support", "--description", "Helps."]) == 0
    assert gateway_accounts.bodies("roles.change") == [ChangeRole(description="Helps.")]
    gateway_accounts.answer("roles.delete", Gone(object="role", id="support"))
    assert main(["roles", "delete", "support", "--yes"]) == 0
