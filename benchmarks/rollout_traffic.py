"""Simulated traffic of a rollout: in which order samples come, and what they score."""

from __future__ import annotations

from typing import Literal

import numpy as np

from benchmarks.rollout_runs import Numbers, Order, ordered

Kind = Literal["plain", "sticky", "drifting"]

CHAMPION = 0.80
"""The champion's mean."""
SAMPLES = 3000
"""Of the candidate, at most."""
USERS = 1000
CANARY_USERS = 100
ALIKE = 0.1
"""Intra-class correlation of sticky users: of the variance of their scores, how much is between users."""

_STEPS = {
    "plain": ((0.1, SAMPLES),),
    "sticky": ((0.1, SAMPLES),),
    "drifting": ((0.01, 100), (0.1, 1000), (0.5, SAMPLES - 1100)),
}
"""Shares of the candidate, and how many of its samples come at each."""


def order(kind: Kind, random: np.random.Generator) -> Order:
    """One course of traffic. ``plain`` and ``sticky``: a tenth goes to the candidate; ``drifting``: 1, 10, then 50 %.
    ``sticky``: all of it is of 1,000 users, 100 of them the candidate's, each sample in a window of its own."""
    parts = []
    for share, samples in _STEPS[kind]:
        drawn = random.random(int((samples + 10 * samples**0.5) / share)) < share
        parts.append(drawn[: np.flatnonzero(drawn)[samples - 1] + 1])
    candidate = np.concatenate(parts)
    units = np.arange(len(candidate))
    if kind == "sticky":
        canaries, others = random.integers(0, [[CANARY_USERS], [USERS - CANARY_USERS]], (2, len(candidate)))
        units = np.where(candidate, canaries, CANARY_USERS + others)
    return ordered(candidate, units)


def means(kind: Kind, of: Order) -> Numbers:
    """The champion's mean when each sample came: a wave like that of days, and a fall of .12 in all, where it
    drifts."""
    if kind != "drifting":
        return np.full(len(of.at), CHAMPION)
    wave: Numbers = CHAMPION + 0.06 - 0.12 * of.at + 0.04 * np.sin(25 * of.at)
    return wave


def scores(kind: Kind, of: Order, difference: float, runs: int, random: np.random.Generator) -> Numbers:
    """Scores of 0 or 1, run by sample; the candidate's mean is ``difference`` above the champion's."""
    chances = means(kind, of) + difference * of.candidate
    if kind == "sticky":
        # A user's own mean is drawn from a beta distribution whose variance is ALIKE of that of a score.
        around = 1 / ALIKE - 1
        mean = np.full(USERS, CHAMPION)
        mean[:CANARY_USERS] += difference
        chances = random.beta(mean * around, (1 - mean) * around, (runs, USERS))[:, of.unit]
    return (random.random((runs, len(of.at))) < chances).astype(np.float64)
