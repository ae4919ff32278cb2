"""The store goes away under load: serving goes on as long as it may, nothing is lost, and it mends by itself."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator

import pytest

from penstock.store.database import sqlite_url
from tests.e2e.access.house import PEPPER, Admin, Wire, deployment, known_to_all, rows_of, workers
from tests.e2e.access.load import Load, all_there_once
from tests.e2e.running import Penstock, running, wait_until
from tests.postgres import Postgres
from tests.postgres import running as postgres_running

ALL_THERE_S = 30.0


@contextlib.contextmanager
def on_postgresql(
    access: dict[str, object] | None = None, journal: dict[str, object] | None = None, workers: int = 2
) -> Iterator[tuple[Penstock, Postgres, str]]:
    """A gateway, its store, and the store's URL."""
    with postgres_running() as postgres:
        postgres.execute("CREATE DATABASE penstock")
        url = postgres.url("penstock")
        config = deployment(
            server={"workers": workers, "access_log": "off"},
            state={"store": url, "journal": journal or {}},
            access={"pepper": PEPPER} | (access or {}),
        )
        with running(config) as server:
            yield server, postgres, url


def refused_acts(admin: Admin) -> tuple[set[str], float]:
    """What administrative requests are told while the store is away, and how long the slowest took."""
    codes, slowest = set(), 0.0
    for method, path, body in (("POST", "/projects", {"id": "late"}), ("GET", "/keys", None)):
        began = time.monotonic()
        answer = admin.ask(method, path, body)
        slowest = max(slowest, time.monotonic() - began)
        assert answer.status >= 500, answer
        message = answer.json["error"]["message"]
        assert "store" in message, message
        codes.add(answer.code)
    return codes, slowest


def away(how: str, postgres: Postgres) -> None:
    postgres.freeze() if how == "frozen" else postgres.kill()


def back(how: str, postgres: Postgres) -> None:
    postgres.thaw() if how == "frozen" else postgres.start()


def goes_away(how: str, for_s: float) -> None:
    with on_postgresql() as (server, postgres, url):
        admin = Admin(server)
        admin.post("/projects", {"id": "red"})
        load = Load([server], admin.key("red"))
        with load.flowing():
            wait_until(lambda: len(load.served()) > 50, 20, server.said)
            away(how, postgres)
            went = time.monotonic()
            codes, slowest = refused_acts(admin)
            wait_until(lambda: time.monotonic() - went > for_s, 60)
            journal = sum(file.stat().st_size for file in (server.home / "journal").rglob("*") if file.is_file())
            back(how, postgres)
            came = time.monotonic()
            wait_until(lambda: admin.ask("POST", "/projects", {"id": "after"}).status == 201, 20, server.said)
            usable = time.monotonic() - came
        meanwhile = [each for each in load.since(went) if each.began < came]
        assert {each.status for each in meanwhile} == {200}, load.seen()
        wait_until(lambda: all_there_once(load, lambda: rows_of(url)), ALL_THERE_S, server.said)
        print(
            f"\nPostgreSQL {how} for {came - went:.1f} s: {len(meanwhile)} requests served meanwhile, the slowest in "
            f"{load.slowest_s():.3f} s; {journal} bytes waited; acts were told {codes} within {slowest:.1f} s; the "
            f"first act {usable:.2f} s after it was back, all {len(load.served())} rows in the ledger once "
            f"{time.monotonic() - came:.1f} s after"
        )
        assert codes == {"store_unavailable"}
        assert slowest < 12
        assert load.slowest_s() < 2
        projects = {each["id"] for each in admin.get("/projects")["data"]}
        assert {"red", "after"} <= projects


def test_serving_goes_on_while_the_store_is_killed_and_nothing_is_lost() -> None:
    goes_away("killed", 1.0)


@pytest.mark.slow
@pytest.mark.parametrize(("how", "for_s"), [("frozen", 15.0), ("killed", 15.0)])
def test_serving_goes_on_for_long_whichever_way_it_went(how: str, for_s: float) -> None:
    goes_away(how, for_s)


