"""Roles: named sets of permissions. Each administrative route asks for one permission; the role of whoever calls has
it or not. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from types import MappingProxyType

from penstock.core.accounts import Role
from penstock.core.errors import CONFLICT, INVALID_VALUE, PenstockError

PERMISSIONS: Mapping[str, str] = MappingProxyType(
    {
        "call": "Use models: every route under /v1 that an engine works for.",
        "projects:read": "See projects.",
        "projects:write": "Make, change and archive projects.",
        "teams:read": "See teams.",
        "teams:write": "Make, change and remove teams.",
        "users:read": "See people and service accounts, and what they may do.",
        "users:write": "Make, change and disable people and service accounts.",
        "keys:read": "See keys: their names, scopes and last use, never a secret.",
        "keys:write": "Make, change, rotate and revoke keys.",
        "roles:read": "See roles and their permissions.",
        "roles:write": "Make, change and remove custom roles.",
        "limits:read": "See limits.",
        "limits:write": "Set and remove limits.",
        "budgets:read": "See budgets and what is left of them.",
        "budgets:write": "Set and remove budgets.",
        "prices:read": "See prices.",
        "prices:write": "Set and remove prices.",
        "usage:read": "See and export what the whole project used and paid.",
        "usage:own": "See what one's own key, or user, used and paid.",
        "audit:read": "Read the audit, prompts and replies included where they are kept.",
        "audit:verify": "Check that the audit is whole.",
        "audit:redact": "Empty the content of audit rows for good.",
        "deployment:read": "See what is deployed.",
        "deployment:write": "Change what is deployed.",
        "releases:read": "See releases, model versions, prompts, splits and rollouts.",
        "releases:write": "Make and change them: releases, prompts, aliases, splits and rollouts, rollbacks too.",
        "live:read": "Watch requests, replicas and queues as they are now.",
        "requests:read": "See the log of requests and charts of them; not what was said.",
        "requests:content": "Read prompts and replies in the log of requests, where they are kept.",
        "subjects:erase": "Erase what is kept of a person.",
        "alerts:read": "See objectives, alerts and silences.",
        "alerts:write": "Silence alerts.",
        "caches:read": "See what was invalidated in caches, and how semantic ones stand.",
        "caches:write": "Invalidate what caches keep.",
    }
)
"""Every permission there is, and what it allows. The names are stable."""

_ALL = frozenset(PERMISSIONS)
_SEEING = {name for name in PERMISSIONS if name.endswith(":read") and name != "audit:read"} | {"usage:own"}

BUILTIN: Mapping[str, Role] = MappingProxyType(
    {
        name: Role(name=name, permissions=tuple(sorted(permissions)), description=description, builtin=True)
        for name, description, permissions in (
            ("owner", "Everything.", _ALL),
            (
                "admin",
                "Everything but to define roles and to redact the audit.",
                _ALL - {"roles:write", "audit:redact"},
            ),
            (
                "operator",
                "Keeps the gateway running: what is deployed and released, limits, what happens now.",
                _SEEING
                | {"call", "deployment:write", "releases:write", "limits:write", "alerts:write", "caches:write"},
            ),
            (
                "reviewer",
                "Sees everything, the audit included, and changes nothing.",
                _SEEING | {"audit:read", "audit:verify", "requests:content"},
            ),
            (
                "developer",
                "Uses models, and sees its own usage.",
                {"call", "usage:own", "projects:read", "limits:read", "budgets:read", "releases:read"},
            ),
            ("viewer", "Sees everything but the audit, and changes nothing.", _SEEING),
            (
                "billing",
                "Sees usage, and sets budgets and prices.",
                {"usage:read", "usage:own", "projects:read"}
                | {"budgets:read", "budgets:write", "prices:read", "prices:write"},
            ),
        )
    }
)
"""The roles that every gateway has, by name. A custom role never takes the name of one."""

_SETS = {name: frozenset(role.permissions) for name, role in BUILTIN.items()}
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")


def permissions_of(role: str, custom: Sequence[Role] = ()) -> frozenset[str] | None:
    """What a role allows, by its name; None when there is no such role.

    A permission that is unknown here, left by a newer Penstock that shares the store, allows nothing.
    """
    found = _SETS.get(role)
    if found is not None:
        return found
    for each in custom:
        if each.name == role:
            return _ALL.intersection(each.permissions)
    return None


def may_grant(actor: Set[str], role: Iterable[str]) -> bool:
    """Whether somebody with the permissions ``actor`` may give away, or define, a role with the permissions ``role``:
    nobody grants what they do not have."""
    return actor >= frozenset(role)


def check_role(role: Role) -> None:
    """Whether a custom role may be kept. Raises ``PenstockError``: ``INVALID_VALUE`` for a bad name or a permission
    that does not exist, naming the nearest that does; ``CONFLICT`` for the name of a builtin role."""
    if not _NAME.match(role.name):
        raise PenstockError(
            INVALID_VALUE,
            f"The role's name {role.name[:80]!r} cannot be used: it has 1 to 64 of a-z, 0-9, '.', '_' and '-', and "
            "begins with a letter or a digit.",
            param="name",
        )
    if role.name in BUILTIN:
        raise PenstockError(
            CONFLICT, f"The role '{role.name}' is built in and cannot be changed; choose another name.", param="name"
        )
    for place, name in enumerate(role.permissions):
        if name not in PERMISSIONS:
            near = difflib.get_close_matches(name[:80], PERMISSIONS, n=1, cutoff=0.5)
            mend = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(PERMISSIONS)}."
            raise PenstockError(
                INVALID_VALUE, f"There is no permission {name[:80]!r}; {mend}", param=f"permissions[{place}]"
            )
