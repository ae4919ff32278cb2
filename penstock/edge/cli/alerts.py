"""``penstock alerts``: what wants somebody, what services promise, and silence."""

from __future__ import annotations

import click

from penstock.control.accounts.turn import Gone
from penstock.control.observed.views import AlertView, MakeSilence, ObjectiveView, SilenceView
from penstock.edge.cli.amounts import rate
from penstock.edge.cli.desk import Desk, at_gateway
from penstock.edge.cli.showing import Column, line_of, time_of
from penstock.edge.cli.words import duration

_ALERTS = tuple(map(Column, ("SEVERITY", "STATE", "SINCE", "ID", "TEXT")))
_SILENCES = tuple(map(Column, ("ID", "PATTERN", "UNTIL", "BY", "REASON")))
_OBJECTIVES = (
    Column("SERVICE"),
    Column("OBJECTIVE"),
    Column("BUDGET LEFT", right=True),
    Column("BURN 1H", right=True),
    Column("BURN 6H", right=True),
    Column("PROMISE"),
)


class _Alerts(click.Group):
    """``penstock alerts`` alone lists."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args.insert(0, "list")
        return super().parse_args(ctx, args)


@click.group(cls=_Alerts)
def alerts() -> None:
    """See alerts and objectives; tell nobody of some alerts for a while.

    \b
    penstock alerts
    penstock alerts objectives
    penstock alerts silence 'slo/assistant/*' --for 2h --reason "a planned load test"
    """


@alerts.command("list")
@click.option("--state", type=click.Choice(["active", "silenced", "resolved"]), help="Only in this state.")
@click.option("--service", help="Only of this service.")
@click.option("--most", type=click.IntRange(1), default=50, show_default=True, help="How many at most.")
@at_gateway
def list_(desk: Desk, state: str | None, service: str | None, most: int) -> None:
    """List alerts: those that are not over first, and those of the last seven days."""
    query = {"state": state, "service": service}
    desk.rows(
        desk.ask.pages("alerts.list", AlertView, query, most),
        _ALERTS,
        lambda each: (each.severity, _state(each), time_of(each.since), each.id, each.text),
        "No alert.",
    )


@alerts.command()
@click.option("--service", help="Only of this service.")
@at_gateway
def objectives(desk: Desk, service: str | None) -> None:
    """List what services promise, and how much of each error budget is left."""
    desk.rows(
        desk.ask.pages("objectives.list", ObjectiveView, {"service": service}),
        _OBJECTIVES,
        lambda each: (
            each.service,
            each.name,
            "" if each.budget_left is None else f"{100 * each.budget_left:.1f}%",
            rate(each.burn.get("1h")),
            rate(each.burn.get("6h")),
            each.text,
        ),
        "No service promises anything; see `services: NAME: objectives:` in the reference of the deployment file.",
    )


@alerts.command()
@at_gateway
def silences(desk: Desk) -> None:
    """List the silences that hold."""
    desk.rows(
        desk.ask.pages("silences.list", SilenceView),
        _SILENCES,
        lambda each: (each.id, each.pattern, time_of(each.until), each.by, each.reason),
        "Nothing is silenced.",
    )


@alerts.command()
@click.argument("pattern")
@click.option("--for", "for_s", type=duration, default="1h", show_default=True, metavar="TIME", help="30m, 2h, 1d.")
@click.option("--reason", default="", help="For those who wonder.")
@at_gateway
def silence(desk: Desk, pattern: str, for_s: float, reason: str) -> None:
    """Tell nobody of the alerts whose id fits PATTERN; `*` stands for anything. They are listed all the same."""
    asked = MakeSilence(pattern=pattern, reason=reason, for_s=for_s)
    told = desk.ask.one("silences.create", SilenceView, body=asked)
    view = told.value
    desk.tell(
        told,
        line_of(
            f"Silenced {view.pattern} until {time_of(view.until)}; `penstock alerts unsilence {view.id}` ends it."
        ),
    )


@alerts.command()
@click.argument("id_", metavar="ID")
@at_gateway
def unsilence(desk: Desk, id_: str) -> None:
    """End a silence now."""
    desk.tell(desk.ask.one("silences.delete", Gone, id_), line_of(f"The silence {id_} is over."))


def _state(alert: AlertView) -> str:
    if alert.resolved_at is not None:
        return f"resolved {time_of(alert.resolved_at)}"
    return f"silenced until {time_of(alert.silenced_until)}" if alert.silenced_until is not None else "active"
