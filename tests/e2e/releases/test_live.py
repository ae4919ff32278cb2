"""A real model behind a good prompt, a broken one and a better one: what is worse goes, what is better stays, and
both by themselves."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Mapping

import pytest

from tests.e2e.access.house import Admin
from tests.e2e.releases.house import Crowd
from tests.e2e.running import Penstock, running, wait_until
from tests.models import chat_weights, embedding_weights

DECIDED_WITHIN_S = 900.0
QUESTIONS = (
    "What is the capital of France?", "Name a river in Africa.", "What do bees make?", "Who wrote Hamlet?",
    "What colour is the sky?", "What is ice made of?", "Name a planet.", "What does a baker make?",
    "Where do fish live?", "What is the opposite of hot?", "Name a musical instrument.", "What do cows eat?",
)  # fmt: skip
SHOWN = ("What is the capital of Italy?", "What do cats eat?")
SENTENCE = {"regex": r"^[A-Z][^\n]{2,160}[.!?]$"}
GATES = [
    {"metric": "format", "scorer": "format", "settings": SENTENCE},
    {"metric": "similarity", "scorer": "similarity", "settings": {"service": "embed", "to": "prompt"}},
]


def prompt(system: str, *answers: str) -> dict[str, object]:
    examples = [{"user": asked, "assistant": answer} for asked, answer in zip(SHOWN, answers, strict=True)]
    return {"system": system, "examples": examples}


# The first is cut off now and then in the middle of its sentence; the last has room for it.
GOOD = (prompt("Answer with one short sentence.", "The capital of Italy is Rome.", "Cats eat fish and meat."), 12)
BROKEN = (prompt("Repeat the word banana in capital letters without end.", *["BANANA BANANA BANANA BANANA"] * 2), 12)
BETTER = (GOOD[0], 32)


def deployment() -> str:
    models = {
        "small": {"engine": "llamacpp", "weights": f"file://{chat_weights()}", "context": 4096, "slots": 8},
        "mini": {"engine": "llamacpp", "task": "embedding", "weights": f"file://{embedding_weights()}"},
    }
    services = {"assistant": {"model": "small"}, "embed": {"model": "mini"}}
    return json.dumps({"server": {"access_log": "off"}, "models": models, "services": services})


def release(admin: Admin, name: str, said: tuple[Mapping[str, object], int]) -> str:
    source, most = said
    version = admin.post("/prompts", {"name": "short", "source": dict(source), "message": name})["id"]
    asked = {"service": "assistant", "model": "small", "prompt": version, "defaults": {"max_tokens": most}}
    return str(admin.post("/releases", {**asked, "message": name})["id"])


class Asking(Crowd):
    """Each request asks another question."""

    numbers = itertools.count()

    def body(self, user: str) -> dict[str, object]:
        question = QUESTIONS[next(self.numbers) % len(QUESTIONS)]
        return {"model": self.service, "user": user, "messages": [{"role": "user", "content": question}]}


def decided(admin: Admin, server: Penstock, id: str) -> Mapping[str, object]:
    def ended() -> Mapping[str, object] | None:
        seen: Mapping[str, object] = admin.get(f"/rollouts/{id}")
        return seen if seen["state"] in ("promoted", "rolled_back", "failed", "aborted") else None

    return wait_until(ended, DECIDED_WITHIN_S, server.said, every_s=0.5)


@pytest.mark.slow
def test_a_broken_prompt_is_rolled_back_and_a_better_one_promoted() -> None:
    with running(deployment()) as server:
        admin = Admin(server)
        good, broken, better = (
            release(admin, name, said) for name, said in (("good", GOOD), ("broken", BROKEN), ("better", BETTER))
        )
        admin.post("/services/assistant/rollback", {"to": good})
        crowd = Asking([server], server.key, connections=8, users=10_000, service="assistant")
        with crowd.asking():
            wait_until(lambda: len(crowd.told) > 20, 60, server.said)
            began = time.monotonic()
            start = {"service": "assistant", "preset": "canary", "gates": GATES, "min_samples": 30}
            bad = admin.post("/rollouts", {**start, "release": broken, "steps": [{"share": 10, "samples": 500}]})
            ended = decided(admin, server, bad["id"])
            bad_s = time.monotonic() - began
            assert ended["state"] == "rolled_back", ended["reason"]
            during = crowd.since(began)
            users = {each.user for each in during}
            touched = {each.user for each in during if each.release == broken}
            after = time.monotonic() + 1.0
            wait_until(lambda: len(crowd.since(after)) > 20, 60, server.said)
            assert {each.release for each in crowd.since(after)} == {good}
            print(
                f"\nbroken: rolled back after {bad_s / 60:.1f} min and {len(touched)} of {len(users)} users: "
                f"{ended['reason']}"
            )
            share = len(touched) / len(users)
            assert share < 0.10 + 3 * (0.09 / len(users)) ** 0.5
            again = time.monotonic()
            steps = [{"share": 10, "samples": 30}, {"share": 50}]
            fine = admin.post("/rollouts", {**start, "release": better, "steps": steps})
            ended = decided(admin, server, fine["id"])
            good_s = time.monotonic() - again
            assert ended["state"] == "promoted", ended["reason"]
            after = time.monotonic() + 1.0
            wait_until(lambda: len(crowd.since(after)) > 20, 60, server.said)
            assert {each.release for each in crowd.since(after)} == {better}
            print(f"better: promoted to all after {good_s / 60:.1f} min: {ended['reason']}")
        assert set(crowd.statuses()) == {200}, crowd.statuses()
        print(f"{len(crowd.told)} requests, none failed")
