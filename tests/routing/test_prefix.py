"""Prefix balancing: what a replica is taken to remember, and that caches are used without anybody being overrun."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from benchmarks.prefix import CAPACITY, Asked, by_prefix, in_rotation, mooncake, played
from penstock.routing.prefix import BLOCK_BYTES, PrefixMap, blocks


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
    trace = mooncake(Path(TRACES) / "mooncake_conversation.jsonl")
    hit, most = played(trace, by_prefix(CAPACITY), CAPACITY)
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
