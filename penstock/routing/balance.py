"""Balance: which of a model's replicas is best. Pure functions from what is known to an order, best first."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from random import Random

import msgspec


class Candidate(msgspec.Struct, frozen=True):
    """One ready replica. ``work`` is its outstanding tokens, None where not known; ``share`` (above 0, at most 1)
    is smaller while it comes back after a failure; ``weight`` is above 0."""

    id: str
    work: float | None
    weight: float = 1.0
    share: float = 1.0


Order = list[int]
"""Places in the sequence of candidates, best first; each exactly once."""


def loads(candidates: Sequence[Candidate]) -> list[float]:
    """Outstanding work relative to what each should have. What is not known counts as more than all that is."""
    known = [c.work / (c.weight * c.share) for c in candidates if c.work is not None]
    worst = max(known, default=0.0) + 1.0
    return [worst if c.work is None else c.work / (c.weight * c.share) for c in candidates]


def in_turn(candidates: Sequence[Candidate], turn: int) -> Order:
    """Round robin: number ``turn`` first, the others after it."""
    count = len(candidates)
    return [(turn + step) % count for step in range(count)]


def weighted(candidates: Sequence[Candidate], credits: dict[str, float]) -> Order:
    """Smooth weighted round robin (nginx's): ``credits`` is what each is owed, and is brought up to date."""
    total = 0.0
    for candidate in candidates:
        due = candidate.weight * candidate.share
        credits[candidate.id] = credits.get(candidate.id, 0.0) + due
        total += due
    order = sorted(range(len(candidates)), key=lambda place: -credits[candidates[place].id])
    credits[candidates[order[0]].id] -= total
    return order


def least_work(candidates: Sequence[Candidate], turn: int) -> Order:
    """The least loaded first; among equals, in turn."""
    busy, count = loads(candidates), len(candidates)
    return sorted(range(count), key=lambda place: (busy[place], (place - turn) % count))


def two_choices(candidates: Sequence[Candidate], rng: Random) -> Order:
    """The less loaded of two that are drawn, then the rest by load."""
    busy, count = loads(candidates), len(candidates)
    drawn = sorted(rng.sample(range(count), min(2, count)), key=lambda place: busy[place])
    rest = sorted((place for place in range(count) if place not in drawn), key=lambda place: busy[place])
    return drawn + rest


def affine(candidates: Sequence[Candidate], session: str, bound: float, slack: float, turn: int) -> Order:
    """Where the session's rendezvous hash has it, unless that is too busy, as ``bounded`` says.

    Weighted rendezvous hashing (Thaler and Ravishankar 1998; weights by -w / ln h). Without a session, by least work.
    """
    if not session:
        return least_work(candidates, turn)
    ranked = sorted(range(len(candidates)), key=lambda place: -_rank(candidates[place], session))
    return bounded(candidates, ranked, bound, slack)


def scored(
    candidates: Sequence[Candidate], scores: Mapping[str, float], bound: float, slack: float, turn: int
) -> Order:
    """The highest score first, in turn among equals, unless it is too busy, as ``bounded`` says."""
    count = len(candidates)
    ranked = sorted(range(count), key=lambda place: (-scores[candidates[place].id], (place - turn) % count))
    return bounded(candidates, ranked, bound, slack)


def bounded(candidates: Sequence[Candidate], order: Order, bound: float, slack: float) -> Order:
    """``order``, with those behind that have more than ``bound`` times the mean load, and ``slack`` beside.

    The bound is that of consistent hashing with bounded loads (Mirrokni, Thorup and Zadimoghaddam 2018); ``slack`` is
    the work of one request, so that an idle fleet does not call its one busy replica overloaded.
    """
    busy = loads(candidates)
    most = bound * sum(busy) / len(busy) + slack
    return sorted(order, key=lambda place: busy[place] > most)


def _rank(candidate: Candidate, session: str) -> float:
    digest = hashlib.blake2b(f"{candidate.id}\0{session}".encode(), digest_size=8).digest()
    part = (int.from_bytes(digest, "big") + 1) / (2**64 + 1)
    return -candidate.weight / math.log(part)