def test_when_the_journal_is_full_admission_stops_and_begins_again_by_itself() -> None:
    limit = 65536
    with on_postgresql(journal={"limit_bytes": limit}) as (server, postgres, url):
        admin = Admin(server)
        admin.post("/projects", {"id": "red"})
        load = Load([server], admin.key("red"))
        with load.flowing():
            wait_until(lambda: len(load.served()) > 20, 20, server.said)
            postgres.kill()
            went = time.monotonic()
            wait_until(lambda: any(each.code == "journal_full" for each in load.since(went)), 30, server.said)
            full = time.monotonic()
            wait_until(lambda: len(load.since(full)) > 50, 10)
            waiting = sum(file.stat().st_size for file in (server.home / "journal").rglob("*") if file.is_file())
            answer = Wire(server).chat(load.key)
            assert (answer.status, answer.code) == (503, "journal_full")
            assert "limit_bytes" in answer.json["error"]["message"]
            assert {each.status for each in load.since(full)} == {503}, load.seen()
            # Who does not use a model is not in the way.
            assert Wire(server).get("/healthz").status == 200
            postgres.start()
            came = time.monotonic()
            wait_until(lambda: any(each.status == 200 for each in load.since(came)), 20, server.said)
            resumed = time.monotonic() - came
            wait_until(lambda: len([1 for each in load.since(came) if each.status == 200]) > 20, 20, server.said)
        wait_until(lambda: all_there_once(load, lambda: rows_of(url)), ALL_THERE_S, server.said)
        print(
            f"\na journal of {limit} bytes: full with {waiting} after {full - went:.2f} s, served again {resumed:.2f} s "
            f"after the store was back; {load.seen()}, all {len(load.served())} in the ledger once"
        )
        # It is looked at a few times a second, and what is in progress may still end.
        assert waiting < limit + (1 << 20)


@pytest.mark.parametrize("how", ["killed", pytest.param("frozen", marks=pytest.mark.slow)])
def test_keys_are_trusted_for_so_long_without_the_store_and_no_longer(how: str) -> None:
    stale_after_s = 2.0
    with on_postgresql({"stale_after_s": stale_after_s}) as (server, postgres, url):
        admin = Admin(server)
        admin.post("/projects", {"id": "red"})
        load = Load([server], admin.key("red"))
        with load.flowing():
            wait_until(lambda: len(load.served()) > 20, 20, server.said)
            away(how, postgres)
            went = time.monotonic()
            wait_until(lambda: any(each.code == "identities_stale" for each in load.since(went)), 30, server.said)
            stale = time.monotonic()
            wait_until(lambda: len(load.since(stale + 0.1)) > 20, 10)
            assert {each.code for each in load.since(stale + 0.1)} == {"identities_stale"}, load.seen()
            back(how, postgres)
            came = time.monotonic()
            wait_until(lambda: any(each.status == 200 for each in load.since(came)), 30, server.said)
            mended = time.monotonic() - came
        wait_until(lambda: all_there_once(load, lambda: rows_of(url)), ALL_THERE_S, server.said)
        print(
            f"\nstore {how}, keys trusted for {stale_after_s:g} s: 503 identities_stale after {stale - went:.2f} s, "
            f"served again {mended:.2f} s after it was back"
        )
        assert stale_after_s - 0.5 < stale - went < stale_after_s + 1.5
        assert mended < 10


def test_all_processes_killed_in_mid_traffic_lose_nothing_that_was_answered() -> None:
    models = {"quick": {"engine": "fake", "answers": [{"first_delay_s": 0.05}]}}
    config = deployment(server={"workers": 2, "access_log": "off"}, models=models)
    with running(config, stop=signal.SIGKILL) as first:
        admin = Admin(first)
        admin.post("/projects", {"id": "red"})
        admin.price("quick", "1", "2")
        budget = admin.budget("project", "red", "100")
        load = Load([first], admin.key("red"), threads=8)
        known_to_all([first], load.key)
        with load.flowing():
            wait_until(lambda: len(load.served()) > 200, 20, first.said)
            for pid in (*workers(first), first.pid):
                os.kill(pid, signal.SIGKILL)
            wait_until(lambda: load.told[-1].status == 0, 10)
        served = load.served()
        began = time.monotonic()
        with running(config, env={"PENSTOCK_HOME": str(first.home)}) as second:
            url = sqlite_url(first.home / "state.db")
            wait_until(lambda: all_there_once(load, lambda: rows_of(url)), ALL_THERE_S, second.said)
            wait_until(lambda: any(row.estimated for row in rows_of(url)), ALL_THERE_S, second.said)
            rows = rows_of(url)
            again = Admin(second, first.key)
            spent = sum(row.cost_nano for row in rows) / 1e9
            assert float(again.get(f"/budgets/{budget}")["spent"]) == pytest.approx(spent)
            assert Wire(second).chat(load.key).status == 200
        lost = [row for row in rows if row.estimated]
        print(
            f"\nkilled all after {len(served)} answers: all of them in the ledger, {len(lost)} more at their bound, "
            f"{time.monotonic() - began:.1f} s after the next start"
        )
        broken = {each.id for each in load.told if not each.status}
        assert {row.request_id for row in lost} <= broken
        assert {row.ending for row in lost} == {"worker_lost"}
        # What was in progress is charged at the most that it may have come to.
        most = max(row.cost_nano for row in rows if not row.estimated)
        assert all(row.cost_nano > most for row in lost)
