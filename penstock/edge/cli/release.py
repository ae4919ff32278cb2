"""``penstock release``: what a service says and with what, frozen as one thing."""

from __future__ import annotations

from collections.abc import Sequence

import click
from msgspec import UNSET

from penstock.control.accounts.release_history import EventView
from penstock.control.accounts.release_shown import ReleaseView
from penstock.control.accounts.releases import CreateRelease
from penstock.edge.cli import comparing
from penstock.edge.cli.desk import Desk, at_gateway
from penstock.edge.cli.showing import Column, note, time_of
from penstock.edge.cli.words import member

_COLUMNS = (
    Column("ID"),
    Column("SERVICE"),
    Column("SHARE", right=True),
    Column("MODEL"),
    Column("PROMPT"),
    Column("MADE"),
    Column("BY"),
    Column("MESSAGE"),
)
_EVENTS = tuple(map(Column, ("WHEN", "WHAT", "RELEASE", "BY", "ROLLOUT", "MESSAGE")))


@click.group()
def release() -> None:
    """Freeze model, prompt and defaults of a service; see, compare and trace releases.

    A release changes nothing until it is rolled out; `penstock rollout` does that, and `penstock rollback` takes it
    back.

    \b
    penstock release create chat --prompt greeting -m "a kinder greeting"
    penstock release diff rel_0d2eb39448d0ad7e
    penstock release history chat
    """


@release.command()
@click.argument("service")
@click.option("--model", metavar="VERSION", help="NAME@DIGEST, NAME@ALIAS, or NAME: as the deployment file has it.")
@click.option("--prompt", metavar="VERSION", help="NAME@DIGEST, NAME@ALIAS, or NAME: as the gateway's folder has it.")
@click.option("--no-prompt", is_flag=True, help="Without a prompt.")
@click.option(
    "--default",
    "defaults",
    multiple=True,
    type=member,
    metavar="NAME=VALUE",
    help="A member of requests that holds where the client says nothing; those that are given are all.",
)
@click.option("--no-defaults", is_flag=True, help="Without any.")
@click.option("-m", "--message", default="", help="What it changes, and why.")
@at_gateway
def create(
    desk: Desk,
    /,
    service: str,
    model: str | None,
    prompt: str | None,
    no_prompt: bool,
    defaults: Sequence[tuple[str, object]],
    no_defaults: bool,
    message: str,
) -> None:
    """Freeze a release of SERVICE, and print its id.

    The id stands alone on standard output, so that a shell can take it. What is not mentioned is as most of its
    traffic gets it now.

    \b
    RELEASE=$(penstock release create chat --prompt greeting -m "a kinder greeting")
    """
    if prompt is not None and no_prompt:
        raise click.UsageError("--prompt and --no-prompt exclude one another")
    if defaults and no_defaults:
        raise click.UsageError("--default and --no-defaults exclude one another")
    asked = CreateRelease(
        service=service,
        model=UNSET if model is None else model,
        prompt=None if no_prompt else UNSET if prompt is None else prompt,
        defaults=dict(defaults) if defaults or no_defaults else UNSET,
        message=message,
    )
    told = desk.ask.one("releases.create", ReleaseView, body=asked)
    made = told.value
    gets = f"{made.share:g} % of the traffic get it" if made.share else "nobody gets it yet"
    if not desk.as_json:
        note(f"Release {made.id} of {made.service} is made: {made.model}{_and(made.prompt)}; {gets}.")
    desk.tell(told, made.id)


@release.command("list")
@click.argument("service", required=False)
@at_gateway
def list_(desk: Desk, service: str | None) -> None:
    """List releases, newest first, and who gets them."""
    desk.rows(
        desk.ask.pages("releases.list", ReleaseView, {"service": service}),
        _COLUMNS,
        lambda each: (
            each.id,
            each.service,
            _share(each),
            each.model,
            each.prompt,
            time_of(each.created_at),
            each.author,
            each.message,
        ),
        "There is no such release.",
    )


@release.command()
@click.argument("id_", metavar="ID")
@at_gateway
def show(desk: Desk, id_: str) -> None:
    """Show one release."""
    comparing.show(desk, desk.ask.one("releases.get", ReleaseView, id_), "defaults")


@release.command()
@click.argument("id_", metavar="ID")
@click.argument("other", required=False)
@at_gateway
def diff(desk: Desk, id_: str, other: str | None) -> None:
    """Say what has changed from the release ID to OTHER.

    Of one ID alone: what would change for most of the service's traffic.
    """
    before, after = (None, id_) if other is None else (id_, other)
    comparing.compare(desk, "releases.diff", before, after)


@release.command()
@click.argument("service")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many.")
@at_gateway
def history(desk: Desk, service: str, limit: int) -> None:
    """Say what became of the releases of SERVICE, newest first."""
    desk.rows(
        desk.ask.pages("releases.history", EventView, most=limit, target=service),
        _EVENTS,
        lambda each: (
            time_of(each.at),
            _what(each),
            each.release,
            each.by,
            each.rollout,
            each.message,
        ),
        "It has served only what the deployment file says.",
    )


def _and(prompt: str) -> str:
    return f" and {prompt}" if prompt else ""


def _share(release: ReleaseView) -> str:
    shares = f"{release.share:g} %" if release.share else "warm" if release.warm else ""
    return f"{shares} ({release.segment_share:g} % of a segment)".strip() if release.segment_share else shares


def _what(event: EventView) -> str:
    what = event.what.replace("_", " ")
    if event.preset == "rollback":
        return "rolled back to" if event.what == "rolled_back" else f"rollback {what}"
    return f"{event.preset} {what}".replace("_", " ") if event.preset is not None else what
