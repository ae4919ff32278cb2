"""One metric of a rollout: its samples, their pairs, and what betting on them has come to."""

from __future__ import annotations

import math

from penstock.quality.betting import Wealth, stakes
from penstock.quality.moments import Moments, Repeats
from penstock.quality.pairing import Pairing


class Sample:
    """What one unit had in one window: the mean of its scores."""

    __slots__ = ("count", "key", "mean", "pair")

    def __init__(self, key: tuple[bool, str, int], value: float) -> None:
        self.key = key
        self.count = 1
        self.mean = value
        self.pair: Pair | None = None

    @property
    def candidate(self) -> bool:
        return self.key[0]

    @property
    def unit(self) -> str:
        return self.key[1]


class Pair:
    """Samples that were compared. ``variance`` is what the difference was expected to have before it was seen."""

    __slots__ = ("candidates", "champion_mean", "champions", "difference", "variance")

    def __init__(self, candidates: tuple[Sample, ...], champions: tuple[Sample, ...], variance: float) -> None:
        self.candidates = candidates
        self.champions = champions
        self.variance = variance
        self.champion_mean = 0.0
        self.difference = 0.0
        self.measure()

    def measure(self) -> None:
        """Takes the means of its samples as they are now."""
        self.champion_mean = _mean(self.champions)
        self.difference = _mean(self.candidates) - self.champion_mean


def _mean(samples: tuple[Sample, ...]) -> float:
    return sum(each.mean for each in samples) / len(samples)


