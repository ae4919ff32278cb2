"""``penstock pepper``: the secret that keys are hashed under, in the file ``pepper`` of this machine's home."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from penstock.access import peppers
from penstock.access.peppers import Pepper
from penstock.config import home
from penstock.control.accounts.keys import KeyView
from penstock.core.accounts import EVERYWHERE
from penstock.core.errors import CONFLICT, NOT_FOUND, PenstockError
from penstock.edge.cli.asking import Asking
from penstock.edge.cli.chat import reach
from penstock.edge.cli.desk import sure, yes
from penstock.edge.cli.showing import Column, note, table

_COLUMNS = (Column("NAME"), Column("USE"), Column("KEYS", right=True))


@click.group()
def pepper() -> None:
    """Change the secret that keys are hashed under, without losing a key.

    It is the file `pepper` in $PENSTOCK_HOME on this machine, unless the deployment file has `access.pepper`: then it
    is changed there. Every gateway of one store needs the same.

    \b
    penstock pepper rotate         # then start the gateway again
    penstock pepper list           # how many keys are still under the old one
    penstock pepper drop 1f2e3d4c  # when there are none
    """


@pepper.command("list")
@click.option(
    "--url", help="The gateway to count keys at. [default: the one whose credentials are in $PENSTOCK_HOME]"
)
def list_(url: str | None) -> None:
    """List the peppers by name, and how many keys are under each."""
    kept = _kept(_file())
    counted = _counted(url, kept)
    rows = []
    for place, each in enumerate(kept):
        use = "old keys" if place else "new keys"
        rows.append((each.name, use, "?" if counted is None else str(counted.get(each.name, 0))))
    unknown = sorted(set(counted or ()) - {each.name for each in kept})
    rows += [(name, "not in the file", str((counted or {})[name])) for name in unknown]
    for line in table(_COLUMNS, rows):
        click.echo(line)
    if unknown:
        note("Keys under a pepper that is not in the file do not work here; copy the file of another gateway.")


@pepper.command()
def rotate() -> None:
    """Put a new pepper first, where there is one gateway.

    New keys are hashed under it once the gateway is started again, and old ones move to it as they are used.
    """
    file = _file()
    _kept(file)
    fresh = peppers.rotate(file)
    click.echo(fresh.name)
    note(f"{fresh.name} is the current pepper of {file}. Start the gateway again.")


@pepper.command()
def add() -> None:
    """Make a new pepper known, where there are several gateways.

    Copy the file to each of them and start each again. Only then `promote` it: a gateway that does not know it would
    refuse the keys that have moved to it.
    """
    file = _file()
    _kept(file)
    fresh = peppers.add(file)
    click.echo(fresh.name)
    note(f"{fresh.name} is known in {file}. Copy the file to every gateway and start each again, then:")
    note(f"  penstock pepper promote {fresh.name}")


@pepper.command()
@click.argument("name")
def promote(name: str) -> None:
    """Make a pepper that every gateway knows the current one."""
    file = _file()
    _kept(file)
    peppers.promote(file, name)
    click.echo(f"{name} is the current pepper of {file}. Copy the file to every gateway, and start each again.")


@pepper.command()
@click.argument("name")
@click.option(
    "--url", help="The gateway to count keys at. [default: the one whose credentials are in $PENSTOCK_HOME]"
)
@yes
def drop(name: str, url: str | None, yes: bool) -> None:
    """Take an old pepper away for good. Keys that are still under it stop working."""
    file = _file()
    counted = _counted(url, _kept(file))
    if counted is None:
        sure(f"It is not known how many keys are under {name}. They would stop working; drop it?", yes)
    elif counted.get(name, 0) and not yes:
        raise PenstockError(
            CONFLICT,
            f"{counted[name]} keys are under {name} and would stop working; have them used once, or revoke them, or "
            "give --yes to lose them",
        )
    peppers.drop(file, name)
    click.echo(f"Pepper {name} is gone from {file}. Copy the file to every gateway, and start each again.")


def _file() -> Path:
    return home(os.environ) / "pepper"


def _kept(file: Path) -> Sequence[Pepper]:
    if not file.exists():
        raise PenstockError(
            NOT_FOUND, f"there is no {file} yet; `penstock up` makes it, unless the deployment file has access.pepper"
        )
    return peppers.read_peppers("", file)


def _counted(url: str | None, kept: Sequence[Pepper]) -> Mapping[str, int] | None:
    """How many keys that may still be used are under each pepper; None, and said why, when no gateway can tell."""
    try:
        found = [told.value for told in Asking(reach(url, os.environ)).pages("keys.list", KeyView)]
    except PenstockError as error:
        note(f"The keys cannot be counted: {error.message}")
        return None
    if all(key.project != EVERYWHERE for key in found):
        note("The keys cannot be counted: this one sees those of its project only; use the admin key.")
        return None
    now, counted = time.time(), Counter[str]()
    for key in found:
        if key.revoked_at is not None or (key.expires_at is not None and now >= key.expires_at):
            continue
        counted[key.pepper or kept[-1].name] += 1
        if key.previous_until is not None and now < key.previous_until:
            counted[key.previous_pepper or kept[-1].name] += 1
    return counted
