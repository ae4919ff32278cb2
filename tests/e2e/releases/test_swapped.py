"""Weights that are no longer in the deployment file: loaded beside what runs, swapped without a failed request, and
let go."""

from __future__ import annotations

import json
import time

import pytest

from tests.e2e.access.house import Admin
from tests.e2e.releases.house import RELEASE, Crowd
from tests.e2e.running import Penstock, running, wait_until
from tests.models import chat_weights


def deployment(*models: str) -> str:
    slots = {"small": 2, "other": 4}
    made = {
        name: {"engine": "llamacpp", "weights": f"file://{chat_weights()}", "context": 1024, "slots": slots[name]}
        for name in models
    }
    services = {"chat": {"model": "small"}}
    return json.dumps({"server": {"access_log": "off"}, "models": made, "services": services})


def apply(admin: Admin, text: str) -> int:
    answer = admin.wire.ask("PUT", "/admin/deployment", text.encode())
    return answer.status


@pytest.mark.slow
def test_a_cold_release_is_loaded_beside_what_serves_and_then_switched_to() -> None:
    with running(deployment("small", "other")) as server:
        admin = Admin(server)
        second = admin.post("/releases", {"service": "chat", "model": "other"})["id"]
        first = admin.post("/services/chat/rollback", {"to": second})["champion"]
        crowd = Crowd([server], server.key, connections=4, fields={"max_tokens": 4})
        with crowd.asking():
            gets(crowd, second, server)
            assert apply(admin, deployment("small")) == 200
            began = time.monotonic()
            gets(crowd, second, server)
            assert len(server.engines()) == 2, "a release still needs it"
            admin.post("/services/chat/rollback", {"to": first})
            gets(crowd, first, server)
            admin.post("/splits/chat/warm", {"release": second, "for_s": 0})
            wait_until(lambda: len(server.engines()) == 1, 30, server.said)
            began = time.monotonic()
            asked = admin.post("/services/chat/rollback", {"to": second})
            assert asked["state"] == "loading"
            assert {each.release for each in crowd.since(began)} <= {first}
            gets(crowd, second, server)
            took = time.monotonic() - began
            ended = admin.get(f"/rollouts/{asked['id']}")
        assert ended["state"] == "rolled_back", ended["reason"]
        assert "loaded in" in ended["reason"]
        assert set(crowd.statuses()) == {200}, crowd.statuses()
        print(f"\n{len(crowd.told)} requests, none failed; cold to serving in {took:.1f} s: {ended['reason']}")


def gets(crowd: Crowd, release: str, server: Penstock) -> None:
    since = time.monotonic()
    wait_until(
        lambda: len(seen := crowd.since(since)[-8:]) == 8 and {each.release for each in seen} == {release}, 60,
        lambda: f"{RELEASE} is not {release}\n{server.said()}",
    )  # fmt: skip
