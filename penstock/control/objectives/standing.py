"""How an objective stands: what burns of its error budget, in which window, and what is left. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from penstock.control.objectives.book import Book
from penstock.control.objectives.conditions import Condition
from penstock.control.objectives.counting import Count
from penstock.core.series import Severity
from penstock.observe.config import Objective
from penstock.observe.windows import DAY_S, LEAST_BAD, Rule, allowed, label, lengths, of_means, rules_of

LEAST_OF_MEAN = 20
"""Requests, or scores, without which a mean says nothing."""
LET_GO = 0.9
"""What has fired is over when it burns at less than this share of its limit: at the limit itself it would come and
go."""


class Means(Protocol):
    """Scores of a service, added up."""

    def __call__(self, service: str, metric: str, since: float) -> Count | None:
        """Those of requests since then; None: nobody knows."""


class Stood(msgspec.Struct, frozen=True, kw_only=True):
    """An objective of a service at a moment. ``counts`` by window in seconds, the whole window of the objective
    included; None: most of the window is not known yet."""

    service: str
    objective: Objective
    counts: Mapping[float, Count | None]

    @property
    def whole(self) -> Count | None:
        """In the objective's own window."""
        return self.counts[self.objective.window_days * DAY_S]

    @property
    def budget_left(self) -> float | None:
        """Of the error budget, as a share: below 0 where it is overspent, None where nothing was asked."""
        burnt = None if self.whole is None else burn(self.objective, self.whole)
        return None if burnt is None else 1.0 - burnt

    @property
    def burns(self) -> dict[str, float | None]:
        """By the label of each window of its rules."""
        return {label(each): self.burn(each) for each in lengths(self.objective)}

    def burn(self, seconds: float) -> float | None:
        """At 1 the budget lasts just as long as the objective's window. None: nobody asked, or nobody knows."""
        count = self.counts[seconds]
        return None if count is None else burn(self.objective, count)


def burn(objective: Objective, count: Count) -> float | None:
    """How many times faster than allowed, None of nothing."""
    return count.bad / count.total / allowed(objective) if count.total > 0 else None


def stood(book: Book, means: Means, service: str, objective: Objective, now: float) -> Stood:
    """A window of which more than half has not been told yet is not known."""
    told, wanted = book.told, (*lengths(objective), objective.window_days * DAY_S)
    if objective.kind == "quality":
        found = {seconds: means(service, objective.metric, now - seconds) for seconds in wanted}
    else:
        counts = book.windows(service, objective.title, now, wanted)
        found = {s: None if told is None or told < now - s / 2 else count for s, count in counts.items()}
    return Stood(service=service, objective=objective, counts=found)


def conditions(standing: Stood) -> list[Condition]:
    """One for each severity. It holds when one of its rules does, and does not when none does."""
    found: dict[Severity, list[tuple[Rule, bool | None]]] = {}
    for rule in rules_of(standing.objective):
        found.setdefault(rule.severity, []).append((rule, _fires(standing, rule)))
    return [_condition(standing, severity, rules) for severity, rules in found.items()]


def _condition(standing: Stood, severity: Severity, rules: list[tuple[Rule, bool | None]]) -> Condition:
    objective = standing.objective
    firing = next((rule for rule, fires in rules if fires), None)
    known = None if any(fires is None for _, fires in rules) else False
    shown = firing or rules[0][0]
    return Condition(
        id=f"slo/{standing.service}/{objective.title}/{severity}",
        kind="quality" if objective.kind == "quality" else "burn",
        severity=severity,
        service=standing.service,
        text=sentence(standing, shown),
        value=round(standing.burn(shown.long_s) or 0.0, 3),
        limit=round(shown.factor, 3),
        holds=True if firing else known,
    )


def _fires(standing: Stood, rule: Rule) -> bool | None:
    """False only where it is clearly over. A short window in which nobody asked says nothing of it, and neither does
    one that is between the limit and a little less."""
    objective = standing.objective
    long, short = standing.counts[rule.long_s], standing.counts[rule.short_s]
    long_burn, short_burn = standing.burn(rule.long_s), standing.burn(rule.short_s)
    if long is not None and (long_burn is None or long_burn <= rule.factor * LET_GO):
        return False
    if short is not None and short_burn is not None and short_burn <= rule.factor * LET_GO:
        return False
    if long is None or long_burn is None or short_burn is None:
        return None
    if long.total < LEAST_OF_MEAN if of_means(objective) else long.bad < LEAST_BAD[rule.severity]:
        return False
    return True if min(long_burn, short_burn) > rule.factor else None


def sentence(standing: Stood, rule: Rule) -> str:
    """What people are told."""
    objective, count = standing.objective, standing.counts[rule.long_s]
    over = label(rule.long_s)
    if count is None or not count.total:
        return f"{standing.service}: {objective.title}: nothing is known of the last {over}."
    mean = count.bad / count.total
    said = _SAID[objective.kind](objective, mean)
    left = standing.budget_left
    burnt = burn(objective, count) or 0.0
    text = f"{standing.service}: in the last {over} {said}"
    if of_means(objective):
        return text
    text += f", {_figure(burnt)} times what the objective allows ({_percent(allowed(objective))})."
    days = f"{objective.window_days:g} days"
    if left is None:
        return text
    return text + (
        f" {_percent(left)} of the error budget of {days} is left."
        if left > 0
        else f" The error budget of {days} is overspent by {_percent(-left)}."
    )


def _percent(share: float) -> str:
    return f"{_figure(share * 100)} %"


def _figure(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


_SAID: Mapping[str, Callable[[Objective, float], str]] = {
    "availability": lambda o, bad: f"{_percent(bad)} of requests failed",
    "latency": lambda o, bad: f"{_percent(bad)} of requests took longer than {o.within_s:g} s",
    "first_chunk": lambda o, bad: f"{_percent(bad)} of replies began later than after {o.within_s:g} s",
    "cost": lambda o, mean: f"a request cost ${mean:.4g} on the mean; the objective is ${o.dollars:.4g}.",
    "quality": lambda o, bad: f"the mean of '{o.metric}' was {1 - bad:.3g}; the objective is {o.target:g}.",
}


def promise(objective: Objective) -> str:
    """The objective as a sentence."""
    days, share = f"over {objective.window_days:g} days", f"{objective.target * 100:g} %"
    match objective.kind:
        case "availability":
            return f"{share} of requests do not fail, {days}"
        case "latency":
            return f"{share} of requests are over within {objective.within_s:g} s, {days}"
        case "first_chunk":
            return f"{share} of replies begin within {objective.within_s:g} s, {days}"
        case "cost":
            return (
                f"A request costs at most ${objective.dollars:.9f}".rstrip("0").rstrip(".") + f" on the mean, {days}"
            )
    return f"The mean of '{objective.metric}' is at least {objective.target:g}, {days}"
