"""Copies of requests: compared pair by pair, served to nobody, paid for by no client."""

from __future__ import annotations

import json

from tests.e2e.access.house import Admin, rows_of
from tests.e2e.releases.echo import Echo, said
from tests.e2e.releases.house import Crowd, released, sides
from tests.e2e.running import running, wait_until

JSON = {"metric": "format", "scorer": "format", "settings": {"json": True}}


def test_a_challenger_answers_the_same_requests_unseen_until_it_is_promoted() -> None:
    with Echo() as echo, running(json.dumps({"server": {"access_log": "off"}, **sides(echo.url)})) as server:
        admin = Admin(server)
        left, right = released(admin)
        admin.post("/services/chat/rollback", {"to": left})
        admin.post("/projects", {"id": "red"})
        key = admin.key("red")
        crowd = Crowd([server], key, connections=4, users=100_000)
        start = {"service": "chat", "release": right, "preset": "champion_challenger", "gates": [JSON],
                 "mirror_share": 100, "min_samples": 40}  # fmt: skip
        with crowd.asking():
            rollout = admin.post("/rollouts", start)["id"]
            seen = wait_until(lambda: ended(admin, rollout), 60, server.said, every_s=0.2)
        assert seen["state"] == "promoted", seen["reason"]
        assert set(crowd.statuses()) == {200}
        served = [each.release for each in crowd.told]
        assert set(served[: served.index(right)]) == {left}, "nobody is served a copy"
        # Asked for, what was used is in the ledger.
        usage = admin.get("/usage?by=project&project=red")["data"][0]
        rows = wait_until(lambda: rows_of(f"sqlite:///{server.home / 'state.db'}"), 10)
        client = [row for row in rows if row.purpose == "client"]
        inside = [row for row in rows if row.purpose == "internal"]
        assert len(inside) >= 40
        assert {row.release for row in inside} == {right}
        assert {row.project for row in client} == {"red"}
        assert "red" not in {row.project for row in inside}
        assert usage["requests"] == len({row.request_id for row in client})


def test_a_challenger_that_breaks_the_form_is_never_served() -> None:
    def answer(asked: dict[str, object]) -> str:
        return "no JSON" if asked["model"] == "right" else said(asked)

    with Echo(answer) as echo, running(json.dumps({"server": {"access_log": "off"}, **sides(echo.url)})) as server:
        admin = Admin(server)
        left, right = released(admin)
        admin.post("/services/chat/rollback", {"to": left})
        crowd = Crowd([server], server.key, connections=4, users=100_000)
        start = {"service": "chat", "release": right, "preset": "champion_challenger", "gates": [JSON],
                 "mirror_share": 100, "min_samples": 40}  # fmt: skip
        with crowd.asking():
            rollout = admin.post("/rollouts", start)["id"]
            seen = wait_until(lambda: ended(admin, rollout), 60, server.said, every_s=0.2)
        assert seen["state"] == "rolled_back", seen["reason"]
        assert {each.release for each in crowd.told} == {left}


def ended(admin: Admin, rollout: str) -> dict[str, str] | None:
    seen: dict[str, str] = admin.get(f"/rollouts/{rollout}")
    return seen if seen["state"] in ("promoted", "rolled_back", "failed", "aborted", "done") else None
