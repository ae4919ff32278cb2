"""Distributions as counts by bucket, each value told within 1 %: how ``core.series.Sketch`` is made, added and read.

By Masson, Rim, Lee: DDSketch, VLDB 2019.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from penstock.core.series import GAMMA, LEAST_S, Sketch
from penstock.core.series_sums import Counts, add_sketch, frozen

MOST_S = 1e9
"""What is above counts as that."""

_SCALE = 1.0 / math.log(GAMMA)
_VALUE = 2.0 / (GAMMA + 1.0)
_log = math.log
_ceil = math.ceil


def index_of(seconds: float) -> int:
    """The bucket of a value. What is no number counts as the least."""
    if not seconds > LEAST_S:
        seconds = LEAST_S
    elif seconds > MOST_S:
        seconds = MOST_S
    return _ceil(_log(seconds) * _SCALE)


def value_of(index: int) -> float:
    """The value, in seconds, that is told for a bucket."""
    return float(GAMMA**index * _VALUE)


def add(counts: Counts, seconds: float) -> None:
    """One more value."""
    index = index_of(seconds)
    counts[index] = counts.get(index, 0) + 1


def sketch_of(values: Iterable[float]) -> Sketch:
    """Of these values, in seconds."""
    counts: Counts = {}
    for each in values:
        add(counts, each)
    return frozen(counts)


def merged(sketches: Iterable[Sketch]) -> Sketch:
    """All of them as one, in whatever order."""
    counts: Counts = {}
    for each in sketches:
        add_sketch(counts, each)
    return frozen(counts)


def count_of(sketch: Sketch) -> int:
    """How many values it has."""
    return sum(count for _, count in sketch)


def quantile(sketch: Sketch, share: float) -> float | None:
    """A value, in seconds, within 1 % of the one at rank ``floor(share * (n - 1))`` of the ``n`` there are, counted
    from 0; None where there is none. ``share`` is from 0 to 1."""
    return next(iter(quantiles(sketch, (share,))), None)


def quantiles(sketch: Sketch, shares: Iterable[float]) -> tuple[float, ...]:
    """One for each of the ascending ``shares``, as ``quantile`` has it; empty where there is no value."""
    count = count_of(sketch)
    if not count:
        return ()
    ranks = [math.floor(share * (count - 1)) for share in shares]
    found: list[float] = []
    seen = 0
    for index, here in sketch:
        seen += here
        while len(found) < len(ranks) and ranks[len(found)] < seen:
            found.append(value_of(index))
        if len(found) == len(ranks):
            break
    return tuple(found)


def share_within(sketch: Sketch, seconds: float) -> float | None:
    """The share of values of at most so many seconds, give or take those within 2 % of it; None where there is no
    value."""
    count = count_of(sketch)
    if not count:
        return None
    last = index_of(seconds)
    return sum(here for index, here in sketch if index <= last) / count
