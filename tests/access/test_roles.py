"""What each role may, and that nobody gives away more than they have."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.access.roles import BUILTIN, PERMISSIONS, check_role, may_grant, permissions_of
from penstock.core.accounts import Role
from penstock.core.errors import CONFLICT, INVALID_VALUE, PenstockError

ALL = frozenset(PERMISSIONS)


def test_the_builtin_roles_are_these() -> None:
    assert tuple(BUILTIN) == ("owner", "admin", "operator", "reviewer", "developer", "viewer", "billing")
    assert all(role.builtin and role.description and ALL.issuperset(role.permissions) for role in BUILTIN.values())


def test_an_owner_may_everything_and_an_admin_all_but_two_things() -> None:
    assert permissions_of("owner") == ALL
    assert permissions_of("admin") == ALL - {"roles:write", "audit:redact"}


@pytest.mark.parametrize("role", ["reviewer", "viewer"])
def test_who_only_looks_changes_nothing(role: str) -> None:
    held = permissions_of(role)
    assert held is not None
    assert not [name for name in held if name.endswith((":write", ":redact"))]
    assert "call" not in held


def test_only_some_read_the_audit() -> None:
    readers = {name for name in BUILTIN if "audit:read" in (permissions_of(name) or ())}
    assert readers == {"owner", "admin", "reviewer"}


def test_whoever_sees_all_usage_sees_their_own() -> None:
    for role in BUILTIN.values():
        assert "usage:read" not in role.permissions or "usage:own" in role.permissions


def test_a_custom_role_is_found_by_name_and_never_hides_a_builtin_one() -> None:
    custom = (
        Role(name="caller", permissions=("call", "from:the-future")),
        Role(name="viewer", permissions=("call",)),
    )
    assert permissions_of("caller", custom) == {"call"}
    assert permissions_of("viewer", custom) == permissions_of("viewer")
    assert permissions_of("nobody", custom) is None


def test_an_unknown_permission_names_the_nearest() -> None:
    with pytest.raises(PenstockError, match="did you mean 'keys:write'") as caught:
        check_role(Role(name="mine", permissions=("call", "key:writes")))
    assert caught.value.fault is INVALID_VALUE
    assert caught.value.param == "permissions[1]"
    with pytest.raises(PenstockError, match="there are: call, "):
        check_role(Role(name="mine", permissions=("@@@@@@@@@@@",)))


@pytest.mark.parametrize(("name", "fault"), [("admin", CONFLICT), ("", INVALID_VALUE), ("A b", INVALID_VALUE)])
def test_some_names_cannot_be_taken(name: str, fault: object) -> None:
    with pytest.raises(PenstockError) as caught:
        check_role(Role(name=name, permissions=("call",)))
    assert caught.value.fault is fault


def test_a_good_custom_role_passes() -> None:
    check_role(Role(name="on-call.2", permissions=("call", "live:read")))


some = st.frozensets(st.sampled_from(sorted(ALL)))


@given(some, some)
def test_nobody_grants_what_they_do_not_have(actor: frozenset[str], role: frozenset[str]) -> None:
    assert may_grant(actor, role) == (not role - actor)
    assert may_grant(ALL, role)
