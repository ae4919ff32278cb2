"""Between what a difference lies, as far as the pairs tell: for people to look at, as often as they like."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from penstock.quality.betting import ALTERNATIVES, BOLDEST, WEIGHTS

_HALVINGS = 16


def interval(
    differences: Sequence[float],
    variances: Sequence[float],
    *,
    margin: float,
    design: float,
    low_alpha: float,
    high_alpha: float,
) -> tuple[float, float]:
    """The differences that betting has not refuted, in [-1, 1]; to within 0.0001.

    The bets are those of the gates, against every difference there could be. So ``high`` is below 0 just when "no
    worse" is refuted at ``high_alpha`` by what is known now, and ``low`` above minus the margin when "worse than the
    margin" is at ``low_alpha``. The true difference lies below ``low`` at any time with a chance of at most
    ``low_alpha``, above ``high`` with one of at most ``high_alpha``.
    """
    if not differences:
        return -1.0, 1.0
    seen = np.asarray(differences)
    stakes = [margin * each / (np.asarray(variances) + (margin * each) ** 2) for each in ALTERNATIVES]
    high = -_limit(-seen, stakes, design, math.log(1 / high_alpha))
    low = _limit(seen, stakes, design, math.log(1 / low_alpha))
    return low, high


def _limit(seen: NDArray[np.float64], stakes: Sequence[NDArray[np.float64]], design: float, enough: float) -> float:
    """The greatest value that the mean is refuted to be at most; -1: none is."""
    low, high = -1.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        bound = BOLDEST / (1 + middle)
        logs = np.array([np.log1p(np.minimum(each, bound) * (seen - middle)).sum() for each in stakes]) / design
        most = float(logs.max())
        if most + math.log(float(np.dot(WEIGHTS, np.exp(logs - most)))) >= enough:
            low = middle
        else:
            high = middle
    return low
