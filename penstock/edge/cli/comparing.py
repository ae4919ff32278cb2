"""Versions and releases for people: what one says, how two differ, and names that stand for them."""

from __future__ import annotations

from typing import TypeVar

import click
import msgspec

from penstock.control.accounts.aliases import AliasView, SetAlias
from penstock.control.accounts.differences import FROM, DiffView, readable
from penstock.control.accounts.turn import Gone
from penstock.control.accounts.versions import Kind
from penstock.edge.cli.asking import Told
from penstock.edge.cli.desk import Desk, sure
from penstock.edge.cli.showing import NONE, card, json_of, line_of, note
from penstock.edge.cli.terminal import harmless

T = TypeVar("T", bound=msgspec.Struct)


def show(desk: Desk, told: Told[T], source: str) -> None:
    """One thing, and below it the lines of what its field ``source`` says."""
    if desk.as_json:
        click.echo(json_of(told.raw))
        return
    raw = getattr(told.value, source)
    assert isinstance(raw, msgspec.Raw)
    for line in card(told.value, without=source):
        click.echo(line)
    click.echo(f"\n{source}:")
    for line in readable(bytes(raw)).splitlines() or [NONE]:
        click.echo(f"  {harmless(line)}")


def compare(desk: Desk, operation: str, before: str | None, after: str) -> None:
    """What has changed from ``before`` to ``after``, part by part; None: from what is served now."""
    told = desk.ask.one(operation, DiffView, after, query={FROM: before})
    if desk.as_json:
        click.echo(json_of(told.raw))
        return
    for part in told.value.parts:
        ids = f"  {part.before or '-'} -> {part.after or '-'}" if part.before or part.after else ""
        click.echo(line_of(part.what) + harmless(ids))
        for line in part.text.splitlines():
            click.echo(f"  {harmless(line)}".rstrip())
    if not told.value.parts:
        note(f"{told.value.before} and {told.value.after} are the same.")


def set_alias(desk: Desk, kind: Kind, version: str, alias: str) -> None:
    """``NAME@ALIAS`` stands for the version from now on."""
    told = desk.ask.one("aliases.create", AliasView, body=SetAlias(kind=kind, alias=alias, version=version))
    desk.tell(told, f"{told.value.name}@{told.value.alias} stands for {told.value.version} now.")


def remove_alias(desk: Desk, kind: Kind, said: str, yes: bool) -> None:
    """``said`` is NAME@ALIAS."""
    name, at, alias = said.rpartition("@")
    if not (name and at and alias):
        raise click.UsageError(f"{said!r} is no alias; write NAME@ALIAS")
    sure(f"Remove the alias {said}?", yes)
    desk.tell(desk.ask.one("aliases.delete", Gone, f"{kind}:{name}:{alias}"), f"The alias {said} is removed.")
