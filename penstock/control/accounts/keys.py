"""Keys: made, changed, rotated and revoked. A secret is told once, in the answer that makes it."""

from __future__ import annotations

import datetime
import ipaddress
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, UnsetType

from penstock.access.scopes import check_scopes
from penstock.control.accounts.projects import Level
from penstock.control.accounts.roles import check_grant
from penstock.control.accounts.sight import key_of, live_project, project_of, sees, team_of, user_of
from penstock.control.accounts.turn import (
    Minted,
    Outcome,
    Page,
    Text,
    Time,
    Turn,
    Word,
    chosen_id,
    conflict,
    denied,
    given_fields,
    invalid,
    page,
    seconds,
)
from penstock.core.accounts import EVERYWHERE, Directory, KeyRecord, Scopes
from penstock.core.errors import PenstockError

BOOTSTRAP = "admin"
"""The key that every gateway makes for itself when it first starts."""

LONGEST_GRACE_S = 30 * 86400.0

_RANK = {"low": 0, "normal": 1, "high": 2}
_SCOPES = ("services", "models", "endpoints", "tools")

Names = Annotated[tuple[str, ...], msgspec.Meta(max_length=256)]


class ScopesForm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a key may be used for; null: no bound. `endpoints` by path (`/v1/chat/completions`), `tools` by function
    name, `networks` as CIDR that the client's address is in."""

    services: Names | None = None
    models: Names | None = None
    endpoints: Names | None = None
    tools: Names | None = None
    networks: Names | None = None


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    """A key, without its secret. `project` is `*` where it is for the whole gateway. Until `previous_until` the
    secret from before the last rotation works too. `pepper` and `previous_pepper` are the names of what the two are
    hashed under."""

    id: str
    object: Literal["key"] = "key"
    project: str
    role: str
    name: str
    user: str
    team: str
    scopes: ScopesForm
    priority: Literal["", "high", "normal", "low"]
    created_at: float
    created_by: str
    expires_at: float | None
    revoked_at: float | None
    last_used_at: float | None
    previous_until: float | None
    pepper: str = ""
    previous_pepper: str = ""


class KeySecret(msgspec.Struct, frozen=True, kw_only=True):
    """A new secret. It is told here and never again."""

    key: KeyView
    object: Literal["key_secret"] = "key_secret"
    secret: str = ""

    def __repr__(self) -> str:
        return f"KeySecret({self.key.id!r})"


class CreateKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new key. `project` default: that of the key that asks; `*`: the whole gateway. `user` is whom it acts for.
    `priority` is the best that it may claim, empty: its project's. `expires_at` null: never. `id`, its public part,
    default: one is made."""

    project: Word = ""
    role: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] = "developer"
    name: Text = ""
    user: Word = ""
    team: Word = ""
    scopes: ScopesForm = ScopesForm()
    priority: Literal["", "high", "normal", "low"] = ""
    expires_at: Time | None = None
    id: Word = ""


class ChangeKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is left out stays. `scopes` takes the place of all scopes."""

    name: Text | UnsetType = UNSET
    scopes: ScopesForm | UnsetType = UNSET
    priority: Literal["", "high", "normal", "low"] | UnsetType = UNSET
    expires_at: Time | UnsetType | None = UNSET


class RotateKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new secret; the one before works for `grace_s` seconds more, at most 30 days. One that was still in its grace
    from an earlier rotation ends at once."""

    grace_s: Annotated[float, msgspec.Meta(ge=0, le=LONGEST_GRACE_S)] = 86400.0


def shown(key: KeyRecord) -> KeyView:
    return msgspec.convert(key, KeyView, from_attributes=True)


def listed(directory: Directory, turn: Turn, _: None) -> Page:
    asked = {name: turn.query.get(name) for name in ("project", "user", "team", "role")}
    rows = (
        key
        for key in directory.keys
        if sees(turn.actor, key.project) and all(want in (None, getattr(key, name)) for name, want in asked.items())
    )
    return page(turn, ((key.id, key) for key in rows), shown)


def one(directory: Directory, turn: Turn, _: None) -> KeyView:
    return shown(key_of(directory, turn.actor, turn.target))


def create(directory: Directory, turn: Turn, asked: CreateKey) -> Outcome:
    if asked.project == EVERYWHERE:
        if not turn.actor.everywhere:
            raise denied("A key for the whole gateway ('*') is made with such a key.", "project")
        project = EVERYWHERE
    else:
        project = live_project(directory, turn, asked.project)
    check_grant(directory, turn.actor, asked.role, "role")
    _check_people(directory, turn, asked, project)
    scopes = msgspec.convert(asked.scopes, Scopes, from_attributes=True)
    check_scopes(scopes)
    _check_within(directory, turn, scopes)
    _check_priority(directory, turn, project, asked.priority)
    id = chosen_id(turn, asked.id, "", {key.id for key in directory.keys})
    minted = turn.mint(id)
    made = KeyRecord(
        id=id,
        digest=minted.digest,
        pepper=minted.pepper,
        project=project,
        role=asked.role,
        name=asked.name,
        user=asked.user,
        team=asked.team,
        scopes=scopes,
        priority=asked.priority,
        created_at=turn.now,
        created_by=turn.actor.key_id,
        expires_at=_expiry(turn, asked.expires_at),
    )
    return _told(made, minted, None)


def change(directory: Directory, turn: Turn, asked: ChangeKey) -> Outcome:
    key = _changeable(directory, turn)
    fields = given_fields(asked)
    if asked.scopes is not UNSET:
        scopes = msgspec.convert(asked.scopes, Scopes, from_attributes=True)
        check_scopes(scopes)
        _check_within(directory, turn, scopes)
        fields["scopes"] = scopes
    if asked.priority is not UNSET:
        _check_priority(directory, turn, key.project, asked.priority)
    if asked.expires_at is not UNSET:
        fields["expires_at"] = _expiry(turn, asked.expires_at)
    new = msgspec.structs.replace(key, **fields)
    put = (new,) if new != key else ()
    return Outcome(
        answer=shown(new), put=put, target=key.id, project=key.project, before=shown(key), after=shown(new)
    )


def rotate(directory: Directory, turn: Turn, asked: RotateKey | None) -> Outcome:
    grace_s = (asked or RotateKey()).grace_s
    key = _changeable(directory, turn)
    if key.expires_at is not None and key.expires_at <= turn.now:
        raise conflict(f"The key '{key.id}' has expired. Make a new one, or change its 'expires_at' first.")
    minted = turn.mint(key.id)
    if minted.digest in (key.digest, key.previous_digest):
        raise conflict("This 'idempotency-key' rotated the same key before. Use a new one for each request.")
    new = msgspec.structs.replace(
        key,
        digest=minted.digest,
        pepper=minted.pepper,
        previous_digest=key.digest if grace_s else None,
        previous_pepper=key.pepper if grace_s else "",
        previous_until=turn.now + grace_s if grace_s else None,
    )
    return _told(new, minted, key)


def revoke(directory: Directory, turn: Turn, _: None) -> Outcome:
    key = key_of(directory, turn.actor, turn.target)
    _check_bootstrap(key)
    new = key
    if key.revoked_at is None:
        new = msgspec.structs.replace(
            key, revoked_at=turn.now, previous_digest=None, previous_pepper="", previous_until=None
        )
    put = (new,) if new != key else ()
    return Outcome(
        answer=shown(new), put=put, target=key.id, project=key.project, before=shown(key), after=shown(new)
    )


def _told(key: KeyRecord, minted: Minted, before: KeyRecord | None) -> Outcome:
    return Outcome(
        answer=KeySecret(key=shown(key)),
        put=(key,),
        target=key.id,
        project=key.project,
        before=shown(before) if before else None,
        after=shown(key),
        secret=minted.text,
    )


def _changeable(directory: Directory, turn: Turn) -> KeyRecord:
    """Whoever widens a key, or gets its secret, gets what it may do: only what they may do themselves."""
    key = key_of(directory, turn.actor, turn.target)
    _check_bootstrap(key)
    if key.revoked_at is not None:
        raise conflict(f"The key '{key.id}' is revoked, which is for good. Make a new one.")
    check_grant(directory, turn.actor, key.role, "role")
    _check_within(directory, turn, key.scopes)
    return key


def _check_bootstrap(key: KeyRecord) -> None:
    if key.id == BOOTSTRAP:
        raise conflict(
            "The key 'admin' is the gateway's own and is not changed here. Set another one in the environment as "
            "PENSTOCK_ADMIN_KEY and start the gateway again; the one before then stops working."
        )


def _check_people(directory: Directory, turn: Turn, asked: CreateKey, project: str) -> None:
    if asked.user:
        user = user_of(directory, turn.actor, asked.user, "user")
        if not any(m.project in (project, EVERYWHERE) for m in user.memberships):
            raise invalid("user", f"User '{user.id}' is no member of the project '{project}'. Make it one first.")
    if asked.team and team_of(directory, turn.actor, asked.team, "team").project != project:
        raise invalid("team", f"'team' must be a team of the project '{project}'.")


def _check_within(directory: Directory, turn: Turn, scopes: Scopes) -> None:
    """A key that is bounded makes, changes and rotates none that is less so."""
    own = next((key.scopes for key in directory.keys if key.id == turn.actor.key_id), Scopes())
    for name in _SCOPES:
        bound: tuple[str, ...] | None = getattr(own, name)
        given: tuple[str, ...] | None = getattr(scopes, name)
        if bound is not None and (given is None or not set(given) <= set(bound)):
            raise _beyond(name, bound)
    if own.networks is not None:
        bounds = [ipaddress.ip_network(each) for each in own.networks]
        given_networks = [ipaddress.ip_network(each) for each in scopes.networks or ()]
        if scopes.networks is None or not all(any(_inside(one, bound) for bound in bounds) for one in given_networks):
            raise _beyond("networks", own.networks)


_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _inside(one: _Network, other: _Network) -> bool:
    if isinstance(one, ipaddress.IPv4Network):
        return isinstance(other, ipaddress.IPv4Network) and one.subnet_of(other)
    return isinstance(other, ipaddress.IPv6Network) and one.subnet_of(other)


def _beyond(name: str, bound: tuple[str, ...]) -> PenstockError:
    return denied(
        f"'scopes.{name}' must be within those of the key that asks ({', '.join(bound[:5]) or 'none'}). Choose from "
        "these, or use a key with more.",
        f"scopes.{name}",
    )


def _check_priority(directory: Directory, turn: Turn, project: str, priority: str) -> None:
    best: Level = "high" if project == EVERYWHERE else project_of(directory, turn.actor, project).priority
    if priority and _RANK[priority] > _RANK[best]:
        raise invalid("priority", f"'priority' must be at most '{best}', the best of the project '{project}'.")


def _expiry(turn: Turn, given: float | datetime.datetime | None) -> float | None:
    if given is None:
        return None
    at = seconds(given)
    if at <= turn.now:
        raise invalid("expires_at", "'expires_at' must be in the future. To end a key now, revoke it.")
    return at
