"""Budgets in US dollars, and how much of them is spent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, UnsetType

from penstock.access.limits import what
from penstock.control.accounts.bounds import (
    Subject,
    changeable,
    check_ceiling,
    check_subject,
    home_of,
    seen,
    visible,
)
from penstock.control.accounts.turn import (
    Gone,
    Outcome,
    Page,
    Text,
    Turn,
    Word,
    chosen_id,
    conflict,
    given_fields,
    invalid,
    page,
)
from penstock.core.accounts import EVERYWHERE, Budget, Directory, Period, SubjectKind
from penstock.core.money import NANO, dollars, period

Spent = Callable[[SubjectKind, str, float], Mapping[str, int]]
"""``LedgerStore.spent``."""

Percents = Annotated[tuple[Annotated[int, msgspec.Meta(ge=1, le=100)], ...], msgspec.Meta(max_length=10)]

_MOST = Decimal(1_000_000_000)


class BudgetView(msgspec.Struct, frozen=True, kw_only=True):
    """At most `amount` US dollars spent in a `period` (UTC). `subject` and `service` as of a limit. `spent` is what
    the ledger has of the period that is now, `period_begin` to `period_end`; requests in progress are not in it. Of
    a budget on each (`*`) it is the most that one has spent, `spent_by`."""

    id: str
    object: Literal["budget"] = "budget"
    kind: SubjectKind
    subject: str
    service: str
    period: Period
    amount: str
    warn_percent: tuple[int, ...]
    created_at: float
    spent: str = "0.00"
    spent_by: str = ""
    period_begin: float = 0.0
    period_end: float | None = None


class CreateBudget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new budget. `amount` in US dollars, as a decimal text. `warn_percent`: shares of it at which a warning is
    given. `id` default: one is made."""

    kind: SubjectKind
    subject: Subject = EVERYWHERE
    service: Text = ""
    period: Period = "month"
    amount: Decimal
    warn_percent: Percents = (80,)
    id: Word = ""


class ChangeBudget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is left out stays."""

    amount: Decimal | UnsetType = UNSET
    warn_percent: Percents | UnsetType = UNSET


def shown(budget: Budget) -> BudgetView:
    return BudgetView(
        id=budget.id,
        kind=budget.kind,
        subject=budget.subject,
        service=budget.service,
        period=budget.period,
        amount=dollars(budget.amount_nano),
        warn_percent=budget.warn_percent,
        created_at=budget.created_at,
    )


def with_spent(view: BudgetView, now: float, spent: Spent) -> BudgetView:
    """The same, with what the ledger has of it."""
    begin, end = period(view.period, now)
    service = view.subject if view.kind == "service" and view.subject != EVERYWHERE else view.service
    found = spent(view.kind, service, begin)
    by, nano = "", 0
    if view.kind == "global":
        nano = found.get("", 0)
    elif view.subject == EVERYWHERE:
        by, nano = max(found.items(), key=lambda item: item[1], default=("", 0))
    else:
        nano = found.get(view.subject, 0)
    return msgspec.structs.replace(
        view,
        spent=dollars(nano),
        spent_by=by,
        period_begin=begin,
        period_end=None if view.period == "total" else end,
    )


def page_with_spent(page_of: Page, now: float, spent: Spent) -> Page:
    """The same, with what the ledger has of each; the ledger is asked once for all that it adds up alike."""
    known: dict[tuple[str, str, float], Mapping[str, int]] = {}

    def once(kind: SubjectKind, service: str, since: float) -> Mapping[str, int]:
        asked = (kind, service, since)
        if asked not in known:
            known[asked] = spent(kind, service, since)
        return known[asked]

    data = [with_spent(view, now, once) for view in page_of.data if isinstance(view, BudgetView)]
    return msgspec.structs.replace(page_of, data=data)


def listed(directory: Directory, turn: Turn, _: None) -> Page:
    kind, subject = turn.query.get("kind"), turn.query.get("subject")
    rows = (
        each
        for each in directory.budgets
        if visible(directory, turn.actor, each) and kind in (None, each.kind) and subject in (None, each.subject)
    )
    return page(turn, ((each.id, each) for each in rows), shown)


def one(directory: Directory, turn: Turn, _: None) -> BudgetView:
    return shown(seen(directory, turn, "budget", directory.budgets))


def create(directory: Directory, turn: Turn, asked: CreateBudget) -> Outcome:
    amount_nano = _nano(asked.amount)
    check_subject(directory, turn, asked.kind, asked.subject, asked.service)
    for other in directory.budgets:
        if what(other) == (asked.kind, asked.service, asked.period) and other.subject == asked.subject:
            raise conflict(f"The budget '{other.id}' is on the same already. Change that one.", "period")
    made = Budget(
        id=chosen_id(turn, asked.id, "bud", {each.id for each in directory.budgets}),
        kind=asked.kind,
        subject=asked.subject,
        service=asked.service,
        period=asked.period,
        amount_nano=amount_nano,
        warn_percent=tuple(sorted(set(asked.warn_percent))),
        created_at=turn.now,
    )
    check_ceiling(turn.actor, "budget", made, directory.budgets)
    return Outcome(
        answer=shown(made), put=(made,), target=made.id, project=home_of(directory, made), after=shown(made)
    )


def change(directory: Directory, turn: Turn, asked: ChangeBudget) -> Outcome:
    budget = changeable(directory, turn, "budget", directory.budgets)
    fields = given_fields(asked)
    if asked.amount is not UNSET:
        del fields["amount"]
        fields["amount_nano"] = _nano(asked.amount)
    if asked.warn_percent is not UNSET:
        fields["warn_percent"] = tuple(sorted(set(asked.warn_percent)))
    new = msgspec.structs.replace(budget, **fields)
    check_ceiling(turn.actor, "budget", new, directory.budgets)
    return Outcome(
        answer=shown(new),
        put=(new,) if new != budget else (),
        target=budget.id,
        project=home_of(directory, budget),
        before=shown(budget),
        after=shown(new),
    )


def delete(directory: Directory, turn: Turn, _: None) -> Outcome:
    budget = changeable(directory, turn, "budget", directory.budgets)
    gone = Gone(object="budget", id=budget.id)
    project = home_of(directory, budget)
    return Outcome(
        answer=gone, remove=(("budget", budget.id),), target=budget.id, project=project, before=shown(budget)
    )


def _nano(amount: Decimal) -> int:
    # Its length is looked at first: a text of ten characters can mean a number of a billion digits.
    if not amount:
        return 0
    plain = amount.is_finite() and 0 <= amount <= _MOST and _exponent(amount) >= -60
    nano = Fraction(amount) * NANO if plain else Fraction(1, 2)
    if nano.denominator > 1:
        raise invalid(
            "amount",
            "'amount' must be US dollars as a decimal text such as \"25.00\", from 0 to a billion, with at most nine "
            "decimals.",
        )
    return int(nano)


def _exponent(amount: Decimal) -> int:
    exponent = amount.as_tuple().exponent
    return exponent if isinstance(exponent, int) else 0
