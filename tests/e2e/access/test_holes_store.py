"""What a store that is held up must not do: let a request be lost, or pass for a fault of the gateway."""

from __future__ import annotations

import contextlib
import sqlite3

from tests.e2e.access.house import Admin, Wire, deployment
from tests.e2e.running import running, wait_until


def test_a_database_that_another_process_holds_stops_acts_alone_and_they_are_told_to_come_again() -> None:
    with running(deployment(server={"workers": 2, "access_log": "off"})) as server:
        admin, wire = Admin(server), Wire(server)
        admin.price("quick", "1", "2")
        admin.post("/projects", {"id": "red"})
        key = admin.key("red")
        budget = admin.budget("project", "red", "1")
        with contextlib.closing(sqlite3.connect(server.home / "state.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            costs = [answer.headers["x-penstock-cost"] for answer in (wire.chat(key) for _ in range(20))]
            refused = admin.ask("POST", "/keys", {"project": "red"})
            assert (refused.status, refused.code) == (503, "store_unavailable")
            # Whether it was done may not be known: that is for whoever has an idempotency key to try.
            assert refused.headers["x-should-retry"] == "false"
            other.execute("ROLLBACK")
        spent = sum(round(float(cost) * 10**9) for cost in costs)
        wait_until(lambda: round(float(admin.get(f"/budgets/{budget}")["spent"]) * 10**9) == spent, 10, server.said)
        assert admin.ask("POST", "/keys", {"project": "red"}).status == 201
