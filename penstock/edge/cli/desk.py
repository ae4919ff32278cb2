"""What the commands over the admin API have in common: which gateway, people or machines as readers, and asking
before what cannot be undone."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Concatenate, NoReturn, ParamSpec, TypeVar

import click
import msgspec

from penstock.edge.cli.asking import Asking, Told
from penstock.edge.cli.chat import reach
from penstock.edge.cli.showing import Column, card, json_of, note, table

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T", bound=msgspec.Struct)


class Desk:
    """Where a command asks, ``ask``, and tells what it heard."""

    def __init__(self, ask: Asking, as_json: bool) -> None:
        self.ask = ask
        self.as_json = as_json

    def tell(self, told: Told[T], said: str) -> None:
        """What has been done."""
        click.echo(json_of(told.raw) if self.as_json else said)

    def show(self, told: Told[T]) -> None:
        """One thing with all of its fields."""
        if self.as_json:
            click.echo(json_of(told.raw))
        else:
            for line in card(told.value):
                click.echo(line)

    def rows(
        self,
        found: Iterable[Told[T]],
        columns: Sequence[Column],
        row: Callable[[T], Sequence[str]],
        none: str,
    ) -> None:
        """A table; ``none`` is said when there is nothing to put in it."""
        if self.as_json:
            click.echo(json_of(b"[" + b",".join(bytes(told.raw) for told in found) + b"]"))
            return
        lines = list(table(columns, [row(told.value) for told in found]))
        for line in lines:
            click.echo(line)
        if not lines:
            note(none)


def at_gateway(run: Callable[Concatenate[Desk, P], R]) -> Callable[..., R]:
    """Gives a command its ``Desk``, and the options that decide about it."""

    @functools.wraps(run)
    def reached(*args: Any, **kwargs: Any) -> R:
        url, as_json = kwargs.pop("url"), kwargs.pop("as_json")
        return run(Desk(Asking(reach(url, os.environ)), as_json), *args, **kwargs)

    json = click.option("--json", "as_json", is_flag=True, help="Print the API's JSON.")
    url = click.option("--url", help="The gateway. [default: the one whose credentials are in $PENSTOCK_HOME]")
    return url(json(reached))


yes = click.option("-y", "--yes", is_flag=True, help="Do not ask first.")
"""For what cannot be undone; ``sure`` asks."""


def sure(question: str, yes: bool) -> None:
    """Goes on when that is wanted, and ends the command when it is not. Without a terminal nobody can be asked."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} There is no terminal to ask at: give --yes to go on.")
    if not click.confirm(question, err=True):
        give_up("Nothing was changed.")


def give_up(why: str) -> NoReturn:
    """Ends the command with exit code 1."""
    note(why)
    raise click.exceptions.Exit(1)
