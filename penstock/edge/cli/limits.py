"""``penstock limits``: at most so many requests and tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import click

from penstock.control.accounts.limits import ChangeLimit, CreateLimit, LimitView
from penstock.control.accounts.turn import Gone
from penstock.core.accounts import Metric, Per
from penstock.core.errors import BAD_REQUEST, PenstockError
from penstock.edge.cli.desk import Desk, at_gateway, sure, yes
from penstock.edge.cli.showing import Column, subject_of
from penstock.edge.cli.words import Rate, Subject, rate, subject

_COLUMNS = (Column("ID"), Column("ON"), Column("SERVICE"), Column("AMOUNT", right=True), Column("OF"))
_METRICS: tuple[Metric, ...] = get_args(Metric)


@click.group()
def limits() -> None:
    """Set, see and remove limits on requests and tokens.

    What a limit is on: `global`, `project:red`, `key:ID`, `user:ID`, `team:ID`, `service:assistant`; `project` alone
    is each project by itself, and so for the others. The tightest of all that apply holds.

    \b
    penstock limits set project:red --requests 600/minute --tokens 2M/day
    penstock limits set key --concurrent 8
    penstock limits list project:red
    """


@limits.command("set")
@click.argument("on", type=subject)
@click.option("--requests", multiple=True, type=rate, metavar="N[/day]", help="Requests a minute, or a day.")
@click.option("--tokens", multiple=True, type=rate, metavar="N[/day]", help="Tokens, input and output together.")
@click.option("--input-tokens", multiple=True, type=rate, metavar="N[/day]", help="Tokens of prompts.")
@click.option("--output-tokens", multiple=True, type=rate, metavar="N[/day]", help="Tokens of replies.")
@click.option("--concurrent", multiple=True, type=rate, metavar="N", help="Requests in progress at once.")
@click.option("--service", default="", help="Only of requests to this service.")
@at_gateway
def set_(desk: Desk, /, on: Subject, service: str, **asked: Sequence[Rate]) -> None:
    """Set limits ON something, in place of those of the same kind there.

    Windows slide: at most so much in any 60 seconds, or any 24 hours. 0 stops everything.

    \b
    penstock limits set project:red --requests 600/minute --requests 20k/day
    penstock limits set user --tokens 100k --service assistant
    """
    wanted = [(metric, _per(metric, each), each.amount) for metric in _METRICS for each in asked[metric]]
    if not wanted:
        raise PenstockError(
            BAD_REQUEST, "no limit was given, such as --requests 600; see `penstock limits set --help`"
        )
    there = desk.ask.pages("limits.list", LimitView, {"kind": on.kind, "subject": on.subject})
    known = {(each.value.service, each.value.metric, each.value.per): each.value.id for each in there}
    for metric, per, amount in wanted:
        id_ = known.get((service, metric, per))
        if id_ is None:
            new = CreateLimit(
                kind=on.kind, subject=on.subject, service=service, metric=metric, per=per, amount=amount
            )
            told = desk.ask.one("limits.create", LimitView, body=new)
        else:
            told = desk.ask.one("limits.change", LimitView, id_, body=ChangeLimit(amount=amount))
        limit = told.value
        at = f" at {limit.service}" if limit.service else ""
        where = f"{subject_of(limit.kind, limit.subject)}{at}"
        desk.tell(told, f"{where}: at most {limit.amount} {said(limit)} ({limit.id}).")


@limits.command("list")
@click.argument("on", type=subject, required=False)
@at_gateway
def list_(desk: Desk, on: Subject | None) -> None:
    """List limits, all or those ON something: `project:red`, or `project` for those on each project."""
    query = {} if on is None else {"kind": on.kind, "subject": on.subject}
    desk.rows(
        desk.ask.pages("limits.list", LimitView, query),
        _COLUMNS,
        lambda each: (each.id, subject_of(each.kind, each.subject), each.service, str(each.amount), said(each)),
        "There is no such limit; set one with `penstock limits set`.",
    )


@limits.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@yes
@at_gateway
def remove(desk: Desk, ids: Sequence[str], yes: bool) -> None:
    """Remove limits."""
    sure(f"Remove {', '.join(ids)}?", yes)
    for id_ in ids:
        desk.tell(desk.ask.one("limits.delete", Gone, id_), f"Limit {id_} is removed.")


def said(limit: LimitView) -> str:
    """What it counts, in words."""
    if limit.metric == "concurrent":
        return "requests at once"
    return f"{limit.metric.replace('_', ' ')} a {limit.per}"


def _per(metric: Metric, asked: Rate) -> Per:
    if metric != "concurrent":
        return asked.per or "minute"
    if asked.per is not None:
        raise click.UsageError("--concurrent is of requests at one moment; leave out what stands behind the slash.")
    return ""
