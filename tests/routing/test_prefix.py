"""Prefix balancing: what a replica is taken to remember, and that caches are used without anybody being overrun."""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from penstock.routing.balance import Candidate, in_turn, scored
from penstock.routing.prefix import BLOCK_BYTES, PrefixMap, blocks

WORKERS = [f"worker-{number}" for number in range(8)]


class Asked(NamedTuple):
    at_s: float
    prompt: list[int]
    tokens: int
    output: int


class Cache:
    """What a worker really remembers: the least recently used goes first."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._blocks: OrderedDict[int, None] = OrderedDict()

    def read(self, prompt: Sequence[int]) -> int:
        hit = next((place for place, block in enumerate(prompt) if block not in self._blocks), len(prompt))
        for block in prompt:
            self._blocks[block] = None
            self._blocks.move_to_end(block)
        while len(self._blocks) > self._capacity:
            self._blocks.popitem(last=False)
        return hit


def played(trace: Sequence[Asked], choose: Callable[[Asked, int], str], capacity: int) -> tuple[float, float]:
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


def by_prefix(capacity: int) -> Callable[[Asked, int], str]:
    prefixes = PrefixMap(capacity, block_tokens=512)
    idle = [Candidate(worker, 0.0) for worker in WORKERS]

    def choose(asked: Asked, turn: int) -> str:
        worker = WORKERS[scored(idle, prefixes.scores(WORKERS, asked.prompt), 1.25, 0.0, turn)[0]]
        new = asked.tokens - prefixes.overlap(worker, asked.prompt)
        prefixes.sent(worker, asked.prompt, max(0, new) + asked.output, asked.at_s)
        return worker

    return choose


def in_rotation(_: Asked, turn: int) -> str:
    return WORKERS[in_turn([Candidate(worker, 0.0) for worker in WORKERS], turn)[0]]


def conversations(seed: int) -> Iterator[Asked]:
    """Conversations that grow turn by turn, all with one of a few system prompts before them."""
    running: list[list[int]] = []
    rng, fresh = Random(seed), 1000
    for number in range(3000):
        if running and rng.random() < 0.6:
            prompt = running.pop(rng.randrange(len(running)))
        else:
            prompt = list(range(4)) if rng.random() < 0.7 else list(range(10, 13))
        prompt = [*prompt, *range(fresh, fresh + rng.randint(1, 8))]
        fresh += 8
        running.append(prompt)
        del running[:-150]
        yield Asked(number * 0.3, prompt, 512 * len(prompt), rng.randint(20, 600))


def test_conversations_stay_where_they_are_remembered_and_nobody_is_overrun() -> None:
    trace = list(conversations(3))
    hit, most = played(trace, by_prefix(400), 400)
    rotated, _ = played(trace, in_rotation, 400)
    assert hit > 1.5 * rotated
    assert most < 1.3


TRACES = os.environ.get("PENSTOCK_TRACES")


@pytest.mark.skipif(TRACES is None, reason="PENSTOCK_TRACES does not name the folder of the public traces")
def test_the_mooncake_conversation_trace() -> None:
    assert TRACES is not None
    rows = map(json.loads, (Path(TRACES) / "mooncake_conversation.jsonl").read_text().splitlines())
    trace = [Asked(r["timestamp"] / 1000, r["hash_ids"], r["input_length"], r["output_length"]) for r in rows]
    hit, most = played(trace, by_prefix(5000), 5000)
    assert hit >= 0.345
    assert most <= 1.1


def test_a_longer_prompt_begins_with_the_blocks_of_the_shorter() -> None:
    text = Random(1).randbytes(5 * BLOCK_BYTES + 7)
    whole = blocks(text)
    assert len(whole) == 5
    assert blocks(text[: 3 * BLOCK_BYTES + 100]) == whole[:3]
    other = blocks(b"x" + text[1:])
    assert not set(other) & set(whole)


def test_what_is_remembered_is_bounded_and_the_oldest_goes_first() -> None:
    prefixes = PrefixMap(4, block_tokens=10)
    prefixes.sent("a", [1, 2, 3], 30, 0.0)
    assert prefixes.overlap("a", [1, 2, 3, 4]) == 30
    assert prefixes.overlap("b", [1, 2, 3, 4]) == 0
    prefixes.sent("a", [1, 9, 8], 20, 1.0)
    assert prefixes.overlap("a", [1, 9, 8]) == 30
    assert prefixes.overlap("a", [1, 2, 3]) == 10
    prefixes.keep(["b"])
    assert prefixes.overlap("a", [1]) == 0
