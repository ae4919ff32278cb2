"""``penstock apply``: what a running gateway serves is from now on what the file says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import click

from penstock.config import EMBEDDED, SENT, locate, text
from penstock.core.errors import PenstockError
from penstock.core.serving import Applied
from penstock.edge.cli.chat import reach


@click.command()
@click.option(
    "-c",
    "--config",
    "path",
    type=click.Path(path_type=Path),
    help="The deployment file. [default: $PENSTOCK_CONFIG, ./penstock.yaml, or the built-in deployment]",
)
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@click.option("--url", help="The gateway. [default: the one whose credentials are in $PENSTOCK_HOME]")
def apply(path: Path | None, dry_run: bool, url: str | None) -> int:
    """Change what a running gateway serves, without a break.

    Sends the deployment file to the gateway, which takes it whole or not at all, and prints what differs. Requests in
    progress end with what they began with. `${NAME}` in the file is filled in from the gateway's environment, not
    from this one. The exit code is 1 when the file is refused; what was served before is then served on.
    """
    found = locate(path, os.environ)
    name = EMBEDDED if found is None else str(found)
    gateway = reach(url, os.environ)
    try:
        applied = gateway.deploy(text(found), dry_run=dry_run)
    except PenstockError as error:
        for line in refusal(error.message, name):
            click.echo(line, err=True)
        return 1
    for line in told(applied, gateway.url, dry_run):
        click.echo(line)
    return 0


def refusal(message: str, name: str) -> Iterator[str]:
    """Each mistake with its place in the file that was sent."""
    lines = message.splitlines()
    mistakes = [name + line.removeprefix(SENT) for line in lines if line.startswith(f"{SENT}:")]
    yield from mistakes or [f"penstock: {line}" for line in lines]
    if mistakes:
        yield f"penstock: {name} is refused; what was served before is served on."


def told(applied: Applied, url: str, dry_run: bool) -> Iterator[str]:
    """What became of it, for people."""
    yield from applied.changed
    count = len(applied.changed)
    changes = f"{count} change{'s' * (count != 1)}"
    if not count:
        yield f"Nothing to do: {url} serves this already."
    elif dry_run:
        yield f"{changes} would be applied to {url}."
    else:
        yield f"{changes} applied to {url}: deployment {applied.version}."
    if applied.needs_restart:
        yield "Not before `penstock up` is started again:"
        yield from (f"  {line}" for line in applied.needs_restart)