class Comparison:
    """Candidate and champion in one metric, score by score, in order of arrival.

    All the scores of one unit in one window are one sample; a sample that is seen again counts with its new mean, at
    the stakes that it had. What it comes to depends on the scores and their order alone. ``worse_log`` and
    ``better_log`` are the logarithms of the greatest wealth there has been since ``min_samples`` units of the
    candidate, against "no worse than the champion" and against "worse by ``margin`` or more". From ``max_samples`` of
    them on no sample is taken up any more.
    """

    def __init__(self, *, margin: float, window_s: float, min_samples: int, max_samples: int) -> None:
        self.margin = margin
        self.pairs: list[Pair] = []
        self.candidate_units = 0
        self.champion_units = 0
        self.scores = 0
        self.worse_log = -math.inf
        self.better_log = -math.inf
        self._window_s = window_s
        self._min_samples = min_samples
        self._max_samples = max_samples
        self._pairing: Pairing[Sample] = Pairing()
        self._samples: dict[tuple[bool, str, int], Sample] = {}
        self._wealth = (Wealth(), Wealth())
        self._arms = (Moments(), Moments())
        self._differences = Moments()
        self._level = 0.0
        self._parts = (0.0, 0.0)
        self._repeats = Repeats()

    @property
    def difference(self) -> float:
        """Candidate less champion, in the mean of all pairs."""
        return self._differences.mean

    @property
    def champion_mean(self) -> float:
        """Of what the candidate was compared with."""
        return self._level / len(self.pairs) if self.pairs else 0.0

    @property
    def design(self) -> float:
        """How many samples tell as much as one that is independent of all others; 1 where no unit came twice."""
        of_candidate, of_champion = (part * arm.variance for part, arm in zip(self._parts, self._arms, strict=True))
        part = of_candidate / (of_candidate + of_champion) if of_candidate else 0.5
        return self._repeats.design(self._differences.mean, self._arms[0].variance, part)

    def add(self, unit: str, at: float, value: float, *, candidate: bool) -> None:
        """Counts one score of a request that came ``at``."""
        key = (candidate, unit, int(at // self._window_s))
        sample = self._samples.get(key)
        if sample is not None:
            self._again(sample, value)
        elif self.candidate_units < self._max_samples:
            self._begin(key, value)
        self._look()

    def add_both(self, unit: str, at: float, candidate: float, champion: float) -> None:
        """Counts what both answered to the same request."""
        window = int(at // self._window_s)
        mine = self._samples.get((True, unit, window))
        if mine is not None:
            self._again(mine, candidate)
            self._again(self._samples[False, unit, window], champion)
        elif self.candidate_units < self._max_samples:
            mine = self._sampled((True, unit, window), candidate)
            other = self._sampled((False, unit, window), champion)
            self._compare((mine,), (other,), self._differences.variance)
        self._look()

    def _begin(self, key: tuple[bool, str, int], value: float) -> None:
        candidate = key[0]
        if (forgotten := self._pairing.crowded_out(candidate=candidate)) is not None:
            del self._samples[forgotten.key]
        found = self._pairing.add(self._sampled(key, value), candidate=candidate)
        if found is not None:
            candidates, champions = found
            variance = self._arms[0].variance / len(candidates) + self._arms[1].variance / len(champions)
            self._compare(candidates, champions, variance)

    def _sampled(self, key: tuple[bool, str, int], value: float) -> Sample:
        if key[0]:
            self.candidate_units += 1
        else:
            self.champion_units += 1
        sample = self._samples[key] = Sample(key, value)
        return sample

    def _compare(self, candidates: tuple[Sample, ...], champions: tuple[Sample, ...], variance: float) -> None:
        pair = Pair(candidates, champions, variance)
        self.pairs.append(pair)
        for wealth, staked, payoff in self._bets(pair):
            wealth.bet(staked, payoff)
        self._differences.add(pair.difference)
        self._level += pair.champion_mean
        self._parts = (self._parts[0] + 1 / len(candidates), self._parts[1] + 1 / len(champions))
        for each in candidates:
            each.pair = pair
            self._arms[0].add(each.mean)
            self._repeats.add(each.unit, each.mean - pair.champion_mean)
        for each in champions:
            each.pair = pair
            self._arms[1].add(each.mean)
            self._repeats.add_champion(each.unit)

    def _bets(self, pair: Pair) -> tuple[tuple[Wealth, tuple[float, ...], float], ...]:
        worse, better = self._wealth
        return (
            (worse, stakes(pair.variance, self.margin, 1.0), -pair.difference),
            (better, stakes(pair.variance, self.margin, 1.0 - self.margin), pair.difference + self.margin),
        )

    def _again(self, sample: Sample, value: float) -> None:
        before = sample.mean
        sample.count += 1
        sample.mean += (value - before) / sample.count
        pair = sample.pair
        if pair is None or sample.mean == before:
            return
        bets, difference, level = self._bets(pair), pair.difference, pair.champion_mean
        pair.measure()
        for (wealth, staked, paid), (_, _, pays) in zip(bets, self._bets(pair), strict=True):
            wealth.amend(staked, paid, pays)
        self._differences.amend(difference, pair.difference)
        self._level += pair.champion_mean - level
        self._arms[0 if sample.candidate else 1].amend(before, sample.mean)
        for each in pair.candidates:
            was = before if each is sample else each.mean
            self._repeats.amend(each.unit, was - level, each.mean - pair.champion_mean)

    def _look(self) -> None:
        self.scores += 1
        if self.candidate_units < self._min_samples or not self.pairs:
            return
        design = self.design
        worse, better = self._wealth
        self.worse_log = max(self.worse_log, worse.log(design))
        self.better_log = max(self.better_log, better.log(design))

    def more_units(self, enough_worse: float, enough_better: float) -> int | None:
        """How many more units of the candidate are likely to bring the logarithm of one wealth to what is enough, if
        the difference is as it looks; None: neither will."""
        if len(self.pairs) < 2:
            return None
        design = self.design
        # The best stake on a payoff of mean m and variance v grows by m * m / 2v a pair.
        cost = 2 * self._differences.variance * design * self.candidate_units / len(self.pairs)
        needed = [
            max(0.0, enough - wealth.log(design)) * cost / (gain * gain)
            for wealth, enough, gain in (
                (self._wealth[0], enough_worse, -self.difference),
                (self._wealth[1], enough_better, self.difference + self.margin),
            )
            if gain > 0
        ]
        return max(1, math.ceil(min(needed))) if needed else None
