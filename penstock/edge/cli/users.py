"""``penstock users``: people and service accounts, and what they are in each project."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import click
import msgspec
from msgspec import UNSET

from penstock.control.accounts.users import ChangeUser, CreateUser, Member, UserView
from penstock.core.errors import BAD_REQUEST, PenstockError
from penstock.edge.cli.desk import Desk, at_gateway, sure, yes
from penstock.edge.cli.showing import Column, time_of

_COLUMNS = tuple(map(Column, ("ID", "KIND", "NAME", "EMAIL", "MEMBER OF", "STATE")))


def member(text: str) -> Member:
    """``red:developer``, with a team ``red:developer:search``; the project ``*`` is all of them."""
    project, _, rest = text.partition(":")
    role, _, team = rest.partition(":")
    if not (project and role):
        raise click.BadParameter(f"{text!r} is no membership; write PROJECT:ROLE, or PROJECT:ROLE:TEAM")
    return Member(project, role, team)


@click.group()
def users() -> None:
    """Make, see, change and disable people and service accounts.

    \b
    penstock users create --name Ada --email ada@example.com --member red:admin
    penstock users create --kind service --name nightly --member red:developer
    penstock users update user_eb3c543caaaf --member blue:viewer --leave red
    """


@users.command()
@click.option("--kind", type=click.Choice(["person", "service"]), default="person", show_default=True, help="What.")
@click.option("--name", default="", help="What people call it.")
@click.option("--email", default="", help="Where it is reached.")
@click.option(
    "--member",
    "members",
    multiple=True,
    type=member,
    metavar="PROJECT:ROLE[:TEAM]",
    help="What it is in a project ('*': in all). May be given several times.",
)
@click.option("--issuer", default="", help="The identity provider of its tokens, as they have it in `iss`.")
@click.option("--subject", default="", help="What its tokens have in the claim that names the user.")
@click.option("--id", "id_", default="", help="Its id. [default: one is made]")
@at_gateway
def create(
    desk: Desk,
    kind: Literal["person", "service"],
    name: str,
    email: str,
    members: Sequence[Member],
    issuer: str,
    subject: str,
    id_: str,
) -> None:
    """Make a person or a service account."""
    asked = CreateUser(
        kind=kind, name=name, email=email, memberships=tuple(members), issuer=issuer, subject=subject, id=id_
    )
    told = desk.ask.one("users.create", UserView, body=asked)
    desk.tell(told, f"User {told.value.id} is made.")


@users.command("list")
@click.option("--project", help="Only its members.")
@at_gateway
def list_(desk: Desk, project: str | None) -> None:
    """List people and service accounts."""
    found = desk.ask.pages("users.list", UserView, {"project": project})
    desk.rows(found, _COLUMNS, _row, "There is no such user.")


@users.command()
@click.argument("id_", metavar="ID")
@at_gateway
def show(desk: Desk, id_: str) -> None:
    """Show one person or service account."""
    desk.show(desk.ask.one("users.get", UserView, id_))


@users.command()
@click.argument("id_", metavar="ID")
@click.option("--name", help="What people call it.")
@click.option("--email", help="Where it is reached.")
@click.option(
    "--member",
    "members",
    multiple=True,
    type=member,
    metavar="PROJECT:ROLE[:TEAM]",
    help="What it is in this project from now on. May be given several times.",
)
@click.option("--leave", multiple=True, metavar="PROJECT", help="It is no member there any more.")
@click.option("--issuer", help="The identity provider of its tokens.")
@click.option("--subject", help="What its tokens have in the claim that names the user.")
@yes
@at_gateway
def update(
    desk: Desk,
    id_: str,
    name: str | None,
    email: str | None,
    members: Sequence[Member],
    leave: Sequence[str],
    issuer: str | None,
    subject: str | None,
    yes: bool,
) -> None:
    """Change a user. What is not mentioned stays, memberships too.

    The keys that act for the user in a project which it leaves are revoked.
    """
    asked = ChangeUser(
        name=UNSET if name is None else name,
        email=UNSET if email is None else email,
        issuer=UNSET if issuer is None else issuer,
        subject=UNSET if subject is None else subject,
    )
    if members or leave:
        # The API takes all memberships together.
        before = desk.ask.one("users.get", UserView, id_).value.memberships
        asked = msgspec.structs.replace(asked, memberships=_changed(before, members, leave))
    if asked == ChangeUser():
        raise PenstockError(BAD_REQUEST, "nothing to change was given; see `penstock users update --help`")
    if leave:
        sure(f"Let {id_} leave {', '.join(leave)}, and revoke its keys there?", yes)
    desk.tell(desk.ask.one("users.change", UserView, id_, body=asked), f"User {id_} is changed.")


@users.command()
@click.argument("id_", metavar="ID")
@at_gateway
def disable(desk: Desk, id_: str) -> None:
    """Refuse the keys and tokens of a user until it is enabled again."""
    desk.tell(desk.ask.one("users.change", UserView, id_, body=ChangeUser(disabled=True)), f"User {id_} is disabled.")


@users.command()
@click.argument("id_", metavar="ID")
@at_gateway
def enable(desk: Desk, id_: str) -> None:
    """Take the keys and tokens of a user again."""
    desk.tell(desk.ask.one("users.change", UserView, id_, body=ChangeUser(disabled=False)), f"User {id_} is enabled.")


def _changed(before: Sequence[Member], members: Sequence[Member], leave: Sequence[str]) -> tuple[Member, ...]:
    known = {each.project: each for each in before}
    for project in leave:
        if project not in known:
            raise PenstockError(
                BAD_REQUEST, f"the user is no member of {project!r}; it is of {', '.join(known) or 'no project'}"
            )
        del known[project]
    return tuple((known | {each.project: each for each in members}).values())


def _row(user: UserView) -> Sequence[str]:
    member_of = ", ".join(":".join(filter(None, (m.project, m.role, m.team))) for m in user.memberships)
    state = "enabled" if user.disabled_at is None else f"disabled {time_of(user.disabled_at)}"
    return user.id, user.kind, user.name, user.email, member_of, state
