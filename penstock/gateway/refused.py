"""What a client is told of limits and budgets: in the headers of every answer, and when one is in the way."""

from __future__ import annotations

import math
from collections.abc import Sequence

from penstock.access.limits import Amounts, Applying, Rule
from penstock.core.accounts import Budget, Limit
from penstock.core.errors import BUDGET_EXCEEDED, RATE_LIMITED, Fault, PenstockError
from penstock.core.leases import Hold, Level, Need, Refused
from penstock.core.money import dollars

# When a client may come back for a place; nobody knows when one is given back.
_PLACE_RETRY_S = 1.0


class Limited(PenstockError):
    """RATE_LIMITED or BUDGET_EXCEEDED, by ``rule``."""

    __slots__ = ("rule",)

    def __init__(self, rule: Rule, fault: Fault, message: str, retry_after: float | None = None) -> None:
        super().__init__(fault, message, retry_after=retry_after)
        self.rule = rule


def refusal(answer: Refused, applying: Applying, asked: Sequence[Need], wanted: Amounts) -> Limited:
    """What is told of the tightest, by name; ``wanted`` is all that the request may use."""
    rule = (*applying.limits, *applying.budgets)[answer.tightest]
    need, level = asked[answer.tightest], answer.levels[answer.tightest]
    if need.hold is Hold.KEPT:
        error = Limited(
            rule,
            BUDGET_EXCEEDED,
            f"This request may cost ${dollars(wanted.cost_nano)}, and {rule.said()} has ${dollars(level.remaining)} "
            "left. Ask for less (`max_tokens`), wait for the next period, or have it raised.",
        )
    elif answer.retry_after == math.inf:
        error = Limited(
            rule,
            RATE_LIMITED,
            f"This request may use {need.amount}, which {rule.said()} never allows. Ask for less (`max_tokens`, or a "
            "shorter prompt), or have it raised.",
        )
    else:
        wait_s = _PLACE_RETRY_S if answer.retry_after is None else answer.retry_after
        error = Limited(
            rule,
            RATE_LIMITED,
            f"{capital(rule.said())} is reached: {level.remaining} left, {need.amount} wanted. Try again in "
            f"{math.ceil(wait_s)} s.",
            retry_after=wait_s,
        )
    error.headers = limit_headers(applying, answer.levels)
    return error


def limit_headers(applying: Applying, levels: Sequence[Level]) -> dict[str, str]:
    """``x-ratelimit-{limit,remaining,reset}-{requests,tokens}``: of several limits on the same, that of which the
    smallest share is left. ``levels`` as the counters gave them, limits first."""
    found: dict[str, str] = {}
    tightest: dict[str, float] = {}
    for rule, level in zip(applying.limits, levels, strict=False):
        about = rule.about
        if not isinstance(about, Limit) or about.metric == "concurrent":
            continue
        what = "requests" if about.metric == "requests" else "tokens"
        share = level.remaining / about.amount if about.amount else 0.0
        if share < tightest.get(what, math.inf):
            tightest[what] = share
            found[f"x-ratelimit-limit-{what}"] = str(about.amount)
            found[f"x-ratelimit-remaining-{what}"] = str(max(0, level.remaining))
            found[f"x-ratelimit-reset-{what}"] = f"{math.ceil(level.reset_s)}s"
    return found


def warnings(applying: Applying, levels: Sequence[Level]) -> list[tuple[str, str]]:
    """Of the budgets of which a share is used, or reserved, at which a warning is to be given: which one and what
    share, to tell once; and the warning. ``levels`` as the counters gave them, limits first."""
    found: list[tuple[str, str]] = []
    for rule, level in zip(applying.budgets, levels[len(applying.limits) :], strict=False):
        about = rule.about
        if not isinstance(about, Budget) or not about.amount_nano:
            continue
        used = 100 * (about.amount_nano - level.remaining) // about.amount_nano
        passed = max((percent for percent in about.warn_percent if percent <= used), default=None)
        if passed is not None:
            found.append((f"{rule.counter}:{passed}", f"{used} % of {rule.said()} is used or reserved"))
    return found


def capital(words: str) -> str:
    """The words at the beginning of a sentence."""
    return words[:1].upper() + words[1:]
