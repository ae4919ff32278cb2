"""One run: a desk sees pairs in some order, and labels only of misses and audits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.semantic_pairs import Pairs
from penstock.caches.semantic.control import Limits
from penstock.caches.semantic.desk import Desk

LAST = 10_000
EVERY = 500
_DRIFT = 1.5


@dataclass(frozen=True)
class Outcome:
    """Of one run; ``cosine`` counts the hits, among the last, of the best single threshold of the cosine that is
    wrong as often. The courses are at every ``EVERY`` requests: wrong hits so far, their bound, and hits since."""

    held: bool
    requests: int
    hits: int
    audits: int
    wrong: int
    last_hits: int
    last_wrong: int
    last_audits: int
    cosine: int
    wrong_course: NDArray[np.int64]
    bound_course: NDArray[np.int64]
    hits_course: NDArray[np.int64]
    cosine_course: NDArray[np.int64]


def shuffled(pairs: Pairs, seed: int) -> NDArray[np.int64]:
    """An order."""
    return np.random.default_rng(seed).permutation(len(pairs))


def drifting(pairs: Pairs) -> NDArray[np.int64]:
    """One order, in which pairs whose cosine misleads become more and more."""
    noise = np.random.default_rng(0).random(len(pairs))
    return np.argsort(noise + _DRIFT * pairs.hard).astype(np.int64)


def run(pairs: Pairs, order: NDArray[np.int64], max_error: float, seed: int) -> Outcome:
    """Deterministic but for the last digits of the machine's linear algebra."""
    count = len(order)
    coins = np.random.default_rng((seed, 1)).random(count)
    first = pairs.candidates[0]
    desk = Desk(Limits(max_error), len(first.asked_vector))
    hit, audited = np.zeros(count, bool), np.zeros(count, bool)
    bounds = []
    for at, number in enumerate(order):
        verdict = desk.decide(pairs.candidates[number], float(coins[at]))
        hit[at], audited[at] = verdict.hit, verdict.audited
        if verdict.audited or not verdict.hit:
            desk.learn(verdict.ticket, bool(pairs.same[number]))
            if (lesson := desk.lesson()) is not None:
                desk.adopt(lesson.learnt())
        if (at + 1) % EVERY == 0:
            bounds.append(desk.ledger.upper())
    same, cosine = pairs.same[order], pairs.cosine[order]
    wrong = (hit & ~same).cumsum()
    checks = [*range(2000, count + 1, 1000), count]
    last = slice(max(0, count - LAST), count)
    last_wrong = int((hit & ~same)[last].sum())
    cuts = range(0, count - EVERY + 1, EVERY)
    return Outcome(
        held=all(wrong[check - 1] <= max_error * check for check in checks),
        requests=count,
        hits=int(hit.sum()),
        audits=int(audited.sum()),
        wrong=int(wrong[-1]),
        last_hits=int(hit[last].sum()),
        last_wrong=last_wrong,
        last_audits=int(audited[last].sum()),
        cosine=best_of(cosine[last], same[last], last_wrong),
        wrong_course=wrong[EVERY - 1 :: EVERY],
        bound_course=np.array(bounds),
        hits_course=np.array([hit[cut : cut + EVERY].sum() for cut in cuts]),
        cosine_course=_hits_of(cosine, same, last, last_wrong, cuts),
    )


def best_of(cosine: NDArray[np.float32], same: NDArray[np.bool_], wrong: int) -> int:
    """How many hits the threshold of the cosine has that hits most with at most so many wrong."""
    return int(np.searchsorted((~same[np.argsort(-cosine)]).cumsum(), wrong, side="right"))


def _hits_of(
    cosine: NDArray[np.float32], same: NDArray[np.bool_], last: slice, wrong: int, cuts: range
) -> NDArray[np.int64]:
    """Hits of that threshold all the way."""
    count = best_of(cosine[last], same[last], wrong)
    threshold = np.sort(cosine[last])[-count] if count else np.inf
    return np.array([(cosine[cut : cut + EVERY] >= threshold).sum() for cut in cuts])
