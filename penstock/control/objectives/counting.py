"""What a row of the series says of an objective: how many requests count, and how many of them were bad."""

from __future__ import annotations

import math
from typing import NamedTuple

from penstock.core.money import NANO
from penstock.core.series import GAMMA, LEAST_S, SeriesRow, Sketch
from penstock.observe.config import Objective
from penstock.observe.windows import OURS


class Count(NamedTuple):
    """``bad`` of ``total`` requests; for ``cost`` what they cost, in dollars; for ``quality`` what the scores lacked
    to 1."""

    total: float = 0.0
    bad: float = 0.0

    def plus(self, other: Count) -> Count:
        return Count(self.total + other.total, self.bad + other.bad)


NOTHING = Count()


def counted(objective: Objective, row: SeriesRow) -> Count:
    """What the row adds. A request that the caller's own fault or limit ended, or whose client went away, says
    nothing of the service; for ``latency`` it counts as it is in the sketch. ``quality`` is not in the series."""
    match objective.kind:
        case "availability":
            ours = sum(row.codes.get(code, 0) for code in OURS)
            bad = row.failed + ours
            return Count(max(row.requests - row.refused - row.left + ours, bad), bad)
        case "latency":
            return _within(row.duration, objective.within_s)
        case "first_chunk":
            return _within(row.first_chunk, objective.within_s)
        case "cost":
            return Count(row.requests, row.cost_nano / NANO)
    return NOTHING


def index_of(seconds: float) -> int:
    """The bucket of a sketch that the value falls in."""
    return math.ceil(math.log(max(seconds, LEAST_S)) / math.log(GAMMA))


def _within(sketch: Sketch, bound: float | None) -> Count:
    assert bound is not None
    last = index_of(bound)
    total = sum(count for _, count in sketch)
    return Count(total, sum(count for index, count in sketch if index > last))
