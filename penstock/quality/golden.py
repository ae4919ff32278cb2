"""Two releases on a golden set: the same inputs to both, each pair compared. Says whether a change may be merged."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec

from penstock.core.releases import Gate
from penstock.quality.comparison import Comparison
from penstock.quality.intervals import interval

_SHOWN: Final = 5


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One input of a golden set, and what both releases scored on it, by metric, in [0, 1]. One that failed has 0."""

    id: str
    candidate: Mapping[str, float]
    champion: Mapping[str, float]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How one metric came out over ``rows`` pairs. ``passed``: the candidate is not worse by the margin. ``worse``:
    it is worse than the champion. ``open``: there are too few rows to know; about ``more_rows`` more would do, None:
    it cannot be told. ``lacking``: rows that one of the two has no score of, which count for neither."""

    metric: str
    margin: float
    says: Literal["passed", "worse", "open"]
    rows: int
    lacking: int
    candidate_mean: float
    champion_mean: float
    difference: float
    low: float
    high: float
    more_rows: int | None
    lost: tuple[tuple[str, float, float], ...]
    """Rows by which the candidate lost most: id, its score, the champion's."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """What a golden set says of a candidate. ``passed``: every metric has, and none lacks a score of any row."""

    passed: bool
    rows: int
    outcomes: tuple[Outcome, ...]


def check(rows: Sequence[Row], gates: Sequence[Gate], *, alpha: float = 0.05) -> Check:
    """Compares pair by pair, with the bets of a rollout's gates: a candidate that is worse by the margin passes with
    a chance of at most ``alpha``, one that is as good is called worse with a chance of at most ``alpha``. That is of
    rows like these, drawn by chance: a set that was tuned for one of the two says nothing of others."""
    outcomes = tuple(_outcome(rows, gate, alpha, len(gates)) for gate in gates)
    passed = bool(outcomes) and all(each.says == "passed" and not each.lacking for each in outcomes)
    return Check(passed=passed, rows=len(rows), outcomes=outcomes)


def _outcome(rows: Sequence[Row], gate: Gate, alpha: float, gates: int) -> Outcome:
    metric = gate.metric
    scored = [
        (row.id, row.candidate[metric], row.champion[metric])
        for row in rows
        if metric in row.candidate and metric in row.champion
    ]
    pairs = Comparison(margin=gate.margin, window_s=1.0, min_samples=1, max_samples=len(rows))
    for place, (_, mine, other) in enumerate(scored):
        pairs.add_both(str(place), 0.0, mine, other)
    low, high = interval(
        [pair.difference for pair in pairs.pairs],
        [pair.variance for pair in pairs.pairs],
        margin=gate.margin,
        design=1.0,
        low_alpha=alpha,
        high_alpha=alpha / gates,
    )
    enough_worse, enough_better = math.log(gates / alpha), math.log(1 / alpha)
    says: Literal["passed", "worse", "open"] = "open"
    if pairs.worse_log >= enough_worse:
        says = "worse"
    elif pairs.better_log >= enough_better:
        says = "passed"
    lost = sorted((row for row in scored if row[1] < row[2]), key=lambda row: (row[1] - row[2], row[0]))
    return Outcome(
        metric=metric,
        margin=gate.margin,
        says=says,
        rows=len(scored),
        lacking=len(rows) - len(scored),
        candidate_mean=pairs.champion_mean + pairs.difference,
        champion_mean=pairs.champion_mean,
        difference=pairs.difference,
        low=low,
        high=high,
        more_rows=pairs.more_units(enough_worse, enough_better) if says == "open" else None,
        lost=tuple(lost[:_SHOWN]),
    )


_HEADS: Final = ("GATE", "CANDIDATE", "CHAMPION", "DIFFERENCE", "BETWEEN", "MARGIN", "ROWS", "")


def report(found: Check, *, candidate: str, champion: str) -> str:
    """For people, as lines of text."""
    lines = [f"{found.rows} rows of a golden set: {candidate} against {champion}", ""]
    table = [_HEADS, *(_cells(each) for each in found.outcomes)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines += [
        "  ".join(
            cell.rjust(width) if 0 < place < len(line) - 1 else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in table
    ]
    for each in found.outcomes:
        if each.lost and each.says != "passed":
            lines += ["", f"{each.metric}: rows that the candidate lost by most"]
            lines += [f"  {row}: {mine:.2f} against {other:.2f}" for row, mine, other in each.lost]
    return "\n".join([*lines, "", _said(found)]) + "\n"


def _cells(outcome: Outcome) -> tuple[str, ...]:
    return (
        outcome.metric,
        f"{outcome.candidate_mean:.3f}",
        f"{outcome.champion_mean:.3f}",
        f"{outcome.difference:+.3f}",
        f"{outcome.low:+.3f} to {outcome.high:+.3f}",
        f"-{outcome.margin:g}",
        str(outcome.rows),
        {"passed": "passed", "worse": "WORSE", "open": "undecided"}[outcome.says],
    )


def _said(found: Check) -> str:
    if found.passed:
        return "PASSED: in no metric is the candidate worse by the margin."
    why = [_why(each) for each in found.outcomes if each.says != "passed" or each.lacking]
    if not why:
        return "FAILED: there is no metric to compare."
    failed = any(each.says == "worse" or each.lacking for each in found.outcomes)
    return f"{'FAILED' if failed else 'UNDECIDED'}: {'; '.join(why)}."


def _why(outcome: Outcome) -> str:
    if outcome.lacking:
        return f"{outcome.metric} has no score of {outcome.lacking} rows"
    if outcome.says == "worse":
        return f"{outcome.metric} is worse"
    more = f" (about {outcome.more_rows:,} more may do)" if outcome.more_rows else ""
    return f"{outcome.metric} may be worse by more than {outcome.margin:g}: too few rows to know{more}"
