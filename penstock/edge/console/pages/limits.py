"""Limits and budgets: set, changed, removed, and how much of a budget is left."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import get_args

import msgspec

from penstock.control.accounts.budgets import BudgetView
from penstock.control.accounts.limits import LimitView
from penstock.control.accounts.turn import Gone
from penstock.core.accounts import Metric, Per, Period, SubjectKind
from penstock.core.errors import INVALID_VALUE, PenstockError
from penstock.edge.console.page import Page, PageRoute, Redirect, Shown, Visit
from penstock.edge.console.pages.acts import Touched, sure
from penstock.edge.console.pages.bars import Used, used
from penstock.edge.console.pages.fullness import fullness
from penstock.edge.console.pages.parts import part
from penstock.edge.console.showing import link, money

KINDS: tuple[SubjectKind, ...] = get_args(SubjectKind)
METRICS: tuple[Metric, ...] = get_args(Metric)
PERIODS: tuple[Period, ...] = get_args(Period)
PERS: tuple[Per, ...] = get_args(Per)

_SEEN = ("limits:read", "budgets:read")
_LIMITS = ("limits:write",)
_BUDGETS = ("budgets:write",)


class Spent(msgspec.Struct, frozen=True):
    """A budget, with what is used of it as a bar. ``left`` in US dollars, below 0 where more was spent."""

    budget: BudgetView
    used: Used
    left: float


async def show(visit: Visit) -> Page:
    return await _shown(visit)


async def _shown(visit: Visit, error: PenstockError | None = None, form: str = "") -> Page:
    """``form`` is the one that was refused: ``limit`` or ``budget``."""
    kind, subject = visit.asked("kind"), visit.asked("subject")
    limits, budgets = await asyncio.gather(
        part(visit.api.all("limits.list", LimitView, kind=kind, subject=subject)),
        part(visit.api.all("budgets.list", BudgetView, kind=kind, subject=subject)),
    )
    values = {
        "limits": limits,
        "budgets": budgets,
        "full": await fullness(visit, limits.value.data) if limits.value is not None else {},
        "spent": _spent(budgets.value.data) if budgets.value is not None else (),
        "kind": kind,
        "subject": subject,
        "kinds": KINDS if visit.actor.everywhere else ("key", "user", "team"),
        "metrics": METRICS,
        "periods": PERIODS,
        "pers": PERS,
        "error": error,
        "refused": form,
        "typed": visit.ask.form if form else {},
    }
    return Page("Limits and budgets", "limits.html", values, status=200 if error is None else error.fault.status)


def _spent(budgets: Sequence[BudgetView]) -> Sequence[Spent]:
    """Those with the least left first."""
    found = [
        Spent(
            each,
            used(float(each.spent), float(each.amount), each.warn_percent),
            float(each.amount) - float(each.spent),
        )
        for each in budgets
    ]
    return sorted(found, key=lambda each: -each.used.share)


# -- setting -----------------------------------------------------------------------------------------------------


async def limit(visit: Visit) -> Shown:
    metric = visit.filled("metric")
    body: dict[str, object] = {
        "kind": visit.filled("kind"),
        "subject": visit.filled("subject", "*"),
        "service": visit.filled("service"),
        "metric": metric,
        "per": "" if metric == "concurrent" else visit.filled("per", "minute"),
    }
    try:
        body["amount"] = _whole(visit.filled("amount"))
        made = await visit.api.post("limits.create", LimitView, body=body)
    except PenstockError as error:
        return await _shown(visit, error, "limit")
    return Redirect(link("/limits"), f"The limit {made.id} holds from now on.")


async def budget(visit: Visit) -> Shown:
    body: dict[str, object] = {
        "kind": visit.filled("kind"),
        "subject": visit.filled("subject", "*"),
        "service": visit.filled("service"),
        "period": visit.filled("period", "month"),
        "amount": _dollars(visit.filled("amount")),
    }
    try:
        body["warn_percent"] = [_whole(each) for each in visit.filled("warn", "80").replace(",", " ").split()]
        made = await visit.api.post("budgets.create", BudgetView, body=body)
    except PenstockError as error:
        return await _shown(visit, error, "budget")
    return Redirect(link("/limits"), f"The budget {made.id} holds from now on.")


async def change_limit(visit: Visit) -> Shown:
    try:
        await visit.api.post("limits.change", LimitView, visit.place, body={"amount": _whole(visit.filled("amount"))})
    except PenstockError as error:
        return await _shown(visit, error, visit.place)
    return Redirect(link("/limits"), f"The limit {visit.place} is changed.")


async def change_budget(visit: Visit) -> Shown:
    try:
        amount = _dollars(visit.filled("amount"))
        await visit.api.post("budgets.change", BudgetView, visit.place, body={"amount": amount})
    except PenstockError as error:
        return await _shown(visit, error, visit.place)
    return Redirect(link("/limits"), f"The budget {visit.place} is changed.")


def _whole(text: str) -> int:
    plain = text.replace(" ", "").replace(",", "")
    if not (plain.isascii() and plain.isdigit() and len(plain) < 20):
        raise PenstockError(
            INVALID_VALUE, f"'{text[:40]}' is no whole number. Write one such as 600.", param="amount"
        )
    return int(plain)


def _dollars(text: str) -> str:
    return text.removeprefix("$").replace(",", "").strip()


# -- removing ----------------------------------------------------------------------------------------------------


async def remove_limit(visit: Visit) -> Shown:
    view = await visit.api.get("limits.get", LimitView, visit.place)
    per = f" a {view.per}" if view.per else " at once"
    what = f"at most {view.amount:,} {view.metric}{per if view.metric != 'concurrent' else ' requests at once'}"
    return await _removed(visit, "limit", view.kind, view.subject, view.service, what)


async def remove_budget(visit: Visit) -> Shown:
    view = await visit.api.get("budgets.get", BudgetView, visit.place)
    what = f"at most {money(view.amount)} a {view.period}, of which {money(view.spent)} is spent"
    return await _removed(visit, "budget", view.kind, view.subject, view.service, what)


async def _removed(visit: Visit, word: str, kind: str, subject: str, service: str, what: str) -> Shown:
    refused = None
    if visit.ask.method == "POST":
        try:
            await visit.api.post(f"{word}s.delete", Gone, visit.place)
        except PenstockError as error:
            refused = error
        else:
            return Redirect(link("/limits"), f"The {word} {visit.place} is gone.")
    whom = "everything together" if kind == "global" else f"each {kind}" if subject == "*" else f"{kind} {subject}"
    touched = [Touched("What it says", what), Touched("Whom it bounds", whom)]
    if service:
        touched.append(Touched("Only at", service, link(f"/services/{service}")))
    return sure(
        f"Remove the {word} {visit.place}?",
        "What it bounds has no such bound from then on, unless another holds.",
        act="Remove it",
        path=f"/{word}s/{visit.place}/remove",
        back="/limits",
        touched=touched,
        error=refused,
    )


ROUTES = (
    PageRoute("GET", "/limits", show, _SEEN),
    PageRoute("POST", "/limits", limit, _LIMITS),
    PageRoute("POST", "/budgets", budget, _BUDGETS),
    PageRoute("POST", "/limits/{id}/change", change_limit, _LIMITS),
    PageRoute("POST", "/budgets/{id}/change", change_budget, _BUDGETS),
    PageRoute("GET", "/limits/{id}/remove", remove_limit, _LIMITS),
    PageRoute("POST", "/limits/{id}/remove", remove_limit, _LIMITS),
    PageRoute("GET", "/budgets/{id}/remove", remove_budget, _BUDGETS),
    PageRoute("POST", "/budgets/{id}/remove", remove_budget, _BUDGETS),
)
