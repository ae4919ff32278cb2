"""How often gates err, and how soon they see a drop: simulated rollouts beside an oracle and a repeated z-test.

    python -m benchmarks rollouts [--runs 2000] [--chart FILE.svg]

A candidate gets a tenth of the traffic, or 1, 10, then 50 % of one that drifts; at most 3,000 of its samples
are looked at, one by one, with one metric or six. The oracle is Wald's sequential test that knows both means (and
how alike sticky users are) and has nothing to learn; the z-test compares all scores so far after every sample, as a
person at a dashboard does.
"""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import machine, rollout_chart
from benchmarks.rollout_runs import Numbers, Order, course, first
from benchmarks.rollout_traffic import ALIKE, SAMPLES, Kind, means, order, scores

ALPHA = 0.05
MARGIN = 0.05
LEAST = 50
METRICS = 6
_TOGETHER = 20


@dataclass(frozen=True)
class Times:
    """Samples of the candidate until something was reached, run by run; infinite: never. ``worse`` and ``better`` are
    of each metric (metric by run), ``worse_6`` at the level that six metrics ask for; ``oracle`` and ``z`` of the
    first metric."""

    worse: Numbers
    worse_6: Numbers
    better: Numbers
    oracle: Numbers
    oracle_6: Numbers
    z: Numbers

    def rolled_back(self, metrics: int) -> Numbers:
        """When, infinite: never, or promoted before."""
        worse = self.worse[0] if metrics == 1 else self.worse_6.min(axis=0)
        return np.where(worse <= self.better[:metrics].max(axis=0), worse, np.inf)

    def promoted(self, metrics: int) -> Numbers:
        """When, infinite: never, or rolled back before."""
        better = self.better[:metrics].max(axis=0)
        return np.where(np.isfinite(self.rolled_back(metrics)), np.inf, better)


def simulated(kind: Kind, difference: float, runs: int, seed: int) -> Times:
    """``difference`` is of the first metric; in the others the candidate is the champion's equal. Twenty runs share
    the order in which samples come, and nothing else."""
    random = np.random.default_rng(seed)
    parts = [_together(kind, difference, min(_TOGETHER, runs - at), random) for at in range(0, runs, _TOGETHER)]
    return Times(*(np.concatenate(each, axis=-1) for each in zip(*parts, strict=True)))


def _together(kind: Kind, difference: float, runs: int, random: np.random.Generator) -> tuple[Numbers, ...]:
    of = order(kind, random)
    worse, worse_6, better = np.empty((3, METRICS, runs))
    for metric in range(METRICS):
        values = scores(kind, of, 0.0 if metric else difference, runs, random)
        if not metric:
            z = _z_test(of, values)
            oracle, oracle_6 = (_oracle(kind, of, values, alpha) for alpha in (ALPHA, ALPHA / METRICS))
        found = course(of, values, MARGIN)
        worse[metric] = first(found.worse, of.seen, ALPHA, LEAST, SAMPLES)
        worse_6[metric] = first(found.worse, of.seen, ALPHA / METRICS, LEAST, SAMPLES)
        better[metric] = first(found.better, of.seen, ALPHA, LEAST, SAMPLES)
    return worse, worse_6, better, oracle, oracle_6, z


def _oracle(kind: Kind, of: Order, values: Numbers, alpha: float) -> Numbers:
    """Knows that the candidate is ``MARGIN`` worse or as good, and all else that there is to know."""
    good = values[:, of.candidate]
    equal = means(kind, of)[of.candidate]
    worse, same = (_likelihoods(kind, of, good, mean) for mean in (equal - MARGIN, equal))
    return first((worse - same).cumsum(axis=1), np.arange(1, good.shape[1] + 1), alpha, LEAST, SAMPLES)


