"""Over which times an objective is watched, and what burns too fast there.

Two windows a rule, as in The Site Reliability Workbook, chapter 5 (multiwindow, multi-burn-rate alerts): the long one
says that it matters, the short one that it still goes on. The lengths of the book are for a window of 30 days; for
another they grow or shrink with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import msgspec

from penstock.core import errors
from penstock.core.series import Severity
from penstock.observe.config import Objective

OURS = (errors.UPSTREAM_RATE_LIMITED.code, errors.QUEUE_FULL.code)
"""Faults with a status of 4xx that are no fault of the caller: capacity that there was not."""

LEAST_BAD: Mapping[Severity, int] = MappingProxyType({"page": 5, "ticket": 3})
"""Bad requests that there must be in the long window: of two requests a night one that fails is half of them, and
wakes nobody."""

DAY_S = 86400.0
_MONTH_S = 30 * DAY_S
_LEAST_S = 60.0
_STANDARD: Sequence[tuple[float, float, float, Severity]] = (
    (3600.0, 300.0, 14.4, "page"),
    (21600.0, 1800.0, 6.0, "page"),
    (86400.0, 7200.0, 3.0, "ticket"),
    (259200.0, 21600.0, 1.0, "ticket"),
)
# A mean is no share of bad requests: it is over its bound, or it is not.
_OF_MEANS: Sequence[tuple[float, float, float, Severity]] = ((86400.0, 7200.0, 1.0, "ticket"),)


class Rule(msgspec.Struct, frozen=True):
    """Fires while the budget burns at more than ``factor`` in both windows, in seconds."""

    long_s: float
    short_s: float
    factor: float
    severity: Severity


def allowed(objective: Objective) -> float:
    """What one request may take of the budget on the mean: the share that may be bad; for ``cost`` dollars."""
    if objective.kind == "cost":
        assert objective.dollars is not None
        return objective.dollars
    # Subtracted as people write it: 1 - 0.999 is a little less than 0.001.
    return round(1.0 - objective.target, 12)


def rules_of(objective: Objective) -> tuple[Rule, ...]:
    """The fastest first.

    A factor is never so high that it could not be reached: beyond half way from the budget's share to all requests it
    is that. Else a loose objective, 0.9 say, would not page while everything fails.
    """
    scale = objective.window_days * DAY_S / _MONTH_S
    standard = _OF_MEANS if of_means(objective) else _STANDARD
    most = (1.0 + 1.0 / allowed(objective)) / 2 if not of_means(objective) else float("inf")
    return tuple(
        Rule(_whole(long_s * scale), _whole(short_s * scale), min(factor, most), severity)
        for long_s, short_s, factor, severity in standard
    )


def of_means(objective: Objective) -> bool:
    """Whether it is about a mean, and not about a share of requests."""
    return objective.kind in ("cost", "quality")


def lengths(objective: Objective) -> tuple[float, ...]:
    """Every window of its rules in seconds, ascending."""
    return tuple(sorted({each for rule in rules_of(objective) for each in (rule.long_s, rule.short_s)}))


def label(seconds: float) -> str:
    """As Prometheus writes a duration: ``5m``, ``1h24m``, ``3d``."""
    left, text = int(seconds), ""
    for length, unit in ((86400, "d"), (3600, "h"), (60, "m"), (1, "s")):
        count, left = divmod(left, length)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def _whole(seconds: float) -> float:
    return max(_LEAST_S, round(seconds / 60.0) * 60.0)
