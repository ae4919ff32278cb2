"""Roles: the builtin ones, and those that the operator has made. Nobody grants what they do not have."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, UnsetType

from penstock.access.roles import BUILTIN, check_role, may_grant, permissions_of
from penstock.control.accounts.sight import not_found
from penstock.control.accounts.turn import (
    Gone,
    Id,
    Outcome,
    Page,
    Text,
    Turn,
    conflict,
    denied,
    given_fields,
    invalid,
    near,
    page,
)
from penstock.core.accounts import Directory, Role
from penstock.core.administration import Actor

Permissions = Annotated[tuple[Id, ...], msgspec.Meta(max_length=64)]


class RoleView(msgspec.Struct, frozen=True, kw_only=True):
    """A role. `builtin` ones cannot be changed."""

    name: str
    object: Literal["role"] = "role"
    permissions: tuple[str, ...]
    description: str = ""
    builtin: bool = False


class CreateRole(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new role."""

    name: Id
    permissions: Permissions
    description: Text = ""


class ChangeRole(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is left out stays."""

    permissions: Permissions | UnsetType = UNSET
    description: Text | UnsetType = UNSET


def shown(role: Role) -> RoleView:
    return msgspec.convert(role, RoleView, from_attributes=True)


def check_grant(directory: Directory, actor: Actor, role: str, param: str) -> None:
    """Whether the actor may give somebody the role. Raises ``PenstockError`` (INVALID_VALUE, PERMISSION_DENIED)."""
    granted = permissions_of(role, directory.roles)
    if granted is None:
        known = {*BUILTIN, *(each.name for each in directory.roles)}
        raise invalid(param, f"There is no role '{role}'. {near(role, known)}")
    _check(actor, granted, f"The role '{role}'", param)


def listed(directory: Directory, turn: Turn, _: None) -> Page:
    return page(turn, ((each.name, each) for each in (*BUILTIN.values(), *_custom(directory))), shown)


def one(directory: Directory, turn: Turn, _: None) -> RoleView:
    return shown(_found(directory, turn.target))


def create(directory: Directory, turn: Turn, asked: CreateRole) -> Outcome:
    made = Role(name=asked.name, permissions=tuple(sorted(set(asked.permissions))), description=asked.description)
    check_role(made)
    if made.name in {each.name for each in directory.roles}:
        raise conflict(f"There is a role '{made.name}' already. Change that one, or choose another name.", "name")
    _check(turn.actor, made.permissions, "It", "permissions")
    return Outcome(answer=shown(made), put=(made,), target=made.name, after=shown(made))


def change(directory: Directory, turn: Turn, asked: ChangeRole) -> Outcome:
    role = _changeable(directory, turn.target)
    new = msgspec.structs.replace(role, **given_fields(asked))
    new = msgspec.structs.replace(new, permissions=tuple(sorted(set(new.permissions))))
    check_role(new)
    _check(turn.actor, new.permissions, "It", "permissions")
    put = (new,) if new != role else ()
    return Outcome(answer=shown(new), put=put, target=role.name, before=shown(role), after=shown(new))


def delete(directory: Directory, turn: Turn, _: None) -> Outcome:
    role = _changeable(directory, turn.target)
    keys = sum(key.role == role.name and key.revoked_at is None for key in directory.keys)
    users = sum(any(m.role == role.name for m in user.memberships) for user in directory.users)
    if keys or users:
        raise conflict(
            f"The role '{role.name}' is that of {keys} keys and {users} users. Revoke the keys, and give the users "
            "another role, first."
        )
    gone = Gone(object="role", id=role.name)
    return Outcome(answer=gone, remove=(("role", role.name),), target=role.name, before=shown(role))


def _custom(directory: Directory) -> tuple[Role, ...]:
    return tuple(each for each in directory.roles if each.name not in BUILTIN)


def _found(directory: Directory, name: str) -> Role:
    for role in (*BUILTIN.values(), *_custom(directory)):
        if role.name == name:
            return role
    raise not_found("role", name)


def _changeable(directory: Directory, name: str) -> Role:
    role = _found(directory, name)
    if role.builtin:
        raise conflict(f"The role '{name}' is built in. Make one of your own with POST /admin/v1/roles.")
    return role


def _check(actor: Actor, granted: frozenset[str] | tuple[str, ...], what: str, param: str) -> None:
    if not may_grant(actor.permissions, granted):
        beyond = sorted(frozenset(granted) - actor.permissions)
        raise denied(
            f"{what} has permissions that this key does not have ({', '.join(beyond[:5])}), and nobody grants what "
            "they do not have. Choose a role with less, or use a key with more.",
            param,
        )
