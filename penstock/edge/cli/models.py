"""``penstock models``: versions of models."""

from __future__ import annotations

from collections.abc import Sequence

import click

from penstock.control.accounts.models import ModelVersionView, RegisterModel
from penstock.edge.cli import comparing
from penstock.edge.cli.desk import Desk, at_gateway, yes
from penstock.edge.cli.showing import Column, time_of

_COLUMNS = tuple(map(Column, ("ID", "ENGINE", "IN FILE", "ALIASES", "KEPT", "BY", "MESSAGE")))


@click.group()
def models() -> None:
    """See versions of models, keep them, compare them, give them aliases.

    A version is a model's section of the deployment file, under the digest of what it says. Wherever a version is
    named, VERSION is NAME@DIGEST, NAME@ALIAS, or NAME for the one that the deployment file has now. A release keeps
    the version that it is made of by itself.

    \b
    penstock models register small --message "the 4-bit weights"
    penstock models diff small@1f0c7a3b5d9e2468
    penstock models alias small steady
    """


@models.command("list")
@click.option("--name", help="Only of this name.")
@at_gateway
def list_(desk: Desk, name: str | None) -> None:
    """List versions.

    They are those that are kept, and what the deployment file has now.
    """
    desk.rows(
        desk.ask.pages("models.list", ModelVersionView, {"name": name}),
        _COLUMNS,
        lambda each: (
            each.id,
            each.engine,
            "yes" if each.current else "",
            ", ".join(each.aliases),
            time_of(each.created_at),
            each.author,
            each.message,
        ),
        "There is no such model.",
    )


@models.command()
@click.argument("version")
@at_gateway
def show(desk: Desk, version: str) -> None:
    """Show one version, with its section of the deployment file."""
    comparing.show(desk, desk.ask.one("models.get", ModelVersionView, version), "source")


@models.command()
@click.argument("name")
@click.option("-m", "--message", default="", help="What is special about it.")
@click.option("--parent", "parents", multiple=True, metavar="VERSION", help="A version that it was made from.")
@at_gateway
def register(desk: Desk, name: str, message: str, parents: Sequence[str]) -> None:
    """Keep the model NAME as the deployment file has it now. One that says the same is kept once."""
    asked = RegisterModel(name=name, message=message, parents=tuple(parents))
    told = desk.ask.one("models.create", ModelVersionView, body=asked)
    was = "" if told.value.message == message else f" already: {told.value.message or 'without a message'}"
    desk.tell(told, f"{told.value.id} is kept{was}.")


@models.command()
@click.argument("version")
@click.argument("other", required=False)
@at_gateway
def diff(desk: Desk, version: str, other: str | None) -> None:
    """Say what has changed from VERSION to OTHER.

    OTHER is what the deployment file has now, where it is left out.
    """
    comparing.compare(desk, "models.diff", version, other or version.partition("@")[0])


@models.command()
@click.argument("version")
@click.argument("alias")
@at_gateway
def alias(desk: Desk, version: str, alias: str) -> None:
    """Have NAME@ALIAS stand for VERSION, whatever it stood for before."""
    comparing.set_alias(desk, "model", version, alias)


@models.command()
@click.argument("alias", metavar="NAME@ALIAS")
@yes
@at_gateway
def unalias(desk: Desk, alias: str, yes: bool) -> None:
    """Remove an alias. The version stays."""
    comparing.remove_alias(desk, "model", alias, yes)
