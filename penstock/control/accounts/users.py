"""Users: people and service accounts, and what they are in each project."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, UnsetType

from penstock.control.accounts.roles import check_grant
from penstock.control.accounts.sight import home_of_user, live_project, team_of, user_of
from penstock.control.accounts.turn import (
    Id,
    Outcome,
    Page,
    Text,
    Turn,
    Word,
    chosen_id,
    conflict,
    denied,
    given_fields,
    invalid,
    page,
)
from penstock.core.accounts import EVERYWHERE, Directory, Membership, Record, User
from penstock.core.administration import Actor


class Member(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a user is in a project, or everywhere (`*`)."""

    project: Id
    role: Id
    team: Word = ""


Members = Annotated[tuple[Member, ...], msgspec.Meta(max_length=256)]


class UserView(msgspec.Struct, frozen=True, kw_only=True):
    """A person or a service account. A key of one project sees its memberships there only."""

    id: str
    object: Literal["user"] = "user"
    kind: Literal["person", "service"]
    name: str
    email: str
    issuer: str
    subject: str
    memberships: tuple[Member, ...]
    created_at: float
    disabled_at: float | None


class CreateUser(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new user. `issuer` and `subject` are those of its tokens, and take a key for the whole gateway. `id` default:
    one is made."""

    kind: Literal["person", "service"] = "person"
    name: Text = ""
    email: Text = ""
    issuer: Annotated[str, msgspec.Meta(max_length=2048)] = ""
    subject: Text = ""
    memberships: Members = ()
    id: Word = ""


class ChangeUser(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is left out stays. `memberships` takes the place of all that the key may see; keys that act for the user
    in a project which it leaves are revoked. `disabled`: its keys and tokens are refused."""

    name: Text | UnsetType = UNSET
    email: Text | UnsetType = UNSET
    issuer: Annotated[str, msgspec.Meta(max_length=2048)] | UnsetType = UNSET
    subject: Text | UnsetType = UNSET
    memberships: Members | UnsetType = UNSET
    disabled: bool | UnsetType = UNSET


def shown(user: User, actor: Actor) -> UserView:
    seen = [m for m in user.memberships if actor.everywhere or m.project == actor.project]
    view: UserView = msgspec.convert(user, UserView, from_attributes=True)
    return msgspec.structs.replace(view, memberships=tuple(Member(m.project, m.role, m.team) for m in seen))


def listed(directory: Directory, turn: Turn, _: None) -> Page:
    project, actor = turn.query.get("project"), turn.actor
    rows = (
        each
        for each in directory.users
        if (actor.everywhere and project is None)
        or any(
            (actor.everywhere or m.project == actor.project) and project in (None, m.project)
            for m in each.memberships
        )
    )
    return page(turn, ((each.id, each) for each in rows), lambda each: shown(each, actor))


def one(directory: Directory, turn: Turn, _: None) -> UserView:
    return shown(user_of(directory, turn.actor, turn.target), turn.actor)


def create(directory: Directory, turn: Turn, asked: CreateUser) -> Outcome:
    actor = turn.actor
    if not actor.everywhere and not asked.memberships:
        raise invalid("memberships", "'memberships' must say what the user is in this key's project; add one.")
    made = User(
        id=chosen_id(turn, asked.id, "user", {each.id for each in directory.users}),
        kind=asked.kind,
        name=asked.name,
        email=asked.email,
        issuer=asked.issuer,
        subject=asked.subject,
        memberships=_memberships(directory, turn, asked.memberships, ()),
        created_at=turn.now,
    )
    if asked.issuer or asked.subject:
        _check_identity(directory, actor, made)
    view = shown(made, actor)
    return Outcome(answer=view, put=(made,), target=made.id, project=home_of_user(made), after=view)


def change(directory: Directory, turn: Turn, asked: ChangeUser) -> Outcome:
    actor, user = turn.actor, user_of(directory, turn.actor, turn.target)
    fields = given_fields(asked)
    disabled, memberships = fields.pop("disabled", None), fields.pop("memberships", None)
    if (fields or disabled is not None) and not actor.everywhere and home_of_user(user) != actor.project:
        raise denied(
            f"User '{user.id}' belongs to other projects too, so only a key for the whole gateway changes more than "
            "'memberships'."
        )
    new = msgspec.structs.replace(user, **fields)
    if disabled is not None:
        at = user.disabled_at if user.disabled_at is not None else turn.now
        new = msgspec.structs.replace(new, disabled_at=at if disabled else None)
    if memberships is not None:
        assert asked.memberships is not UNSET
        new = msgspec.structs.replace(
            new, memberships=_memberships(directory, turn, asked.memberships, user.memberships)
        )
    if (new.issuer, new.subject) != (user.issuer, user.subject):
        _check_identity(directory, actor, new)
    put: tuple[Record, ...] = (new, *_left_behind(directory, new, turn.now)) if new != user else ()
    return Outcome(
        answer=shown(new, actor),
        put=put,
        target=user.id,
        project=home_of_user(user),
        before=shown(user, actor),
        after=shown(new, actor),
    )


def _memberships(
    directory: Directory, turn: Turn, asked: tuple[Member, ...], had: tuple[Membership, ...]
) -> tuple[Membership, ...]:
    """Those asked for, in place of those that the actor sees; of the rest it has nothing to say."""
    actor = turn.actor
    unseen = [] if actor.everywhere else [m for m in had if m.project != actor.project]
    found: dict[str, Membership] = {m.project: m for m in unseen}
    for place, member in enumerate(asked):
        at = f"memberships[{place}]"
        new = Membership(member.project, member.role, member.team)
        if member.project == EVERYWHERE:
            if not actor.everywhere:
                raise denied("A member of every project ('*') is made with a key for the whole gateway.", at)
            if member.team:
                raise invalid(f"{at}.team", f"'{at}.team' must be empty: a team belongs to one project.")
        elif new not in had:
            live_project(directory, turn, member.project)
        if member.project in found:
            raise invalid(f"{at}.project", f"'{at}.project' names a project twice; say once what the user is there.")
        if member.team and team_of(directory, actor, member.team, f"{at}.team").project != member.project:
            raise invalid(f"{at}.team", f"'{at}.team' must be a team of the project '{member.project}'.")
        if new not in had:
            check_grant(directory, actor, member.role, f"{at}.role")
        found[member.project] = new
    return tuple(found[project] for project in sorted(found))


def _check_identity(directory: Directory, actor: Actor, user: User) -> None:
    # Whoever claims an identity takes over its logins, and learns whether somebody else has it.
    if not actor.everywhere:
        raise denied("'issuer' and 'subject' are set with a key for the whole gateway.", "subject")
    if bool(user.issuer) != bool(user.subject):
        raise invalid("subject", "'issuer' and 'subject' belong together: give both, or neither.")
    for other in directory.users:
        if user.issuer and other.id != user.id and (other.issuer, other.subject) == (user.issuer, user.subject):
            raise conflict(f"User '{other.id}' has this 'issuer' and 'subject' already.", "subject")


def _left_behind(directory: Directory, user: User, now: float) -> list[Record]:
    """Keys that acted for the user where it is no member any more, revoked."""
    member = {m.project for m in user.memberships}
    return [
        msgspec.structs.replace(key, revoked_at=now, previous_digest=None, previous_until=None)
        for key in directory.keys
        if key.user == user.id and key.project not in member and EVERYWHERE not in member and key.revoked_at is None
    ]
