"""Which limits and budgets hold for a caller, and what one request needs of them. Pure."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from penstock.core.accounts import Budget, Directory, Limit
from penstock.core.identity import Principal
from penstock.core.leases import Hold, Need
from penstock.core.money import dollars, period

LATE_S = 1.0
"""How long after it was received a request may be granted what it needs of a window."""
WINDOWS = {"minute": 60.0 + LATE_S, "day": 86400.0 + LATE_S}
"""How many seconds what was granted counts, by ``Limit.per``: so much more than the window itself that whatever was
received within one was granted within one of these."""
# Looked at for an hour after its period has ended, so that what began in it can still settle.
_LINGERS_S = 3600.0
# Of a budget in all: the year 3237, which every store can write.
_FOR_EVER = 4e10
_MOST_CACHED = 20_000


class Rule(msgspec.Struct, frozen=True):
    """A limit or a budget, on one subject. ``counter`` is its counter's name, for a budget without the period."""

    counter: str
    about: Limit | Budget
    subject: str

    def said(self) -> str:
        """Which one it is, for people."""
        about = self.about
        whom = "the whole gateway" if about.kind == "global" else f"{about.kind} '{self.subject}'"
        at = f" at service '{about.service}'" if about.service and about.kind != "service" else ""
        if isinstance(about, Budget):
            each = "in all" if about.period == "total" else f"a {about.period}"
            return f"the budget of ${dollars(about.amount_nano)} {each} of {whom}{at} ({about.id})"
        per = f" per {about.per}" if about.per else ""
        what = "requests at once" if about.metric == "concurrent" else about.metric.replace("_", " ")
        return f"the limit of {about.amount} {what}{per} of {whom}{at} ({about.id})"


class Applying(msgspec.Struct, frozen=True):
    """What holds for one caller at one service. ``counts_tokens``: a limit on tokens or a budget is among them."""

    limits: tuple[Rule, ...] = ()
    budgets: tuple[Rule, ...] = ()
    counts_tokens: bool = False


class Amounts(NamedTuple):
    """What one request counts as. ``cost_nano`` in billionths of a dollar."""

    requests: int
    input: int
    output: int
    cost_nano: int


class Rules:
    """The limits and budgets of one directory. Finding those of a caller is a dictionary look-up after the first
    time."""

    __slots__ = ("_budgets", "_cached", "_limits", "_nothing")

    def __init__(self, directory: Directory) -> None:
        self._limits = directory.limits
        self._budgets = directory.budgets
        self._nothing = Applying()
        self._cached: dict[tuple[str, str, str, str, str], Applying] = {}

    def applying(self, principal: Principal, service: str) -> Applying:
        """What holds for the caller at the service of this name."""
        if not self._limits and not self._budgets:
            return self._nothing
        whose = (principal.key_id, principal.user, principal.team, principal.project, service)
        found = self._cached.get(whose)
        if found is None:
            found = self._found(*whose)
            if len(self._cached) < _MOST_CACHED:
                self._cached[whose] = found
        return found

    def _found(self, key_id: str, user: str, team: str, project: str, service: str) -> Applying:
        subjects = {"key": key_id, "user": user, "team": team, "project": project, "service": service, "global": ""}
        limits = tuple(_of(self._limits, subjects, service))
        budgets = tuple(_of(self._budgets, subjects, service))
        tokens = any(isinstance(rule.about, Limit) and "tokens" in rule.about.metric for rule in limits)
        return Applying(limits, budgets, tokens or bool(budgets))


def _of(abouts: Sequence[Limit] | Sequence[Budget], subjects: dict[str, str], service: str) -> Iterable[Rule]:
    hold = [
        about
        for about in abouts
        if (not about.service or about.service == service)
        and (about.kind == "global" or (subjects[about.kind] and about.subject in ("*", subjects[about.kind])))
    ]
    own = {what(about) for about in hold if about.subject != "*"}
    for about in hold:
        if about.subject == "*" and about.kind != "global" and what(about) in own:
            continue
        subject = subjects[about.kind]
        yield Rule(f"{about.id}:{subject}", about, subject)


def what(about: Limit | Budget) -> tuple[str, ...]:
    """What it bounds, whoever it is set on: one on a single subject takes the place of that on each."""
    if isinstance(about, Budget):
        return about.kind, about.service, about.period
    return about.kind, about.service, about.metric, about.per


def counted(about: Limit, amounts: Amounts) -> int:
    """How much of the limit's metric it is."""
    match about.metric:
        case "requests":
            return amounts.requests
        case "input_tokens":
            return amounts.input
        case "output_tokens":
            return amounts.output
        case "tokens":
            return amounts.input + amounts.output
    return amounts.requests


def needs(applying: Applying, amounts: Amounts, at: float) -> list[Need]:
    """What to reserve, in the order of limits and budgets; ``at`` is when the request came, in seconds since the
    epoch. A further reserve of the same lease, for a dearer attempt, has 0 ``requests``."""
    found: list[Need] = []
    for rule in applying.limits:
        about = rule.about
        assert isinstance(about, Limit)
        if about.metric == "concurrent":
            found.append(Need(rule.counter, Hold.HELD, about.amount, amounts.requests))
        else:
            window_s = WINDOWS[about.per]
            found.append(Need(rule.counter, Hold.SLIDING, about.amount, counted(about, amounts), window_s))
    for rule in applying.budgets:
        about = rule.about
        assert isinstance(about, Budget)
        begin, end = _period(about.period, int(at // 3600))
        counter = budget_counter(rule.counter, begin)
        found.append(Need(counter, Hold.KEPT, about.amount_nano, amounts.cost_nano, until=until(end)))
    return found


@functools.lru_cache(64)
def _period(of: str, hour: int) -> tuple[float, float]:
    """Periods begin with an hour."""
    return period(of, hour * 3600.0)


def until(end: float) -> float:
    """When the counter of a period that ends then may be forgotten."""
    return min(end + _LINGERS_S, _FOR_EVER)


def budget_counter(counter: str, begin: float) -> str:
    """The counter of a budget in the period that begins then."""
    return f"{counter}:{int(begin)}"


def used(applying: Applying, amounts: Amounts, at: float) -> dict[str, int]:
    """What a request has used of each counter that it reserved; ``at`` as it was for ``needs``."""
    found: dict[str, int] = {}
    for rule in applying.limits:
        if isinstance(rule.about, Limit):
            found[rule.counter] = counted(rule.about, amounts)
    for rule in applying.budgets:
        if isinstance(rule.about, Budget):
            begin, _ = _period(rule.about.period, int(at // 3600))
            found[budget_counter(rule.counter, begin)] = amounts.cost_nano
    return found
