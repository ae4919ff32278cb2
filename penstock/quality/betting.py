"""Is the candidate worse than the champion, or surely not worse than the margin? Asked after every sample, with the
chance of ever being wrong bounded as if it were asked once.

The method is testing by betting (Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting",
JRSS B 2023). ``d`` is the difference candidate - champion of one pair, in [-1, 1]. Against a hypothesis under which a
payoff ``g(d)`` is at most 0 in the mean, one begins with a wealth of 1 and stakes a fraction of it on each pair:
``wealth *= 1 + stake * g``. As long as the hypothesis holds, wealth is not expected to grow, and by Ville's
inequality it ever reaches ``1 / alpha`` with a chance of at most ``alpha``. That holds for scores of any distribution
in [0, 1], at any sample size, and however often one looks.

The stake is the one that grows fastest if the truth is some alternative; the wealth is split in advance over four,
from half a margin away to four, and the variance is what earlier pairs showed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

ALTERNATIVES: Final = (0.5, 1.0, 2.0, 4.0)
"""Margins that the truth may be away from the hypothesis."""

WEIGHTS: Final = (0.2, 0.4, 0.2, 0.2)
"""Of the first wealth, how much is staked on each alternative."""

BOLDEST: Final = 0.9
"""Of a wealth, how much one pair can cost at most."""


def stakes(variance: float, margin: float, worst: float) -> tuple[float, ...]:
    """What to stake for each alternative on a payoff with this variance, that is at least ``-worst``."""
    most = BOLDEST / worst
    return tuple(min(most, margin * each / (variance + (margin * each) ** 2)) for each in ALTERNATIVES)


class Wealth:
    """What betting has come to against one hypothesis, as logarithms, one for each alternative."""

    __slots__ = ("_logs",)

    def __init__(self) -> None:
        self._logs = [0.0] * len(ALTERNATIVES)

    def bet(self, staked: Sequence[float], payoff: float) -> None:
        """Counts one pair."""
        for place, each in enumerate(staked):
            self._logs[place] += math.log1p(each * payoff)

    def amend(self, staked: Sequence[float], before: float, now: float) -> None:
        """A pair that was counted pays ``now`` and not ``before``: a unit of it was seen again in its window."""
        for place, each in enumerate(staked):
            self._logs[place] += math.log1p(each * now) - math.log1p(each * before)

    def log(self, design: float) -> float:
        """The natural logarithm of the wealth, where ``design`` (at least 1) pairs tell as much as one that is
        independent of all others: the wealth to the power ``1 / design``."""
        return mixed(tuple(each / design for each in self._logs))


def mixed(logs: Sequence[float]) -> float:
    """The logarithm of the weighted mean of what these are the logarithms of."""
    most = max(logs)
    return most + math.log(sum(weight * math.exp(each - most) for weight, each in zip(WEIGHTS, logs, strict=True)))
