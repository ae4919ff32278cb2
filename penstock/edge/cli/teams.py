"""``penstock teams``: some people of one project, who can have limits and budgets of their own."""

from __future__ import annotations

import click

from penstock.control.accounts.teams import ChangeTeam, CreateTeam, TeamView
from penstock.control.accounts.turn import Gone
from penstock.edge.cli.desk import Desk, at_gateway, sure, yes
from penstock.edge.cli.showing import Column, time_of

_COLUMNS = tuple(map(Column, ("ID", "PROJECT", "NAME", "CREATED")))


@click.group()
def teams() -> None:
    """Make, see, rename and delete teams of a project.

    \b
    penstock teams create --project red --name Search
    """


@teams.command()
@click.option("--project", default="", help="Whose team it is. [default: that of your key]")
@click.option("--name", default="", help="What people call it.")
@click.option("--id", "id_", default="", help="Its id. [default: one is made]")
@at_gateway
def create(desk: Desk, project: str, name: str, id_: str) -> None:
    """Make a team."""
    told = desk.ask.one("teams.create", TeamView, body=CreateTeam(project=project, name=name, id=id_))
    desk.tell(told, f"Team {told.value.id} of project {told.value.project} is made.")


@teams.command("list")
@click.option("--project", help="Only of this project.")
@at_gateway
def list_(desk: Desk, project: str | None) -> None:
    """List teams."""
    desk.rows(
        desk.ask.pages("teams.list", TeamView, {"project": project}),
        _COLUMNS,
        lambda each: (each.id, each.project, each.name, time_of(each.created_at)),
        "There is no such team.",
    )


@teams.command()
@click.argument("id_", metavar="ID")
@at_gateway
def show(desk: Desk, id_: str) -> None:
    """Show one team."""
    desk.show(desk.ask.one("teams.get", TeamView, id_))


@teams.command()
@click.argument("id_", metavar="ID")
@click.option("--name", required=True, help="What people call it.")
@at_gateway
def update(desk: Desk, id_: str, name: str) -> None:
    """Rename a team."""
    desk.tell(desk.ask.one("teams.change", TeamView, id_, body=ChangeTeam(name=name)), f"Team {id_} is changed.")


@teams.command()
@click.argument("id_", metavar="ID")
@yes
@at_gateway
def delete(desk: Desk, id_: str, yes: bool) -> None:
    """Delete a team that nobody is in any more."""
    sure(f"Delete the team {id_}?", yes)
    desk.tell(desk.ask.one("teams.delete", Gone, id_), f"Team {id_} is deleted.")
