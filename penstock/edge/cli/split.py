"""``penstock split``: who gets which release of a service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import click
from msgspec import UNSET

from penstock.control.accounts.rollout_shown import SplitView
from penstock.control.accounts.splits import KeepWarm, SetSplit
from penstock.edge.cli.desk import Desk, at_gateway
from penstock.edge.cli.rollout_words import Share, share
from penstock.edge.cli.showing import Column, time_of
from penstock.edge.cli.words import duration

_COLUMNS = tuple(map(Column, ("SERVICE", "SHARES", "KEPT WARM", "ROLLOUT", "CHANGED")))


@click.group()
def split() -> None:
    """See and set who gets which release of a service.

    A rollout moves shares by itself, and by what its gates say; by hand nobody watches.

    \b
    penstock split show chat
    penstock split set chat rel_0d2eb39448d0ad7e=90 rel_c01f3a6ef0f8d5b2=10
    """


@split.command()
@click.argument("service", required=False)
@at_gateway
def show(desk: Desk, service: str | None) -> None:
    """Show who gets which release, of SERVICE or of all."""
    if service is None:
        desk.rows(desk.ask.pages("splits.list", SplitView), _COLUMNS, _row, "There is no service.")
    else:
        desk.rows([desk.ask.one("splits.get", SplitView, service)], _COLUMNS, _row, "")


@split.command("set")
@click.argument("service")
@click.argument("shares", metavar="RELEASE=PERCENT...", nargs=-1, required=True, type=share)
@click.option(
    "--sticky",
    type=click.Choice(("user", "conversation", "request")),
    help="What a share is of. [default: as it was]",
)
@at_gateway
def set_(
    desk: Desk,
    service: str,
    shares: Sequence[Share],
    sticky: Literal["user", "conversation", "request"] | None,
) -> None:
    """Set the shares of SERVICE in percent; they add up to 100."""
    asked = SetSplit(shares={each.release: each.percent for each in shares}, sticky=sticky or UNSET)
    if len(asked.shares) < len(shares):
        raise click.UsageError("a release is named twice")
    told = desk.ask.one("splits.change", SplitView, service, body=asked)
    desk.tell(told, f"{told.value.id}: {said(told.value.shares)}.")


@split.command()
@click.argument("service")
@click.argument("release")
@click.option(
    "--for", "for_", type=duration, default="1h", show_default=True, metavar="TIME", help="How long; 0: no longer."
)
@click.option("--for-good", is_flag=True, help="Until it is let go by `--for 0`.")
@at_gateway
def warm(desk: Desk, service: str, release: str, for_: float, for_good: bool) -> None:
    """Keep RELEASE of SERVICE loaded, though nobody gets it.

    It can then be rolled back to, or checked, at once.
    """
    asked = KeepWarm(release=release, for_s=None if for_good else for_)
    told = desk.ask.one("splits.warm", SplitView, service, body=asked)
    kept = any(each.release == release for each in told.value.warm)
    desk.tell(told, f"{release} is {'kept loaded' if kept else 'let go'}.")


def said(shares: Mapping[str, float]) -> str:
    """``rel_0d2eb39448d0ad7e 90 %, rel_c01f3a6ef0f8d5b2 10 %``."""
    return ", ".join(f"{release} {part:g} %" for release, part in shares.items())


def _row(view: SplitView) -> Sequence[str]:
    shares = said(view.shares)
    if view.segment is not None:
        shares = f"{shares}; of a segment {said(view.segment_shares)}"
    return (
        view.id,
        shares,
        ", ".join(each.release for each in view.warm),
        view.rollout,
        "by the deployment file" if view.changed_at is None else time_of(view.changed_at),
    )
