"""Thousands of simulated rollouts at once.

Which samples make a pair rests on their order alone, so that is found once for many runs, by the shipped ``Pairing``;
what betting comes to is then a matter of running sums over a table of runs and pairs. Test by test it is the same as
``Comparison``, score by score: ``tests/quality/test_simulation.py`` compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penstock.quality.betting import ALTERNATIVES, BOLDEST, WEIGHTS
from penstock.quality.pairing import Pairing

Numbers = NDArray[np.float64]
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Order:
    """The order in which samples came: of which arm, of which unit, and which of them were compared. ``at`` is how
    far the rollout was, from 0 to 1. ``candidates`` and ``champions`` are places among all samples, pair by pair, and
    ``*_from`` where each pair's begin; ``seen`` counts the candidate's units when the pair was made."""

    candidate: NDArray[np.bool_]
    unit: Places
    at: Numbers
    candidates: Places
    candidates_from: Places
    champions: Places
    champions_from: Places
    seen: Places


def ordered(candidate: NDArray[np.bool_], unit: Places) -> Order:
    """Pairs samples as the gate does."""
    pairing: Pairing[int] = Pairing()
    ours: list[int] = []
    theirs: list[int] = []
    ours_from: list[int] = []
    theirs_from: list[int] = []
    seen: list[int] = []
    count = 0
    for place, mine in enumerate(candidate.tolist()):
        count += mine
        if found := pairing.add(place, candidate=mine):
            ours_from.append(len(ours))
            theirs_from.append(len(theirs))
            ours += found[0]
            theirs += found[1]
            seen.append(count)
    at = np.arange(len(candidate)) / len(candidate)
    return Order(candidate, unit, at, *map(np.array, (ours, ours_from, theirs, theirs_from, seen)))


@dataclass(frozen=True)
class Course:
    """How the evidence went, run by pair: logarithms of wealth, and the differences that were seen."""

    worse: Numbers
    better: Numbers
    difference: Numbers
    variance: Numbers


def course(order: Order, values: Numbers, margin: float) -> Course:
    """``values`` are scores, run by sample."""
    ours, theirs = values[:, order.candidates], values[:, order.champions]
    ours_n, theirs_n = _sizes(order.candidates_from, ours), _sizes(order.champions_from, theirs)
    ours_mean = np.add.reduceat(ours, order.candidates_from, axis=1) / ours_n
    theirs_mean = np.add.reduceat(theirs, order.champions_from, axis=1) / theirs_n
    ours_variance = _variances(ours, order.candidates_from)
    theirs_variance = _variances(theirs, order.champions_from)
    difference = ours_mean - theirs_mean
    # A stake is set by what was known before its pair.
    variance = ours_variance[:, :-1] / ours_n + theirs_variance[:, :-1] / theirs_n
    parts = np.cumsum(1 / ours_n) * ours_variance[:, 1:]
    parts = parts / (parts + np.cumsum(1 / theirs_n) * theirs_variance[:, 1:])
    deviations = ours - np.repeat(theirs_mean, ours_n, axis=1)
    so_far = np.cumsum(difference, axis=1) / np.arange(1, len(order.seen) + 1)
    design = _designs(order, deviations, so_far, ours_variance[:, 1:], parts)
    worse, better = np.zeros((2, len(ALTERNATIVES), *difference.shape))
    for place, each in enumerate(ALTERNATIVES):
        stake = margin * each / (variance + (margin * each) ** 2)
        worse[place] = np.log1p(np.minimum(stake, BOLDEST) * -difference).cumsum(axis=1) / design
        bold = np.minimum(stake, BOLDEST / (1 - margin))
        better[place] = np.log1p(bold * (difference + margin)).cumsum(axis=1) / design
    return Course(_mixed(worse), _mixed(better), difference, variance)


def _sizes(begins: Places, flat: Numbers) -> Places:
    return np.diff(begins, append=flat.shape[1])


def _variances(flat: Numbers, begins: Places) -> Numbers:
    """Before each pair, and after the last."""
    counts = np.append(begins, flat.shape[1])
    none = np.zeros((len(flat), 1))
    total = np.concatenate((none, flat.cumsum(axis=1)), axis=1)[:, counts]
    squares = np.concatenate((none, (flat * flat).cumsum(axis=1)), axis=1)[:, counts]
    return (1.0 + np.maximum(0.0, squares - total * total / np.maximum(1, counts))) / (5.0 + counts)


def _designs(order: Order, deviations: Numbers, mean: Numbers, variance: Numbers, part: Numbers) -> Numbers:
    last = np.append(order.candidates_from[1:], len(order.candidates)) - 1
    ours_before, ours = _repeats(order.unit[order.candidates])
    _, theirs = _repeats(order.unit[order.champions])
    repeated = part * ours[last]
    repeated += (1 - part) * theirs[np.append(order.champions_from[1:], len(order.champions)) - 1]
    together = 2.0 * ours_before.cumsum()[last]
    products = _products(order.unit[order.candidates], deviations)[:, last]
    with np.errstate(divide="ignore", invalid="ignore"):
        alike = (products / together - mean * mean) / variance + np.sqrt(0.5 / together)
    alike = np.clip(np.where(together > 0, alike, 1.0), 0.0, 1.0)
    return 1 + alike * np.maximum(0.0, repeated - 1)


def _repeats(units: Places) -> tuple[Places, Numbers]:
    """For each sample how many its unit had before; and how many the unit of a sample has, in the mean, from then."""
    by_unit = np.argsort(units, kind="stable")
    begins = np.flatnonzero(np.diff(units[by_unit], prepend=-1))
    before = np.empty(len(units), dtype=np.int64)
    before[by_unit] = np.arange(len(units)) - np.repeat(begins, np.diff(begins, append=len(units)))
    return before, (2 * before + 1).cumsum() / np.arange(1, len(units) + 1)


def _products(units: Places, deviations: Numbers) -> Numbers:
    by_unit = np.argsort(units, kind="stable")
    begins = np.flatnonzero(np.diff(units[by_unit], prepend=-1))
    sums = np.concatenate((np.zeros((len(deviations), 1)), deviations[:, by_unit].cumsum(axis=1)), axis=1)
    before = np.empty_like(deviations)
    before[:, by_unit] = sums[:, :-1] - np.repeat(sums[:, begins], np.diff(begins, append=len(units)), axis=1)
    return (2 * before * deviations).cumsum(axis=1)


def _mixed(logs: Numbers) -> Numbers:
    most = logs.max(axis=0)
    return most + np.log(np.tensordot(np.array(WEIGHTS), np.exp(logs - most), axes=1))


def first(logs: Numbers, seen: Places, alpha: float, least: int, most: int) -> Numbers:
    """The candidate's units when ``alpha`` was first reached, run by run; infinite: never."""
    # Before the least number nothing is decided; at it, what was known then counts.
    from_pair = max(0, int(np.searchsorted(seen, least)) - 1)
    counted = np.maximum(seen[from_pair:], least)
    reached = (logs[:, from_pair:] >= np.log(1 / alpha)) & (counted <= most)
    return np.where(reached.any(axis=1), counted[reached.argmax(axis=1)].astype(float), np.inf)
