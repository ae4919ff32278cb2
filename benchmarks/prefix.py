"""Prefix caches: how often each balancing policy finds them, on a trace, and how evenly it spreads the work.

Replicas are simulated: each remembers its last blocks, and works on what it does not remember and on what it writes.
The form of a trace is that of Mooncake's (https://github.com/kvcache-ai/Mooncake, FAST25-release/traces).
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

from penstock.routing.balance import Candidate, in_turn, scored, two_choices
from penstock.routing.prefix import PrefixMap

WORKERS = [f"worker-{number}" for number in range(8)]
CAPACITY = 5000
"""Blocks of 512 tokens that a replica remembers."""


class Asked(NamedTuple):
    """One request: when, its prompt in blocks, the tokens in it, those of the answer."""

    at_s: float
    prompt: list[int]
    tokens: int
    output: int


Choose = Callable[[Asked, int], str]


class Cache:
    """What a worker really remembers: the least recently used goes first."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._blocks: OrderedDict[int, None] = OrderedDict()

    def read(self, prompt: Sequence[int]) -> int:
        """How many blocks at its beginning are remembered; afterwards all are."""
        hit = next((place for place, block in enumerate(prompt) if block not in self._blocks), len(prompt))
        for block in prompt:
            self._blocks[block] = None
            self._blocks.move_to_end(block)
        while len(self._blocks) > self._capacity:
            self._blocks.popitem(last=False)
        return hit


def played(trace: Sequence[Asked], choose: Choose, capacity: int) -> tuple[float, float]:
    """The share of blocks found in a cache, and the most worked worker against the mean."""
    caches = {worker: Cache(capacity) for worker in WORKERS}
    work = dict.fromkeys(WORKERS, 0.0)
    hits = 0
    for turn, asked in enumerate(trace):
        worker = choose(asked, turn)
        hit = caches[worker].read(asked.prompt)
        hits += hit
        work[worker] += max(0, asked.tokens - 512 * hit) + asked.output
    return hits / sum(len(asked.prompt) for asked in trace), max(work.values()) / (sum(work.values()) / len(work))


def by_prefix(capacity: int) -> Choose:
    """What `balance: prefix` does."""
    prefixes = PrefixMap(capacity, block_tokens=512)
    idle = [Candidate(worker, 0.0) for worker in WORKERS]

    def choose(asked: Asked, turn: int) -> str:
        worker = WORKERS[scored(idle, prefixes.scores(WORKERS, asked.prompt), 1.25, 0.0, turn)[0]]
        new = asked.tokens - prefixes.overlap(worker, asked.prompt)
        prefixes.sent(worker, asked.prompt, max(0, new) + asked.output, asked.at_s)
        return worker

    return choose


def in_rotation(_: Asked, turn: int) -> str:
    """Round robin."""
    return WORKERS[in_turn([Candidate(worker, 0.0) for worker in WORKERS], turn)[0]]


def at_random(rng: Random) -> Choose:
    """Two choices, where nothing is known of the load."""
    idle = [Candidate(worker, 0.0) for worker in WORKERS]
    return lambda _, __: WORKERS[two_choices(idle, rng)[0]]


def mooncake(file: Path) -> list[Asked]:
    """The requests of a trace."""
    rows = map(json.loads, file.read_text().splitlines())
    return [
        Asked(row["timestamp"] / 1000, row["hash_ids"], row["input_length"], row["output_length"]) for row in rows
    ]


def main(file: Path) -> None:
    """Prints a table."""
    trace = mooncake(file)
    print(f"{file.name}: {len(trace):,} requests; {len(WORKERS)} replicas that remember {CAPACITY:,} blocks each\n")
    print("| policy | blocks found | most worked / mean |\n|---|---:|---:|")
    rows: tuple[tuple[str, Choose], ...] = (
        ("round_robin", in_rotation),
        ("two_choices, no load known", at_random(Random(1))),
        ("prefix", by_prefix(CAPACITY)),
    )
    for name, choose in rows:
        found, most = played(trace, choose, CAPACITY)
        print(f"| {name} | {found:.3f} | {most:.2f} |")