def _likelihoods(kind: Kind, of: Order, good: Numbers, mean: Numbers) -> Numbers:
    if kind == "sticky":
        # A user of whom more is known is known better: the posterior mean of a beta distribution.
        units = of.unit[of.candidate]
        around = 1 / ALIKE - 1
        chances = np.empty_like(good)
        for unit in np.unique(units):
            places = np.flatnonzero(units == unit)
            before = good[:, places].cumsum(axis=1) - good[:, places]
            chances[:, places] = (mean[places] * around + before) / (around + np.arange(len(places)))
    else:
        chances = np.broadcast_to(mean, good.shape)
    return np.log(np.where(good > 0, chances, 1 - chances))


def _z_test(of: Order, values: Numbers) -> Numbers:
    at = np.flatnonzero(of.candidate)
    count = np.arange(1, len(at) + 1)
    others = np.maximum(1, at + 1 - count)
    mine = (values * of.candidate).cumsum(axis=1)[:, at] / count
    other = (values * ~of.candidate).cumsum(axis=1)[:, at] / others
    variance = np.maximum(1e-9, mine * (1 - mine) / count + other * (1 - other) / others)
    # The evidence of a one-sided z of 1.645, as the logarithm that ``first`` compares.
    reached = np.where((other - mine) / np.sqrt(variance) > 1.645, np.log(1 / ALPHA), -np.inf)
    return first(reached, count, ALPHA, LEAST, SAMPLES)


def share(times: Numbers) -> float:
    """Of the runs, how many got there."""
    return float(np.isfinite(times).mean())


_HEADS = ("traffic", "metrics", "equal: rolled back", "equal: promoted", "equal: z-test errs")
_HEADS += ("-margin: promoted", "-margin: rolled back", "samples, median", "oracle", "ratio", "oracle sees")


def row(kind: Kind, metrics: int, equal: Times, drop: Times) -> tuple[str, ...]:
    """What is said of one kind of traffic."""
    oracle = drop.oracle if metrics == 1 else drop.oracle_6
    ours, best = float(np.median(drop.rolled_back(metrics))), float(np.median(oracle))
    return (
        kind,
        str(metrics),
        f"{share(equal.rolled_back(metrics)):.1%}",
        f"{share(equal.promoted(metrics)):.1%}",
        f"{share(equal.z):.1%}" if metrics == 1 else "",
        f"{share(drop.promoted(metrics)):.1%}",
        f"{share(drop.rolled_back(metrics)):.1%}",
        f"{ours:,.0f}",
        f"{best:,.0f}",
        f"{ours / best:.2f}",
        f"{share(oracle):.1%}",
    )


def table(rows: Sequence[Sequence[str]]) -> str:
    """As Markdown."""
    lines = [_HEADS, ["---"] * len(_HEADS), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main(runs: int, chart: Path | None) -> None:
    """Prints a table, and draws a chart where one is asked for."""
    print(f"{datetime.date.today().isoformat()}; {machine.described()}; {runs:,} runs each", flush=True)
    rows = []
    drawn: dict[Kind, tuple[Times, Times]] = {}
    kinds: tuple[Kind, ...] = ("plain", "sticky", "drifting")
    for seed, kind in enumerate(kinds):
        equal, drop = simulated(kind, 0.0, runs, 2 * seed), simulated(kind, -MARGIN, runs, 2 * seed + 1)
        drawn[kind] = equal, drop
        rows += [row(kind, metrics, equal, drop) for metrics in (1, METRICS)]
    print(table(rows))
    if chart is not None:
        chart.write_text(_drawn(*drawn["plain"]), encoding="utf-8")


def _drawn(equal: Times, drop: Times) -> str:
    return rollout_chart.drawn(
        SAMPLES,
        rollout_chart.Panel(
            "Candidate as good as the champion: rolled back by mistake",
            (("z-test after every sample", equal.z), ("gate", equal.rolled_back(1))),
            (ALPHA, "alpha, 5 %"),
            0.5,
        ),
        rollout_chart.Panel(
            "Candidate 5 points worse (.80 to .75): rolled back",
            (("oracle that knows both means", drop.oracle), ("gate", drop.rolled_back(1))),
            (0.95, "95 %"),
            1.0,
        ),
    )


def parse(parser: argparse.ArgumentParser) -> None:
    """Adds what the command line may say."""
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--chart", type=Path, default=None, help="where to draw the chart, as SVG")
