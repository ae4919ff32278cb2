"""``penstock budgets``: at most so much money."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import click
from msgspec import UNSET

from penstock.control.accounts.budgets import BudgetView, ChangeBudget, CreateBudget
from penstock.control.accounts.turn import Gone
from penstock.core.accounts import Period
from penstock.edge.cli.desk import Desk, at_gateway, sure, yes
from penstock.edge.cli.showing import Column, subject_of, time_of
from penstock.edge.cli.words import Subject, dollars, subject

_COLUMNS = (
    Column("ID"),
    Column("ON"),
    Column("SERVICE"),
    Column("PER"),
    Column("BUDGET", right=True),
    Column("SPENT", right=True),
    Column("USED", right=True),
    Column("BEGINS ANEW"),
)


@click.group()
def budgets() -> None:
    """Set, see and remove budgets in US dollars, and see what is spent of them.

    What a budget is on is written as for limits: `global`, `project:red`, `key` for each key by itself.

    \b
    penstock budgets set project:red 500 --per month
    penstock budgets set key 5.00 --per day --warn 50 --warn 90
    """


@budgets.command("set")
@click.argument("on", type=subject)
@click.argument("amount", type=dollars, metavar="DOLLARS")
@click.option(
    "--per",
    type=click.Choice(["day", "week", "month", "total"]),
    default="month",
    show_default=True,
    help="A calendar period in UTC; total: it never begins anew.",
)
@click.option(
    "--warn",
    multiple=True,
    type=click.IntRange(1, 100),
    metavar="PERCENT",
    help="Warn when so much of it is spent. May be given several times. [default: 80]",
)
@click.option("--service", default="", help="Only of requests to this service.")
@at_gateway
def set_(desk: Desk, on: Subject, amount: Decimal, per: Period, warn: Sequence[int], service: str) -> None:
    """Set a budget ON something, in place of the one of the same period there.

    A request whose highest possible cost does not fit into what is left is refused before it goes out.
    """
    there = desk.ask.pages("budgets.list", BudgetView, {"kind": on.kind, "subject": on.subject})
    same = [each.value.id for each in there if (each.value.service, each.value.period) == (service, per)]
    if same:
        change = ChangeBudget(amount=amount, warn_percent=tuple(warn) or UNSET)
        told = desk.ask.one("budgets.change", BudgetView, same[0], body=change)
    else:
        new = CreateBudget(
            kind=on.kind,
            subject=on.subject,
            service=service,
            period=per,
            amount=amount,
            warn_percent=tuple(warn) or (80,),
        )
        told = desk.ask.one("budgets.create", BudgetView, body=new)
    budget = told.value
    at = f" at {budget.service}" if budget.service else ""
    each = "in all" if budget.period == "total" else f"a {budget.period}"
    where = f"{subject_of(budget.kind, budget.subject)}{at}"
    desk.tell(told, f"{where}: at most ${budget.amount} {each} ({budget.id}).")


@budgets.command("list")
@click.argument("on", type=subject, required=False)
@at_gateway
def list_(desk: Desk, on: Subject | None) -> None:
    """List budgets with what is spent of them, all or those ON something.

    Of a budget on each key, say, it is the most that one of them has spent. Requests in progress are not in it.
    """
    query = {} if on is None else {"kind": on.kind, "subject": on.subject}
    found = desk.ask.pages("budgets.list", BudgetView, query)
    desk.rows(found, _COLUMNS, _row, "There is no such budget; set one with `penstock budgets set`.")


@budgets.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@yes
@at_gateway
def remove(desk: Desk, ids: Sequence[str], yes: bool) -> None:
    """Remove budgets."""
    sure(f"Remove {', '.join(ids)}?", yes)
    for id_ in ids:
        desk.tell(desk.ask.one("budgets.delete", Gone, id_), f"Budget {id_} is removed.")


def _row(budget: BudgetView) -> Sequence[str]:
    on = subject_of(budget.kind, budget.subject)
    spent, amount = Decimal(budget.spent), Decimal(budget.amount)
    percent = spent * 100 / amount if amount else None
    past = [warning for warning in budget.warn_percent if percent is not None and percent >= warning]
    used = "" if percent is None else f"{percent:.0f}%{f' (past {max(past)}%)' if past else ''}"
    by = f" ({budget.spent_by})" if budget.spent_by else ""
    anew = "never" if budget.period_end is None else time_of(budget.period_end)
    return budget.id, on, budget.service, budget.period, budget.amount, budget.spent + by, used, anew
