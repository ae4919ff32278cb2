"""``penstock projects``: the tenants."""

from __future__ import annotations

import click
from msgspec import UNSET

from penstock.control.accounts.projects import Capture, ChangeProject, CreateProject, Level, ProjectView
from penstock.core.errors import BAD_REQUEST, PenstockError
from penstock.core.requests import ContentPolicy
from penstock.edge.cli.desk import Desk, at_gateway, sure, yes
from penstock.edge.cli.showing import Column, time_of

_COLUMNS = tuple(map(Column, ("ID", "NAME", "PRIORITY", "CAPTURE", "LOG", "CREATED", "ARCHIVED")))
_LOGS: tuple[ContentPolicy, ...] = ("none", "masked", "sampled", "all")
_PRIORITY = click.Choice(["high", "normal", "low"])


@click.group()
def projects() -> None:
    """Make, see, change and archive projects.

    A project owns keys, teams, limits and budgets, and its usage is its own.

    \b
    penstock projects create red --name "Team Red"
    penstock projects archive red
    """


@projects.command()
@click.argument("id_", metavar="ID")
@click.option("--name", default="", help="What people call it.")
@click.option("--priority", type=_PRIORITY, default="normal", show_default=True, help="The best its keys may claim.")
@click.option(
    "--capture",
    type=click.Choice(["none", "hashes", "content"]),
    help="What the audit keeps of its prompts and replies. [default: as the gateway does]",
)
@click.option(
    "--log",
    type=click.Choice(_LOGS),
    help="The most that the log of requests keeps of them. [default: as gateway and service do]",
)
@at_gateway
def create(
    desk: Desk, id_: str, name: str, priority: Level, capture: Capture | None, log: ContentPolicy | None
) -> None:
    """Make a project. ID is in every row of its usage, and is never used again."""
    asked = CreateProject(id=id_, name=name, priority=priority, capture=capture or "", log=log or "")
    desk.tell(desk.ask.one("projects.create", ProjectView, body=asked), f"Project {id_} is made.")


@projects.command("list")
@at_gateway
def list_(desk: Desk) -> None:
    """List the projects that the key may see."""
    desk.rows(
        desk.ask.pages("projects.list", ProjectView),
        _COLUMNS,
        lambda each: (
            each.id,
            each.name,
            each.priority,
            each.capture,
            each.log,
            time_of(each.created_at),
            time_of(each.archived_at),
        ),
        "There is no project yet; make one with `penstock projects create ID`.",
    )


@projects.command()
@click.argument("id_", metavar="ID")
@at_gateway
def show(desk: Desk, id_: str) -> None:
    """Show one project."""
    desk.show(desk.ask.one("projects.get", ProjectView, id_))


@projects.command()
@click.argument("id_", metavar="ID")
@click.option("--name", help="What people call it.")
@click.option("--priority", type=_PRIORITY, help="The best that its keys may claim.")
@click.option(
    "--capture",
    type=click.Choice(["none", "hashes", "content", "gateway"]),
    help="What the audit keeps of its prompts and replies; gateway: what the gateway's own policy says.",
)
@click.option(
    "--log",
    type=click.Choice([*_LOGS, "gateway"]),
    help="The most that the log of requests keeps of them; gateway: what gateway and service say.",
)
@at_gateway
def update(
    desk: Desk, id_: str, name: str | None, priority: Level | None, capture: str | None, log: str | None
) -> None:
    """Change a project. What is not mentioned stays."""
    kept: dict[str, Capture] = {"none": "none", "hashes": "hashes", "content": "content", "gateway": ""}
    logged: dict[str, ContentPolicy] = {each: each for each in _LOGS} | {"gateway": ""}
    asked = ChangeProject(
        name=UNSET if name is None else name,
        priority=UNSET if priority is None else priority,
        capture=UNSET if capture is None else kept[capture],
        log=UNSET if log is None else logged[log],
    )
    if asked == ChangeProject():
        raise PenstockError(BAD_REQUEST, "nothing to change was given; see `penstock projects update --help`")
    desk.tell(desk.ask.one("projects.change", ProjectView, id_, body=asked), f"Project {id_} is changed.")


@projects.command()
@click.argument("id_", metavar="ID")
@yes
@at_gateway
def archive(desk: Desk, id_: str, yes: bool) -> None:
    """Refuse the keys of a project from now on. Its usage stays; `restore` undoes it."""
    sure(f"Archive the project {id_}, and refuse all of its keys?", yes)
    desk.tell(desk.ask.one("projects.archive", ProjectView, id_), f"Project {id_} is archived.")


@projects.command()
@click.argument("id_", metavar="ID")
@at_gateway
def restore(desk: Desk, id_: str) -> None:
    """Take the keys of an archived project again."""
    desk.tell(desk.ask.one("projects.restore", ProjectView, id_), f"Project {id_} is restored.")
