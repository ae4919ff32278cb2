"""The store goes away under load: what is seen of requests waits, the gap is told as one, and nothing of it stays."""

from __future__ import annotations

import time

import pytest

from tests.e2e.access.house import Admin, rows_of
from tests.e2e.access.load import Load, all_there_once
from tests.e2e.access.test_store_away import on_postgresql, refused_acts
from tests.e2e.running import wait_until

TOLD_WITHIN_S = 30.0


@pytest.mark.parametrize("for_s", [3.0, pytest.param(60.0, marks=pytest.mark.slow)])
def test_the_gap_is_told_while_it_lasts_and_is_closed_afterwards(for_s: float) -> None:
    with on_postgresql() as (server, postgres, url):
        admin = Admin(server)
        admin.post("/projects", {"id": "red"})
        load = Load([server], admin.key("red"))
        with load.flowing():
            wait_until(lambda: len(load.served()) > 50, 20, server.said)
            wait_until(lambda: admin.get("/overview")["total"], TOLD_WITHIN_S, server.said)
            postgres.kill()
            went = time.monotonic()
            wall = time.time()
            codes, _ = refused_acts(admin)
            told = wait_until(lambda: admin.get("/overview")["stale_since"], TOLD_WITHIN_S, server.said)
            assert wall - 10 < told < wall + 10
            wait_until(lambda: time.monotonic() - went > for_s, 90)
            overview = admin.get("/overview")
            assert overview["stale_since"] == pytest.approx(told, abs=5)
            postgres.start()
            came = time.monotonic()
            wait_until(lambda: admin.ask("POST", "/projects", {"id": "after"}).status == 201, 20, server.said)
        meanwhile = [each for each in load.since(went) if each.began < came]
        assert {each.status for each in meanwhile} == {200}, load.seen()
        assert codes == {"store_unavailable"}
        wait_until(lambda: all_there_once(load, lambda: rows_of(url)), TOLD_WITHIN_S, server.said)
        served = len(load.served())
        wait_until(lambda: admin.get("/overview")["stale_since"] is None, TOLD_WITHIN_S, server.said)

        def counted() -> bool:
            total = admin.get("/overview")["total"]
            return total is not None and total["requests"] == served

        wait_until(counted, TOLD_WITHIN_S, lambda: f"{admin.get('/overview')['total']} of {served}\n{server.said()}")
        acts = {(each["action"], each["target"]) for each in admin.get("/audit")["data"]}
        assert ("projects.create", "after") in acts
        print(f"\nthe store away for {came - went:.0f} s: {len(meanwhile)} requests served, {served} in the charts")
