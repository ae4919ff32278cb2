"""``penstock roles``: named sets of permissions."""

from __future__ import annotations

from collections.abc import Sequence

import click
from msgspec import UNSET

from penstock.control.accounts.roles import ChangeRole, CreateRole, RoleView
from penstock.control.accounts.turn import Gone
from penstock.core.errors import BAD_REQUEST, PenstockError
from penstock.edge.cli.desk import Desk, at_gateway, sure, yes
from penstock.edge.cli.showing import Column

_COLUMNS = tuple(map(Column, ("NAME", "BUILT IN", "DESCRIPTION")))


@click.group()
def roles() -> None:
    """See the roles that keys and people have, and make your own.

    \b
    penstock roles show developer
    penstock roles create support --permission call --permission usage:read
    """


@roles.command("list")
@at_gateway
def list_(desk: Desk) -> None:
    """List the roles, built in and your own."""
    desk.rows(
        desk.ask.pages("roles.list", RoleView),
        _COLUMNS,
        lambda each: (each.name, "yes" if each.builtin else "no", each.description),
        "There is no role.",
    )


@roles.command()
@click.argument("name")
@at_gateway
def show(desk: Desk, name: str) -> None:
    """Show a role, and every permission that it has."""
    desk.show(desk.ask.one("roles.get", RoleView, name))


@roles.command()
@click.argument("name")
@click.option("--permission", "permissions", multiple=True, required=True, help="May be given several times.")
@click.option("--description", default="", help="What it is for.")
@at_gateway
def create(desk: Desk, name: str, permissions: Sequence[str], description: str) -> None:
    """Make a role. Nobody grants a permission that they do not have."""
    asked = CreateRole(name=name, permissions=tuple(permissions), description=description)
    desk.tell(desk.ask.one("roles.create", RoleView, body=asked), f"Role {name} is made.")


@roles.command()
@click.argument("name")
@click.option("--permission", "permissions", multiple=True, help="All that it has from now on, each by itself.")
@click.option("--description", help="What it is for.")
@at_gateway
def update(desk: Desk, name: str, permissions: Sequence[str], description: str | None) -> None:
    """Change a role of your own. Permissions that are given take the place of all it had."""
    asked = ChangeRole(
        permissions=tuple(permissions) if permissions else UNSET,
        description=UNSET if description is None else description,
    )
    if asked == ChangeRole():
        raise PenstockError(BAD_REQUEST, "nothing to change was given; see `penstock roles update --help`")
    desk.tell(desk.ask.one("roles.change", RoleView, name, body=asked), f"Role {name} is changed.")


@roles.command()
@click.argument("name")
@yes
@at_gateway
def delete(desk: Desk, name: str, yes: bool) -> None:
    """Delete a role of your own that no key and no user has any more."""
    sure(f"Delete the role {name}?", yes)
    desk.tell(desk.ask.one("roles.delete", Gone, name), f"Role {name} is deleted.")
