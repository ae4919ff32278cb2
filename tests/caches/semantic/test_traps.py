"""Questions that look like an answered one and are another, each with a twin that is the same one in other words."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import msgspec
import numpy as np
import pytest

from penstock.caches.semantic.control import Limits
from penstock.caches.semantic.desk import Desk, Vector
from penstock.caches.semantic.profile import profile
from penstock.caches.semantic.state import restored, saved
from penstock.caches.semantic.vetoes import veto
from tests.caches.semantic.stream import Pair, candidate, stream, taught
from tests.e2e.running import running
from tests.models import embedding_weights

FILE = Path(__file__).parent.parent / "traps.jsonl"


class Trap(msgspec.Struct, frozen=True):
    kind: str
    answered: str
    trap: str
    twin: str


def traps() -> list[Trap]:
    return [msgspec.json.decode(line, type=Trap) for line in FILE.read_bytes().splitlines()]


def test_there_are_many_of_each_kind() -> None:
    kinds = {trap.kind for trap in traps()}
    assert kinds == {
        *("negation", "number", "unit", "date", "name", "order", "contrary", "kind", "question", "language")
    }
    assert len(traps()) >= 200
    assert len({text for trap in traps() for text in (trap.trap, trap.twin)}) == 2 * len(traps())


def test_what_stands_in_the_words_is_seen_whatever_a_model_says() -> None:
    missed = [trap for trap in traps() if veto(profile(trap.trap), profile(trap.answered)) is None]
    assert len(missed) <= 0.01 * len(traps()), missed


def test_a_true_paraphrase_is_not_refused_outright() -> None:
    refused = [trap for trap in traps() if veto(profile(trap.twin), profile(trap.answered))]
    assert len(refused) <= 0.05 * len(traps()), refused


@pytest.mark.slow
def test_at_one_in_a_hundred_traps_do_not_hit_and_half_of_the_twins_do() -> None:
    pairs = stream(3000, seed=1)
    texts = {text for pair in pairs for text in (pair.asked, pair.answered)}
    texts |= {text for trap in traps() for text in (trap.answered, trap.trap, trap.twin)}
    vectors = _embedded(sorted(texts))
    desk = Desk(Limits(max_error=0.01), len(next(iter(vectors.values()))))
    found = taught(desk, pairs, vectors, seed=2)
    assert sum(wrong for _, wrong in found) <= 0.01 * len(found)
    kept = saved(desk)
    hits = {"trap": 0, "twin": 0}
    for trap in traps():
        for side in hits:
            pair = Pair(getattr(trap, side), trap.answered, same=side == "twin")
            # Each as the next request of the same desk: none of them pays for the audits of the others.
            hits[side] += restored(desk.limits, desk.dimensions, kept).decide(candidate(pair, vectors), 0.0).hit
    assert hits["trap"] <= 0.01 * len(traps()), hits
    assert hits["twin"] >= 0.5 * len(traps()), hits


def _embedded(texts: list[str]) -> dict[str, Vector]:
    """By the engine in the box."""
    deployment = {
        "models": {"minilm": {"engine": "llamacpp", "task": "embedding", "weights": f"file:{embedding_weights()}"}},
        "services": {"minilm": {"model": "minilm"}},
    }
    found: dict[str, Vector] = {}
    with running(json.dumps(deployment)) as penstock:
        headers = {"authorization": f"Bearer {penstock.key}"}
        with httpx.Client(base_url=penstock.base_url, headers=headers, timeout=120) as client:
            for at in range(0, len(texts), 64):
                batch = texts[at : at + 64]
                reply = client.post("/embeddings", json={"model": "minilm", "input": batch}).raise_for_status()
                for item in reply.json()["data"]:
                    vector = np.array(item["embedding"], np.float32)
                    found[batch[item["index"]]] = vector / np.linalg.norm(vector)
    return found
