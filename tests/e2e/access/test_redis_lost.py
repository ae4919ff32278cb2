"""Redis is killed, emptied, stopped and started under load: nothing overspends, and it counts again by itself."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest

from penstock.core.money import NANO
from tests.e2e.access.house import (
    PEPPER,
    Admin,
    House,
    Wire,
    deployment,
    known_to_all,
    rows_of,
    shared,
    to_each_worker,
)
from tests.e2e.access.load import Load, all_there_once
from tests.e2e.races.checks import never_overspent
from tests.e2e.running import Penstock, running, wait_until
from tests.redis import RedisServer

SLOW = {"quick": {"engine": "fake", "answers": [{"text": "one two three four five six", "first_delay_s": 0.03}]}}
THREADS = 8
RECOVERED_S = 10.0


def emptied(redis: RedisServer) -> None:
    redis.ask("FLUSHALL")


def restarted(redis: RedisServer) -> None:
    redis.kill()
    redis.start()


def away_for_a_second(redis: RedisServer) -> None:
    redis.kill()
    until = time.monotonic() + 1.0
    wait_until(lambda: time.monotonic() > until, 2)
    redis.start()


def silent_for_a_second(redis: RedisServer) -> None:
    redis.pause()
    until = time.monotonic() + 1.5
    wait_until(lambda: time.monotonic() > until, 3)
    redis.resume()


def one_key_lost(redis: RedisServer) -> None:
    """As when Redis evicts."""
    redis.ask("DEL", "{penstock}:truth")


def scripts_lost(redis: RedisServer) -> None:
    redis.ask("SCRIPT", "FLUSH")


def recovers(load: Load, happens: Callable[[RedisServer], None], house: House) -> float:
    """Seconds from when it was over to the next answer of each gateway, under a budget."""
    happens(house.redis)
    over = time.monotonic()
    names = [each.home.parent.name for each in house.gateways]

    def answered() -> bool:
        ok = [each.id for each in load.since(over) if each.status == 200]
        return all(any(id.startswith(name) for id in ok) for name in names)

    wait_until(answered, RECOVERED_S, house.said)
    return time.monotonic() - over


def left_of_budget(wire: Wire, key: str) -> int:
    """In billionths of a dollar, by a refusal."""
    answer = wire.chat(key, max_tokens=10**9)
    assert answer.code == "budget_exceeded", answer
    found = re.search(r"has \$([\d.]+) left", answer.json["error"]["message"])
    assert found is not None
    return int(Decimal(found[1]) * NANO)


def never_overspends(house: House, events: list[Callable[[RedisServer], None]], budget: str) -> None:
    admin = Admin(house.gateways[0])
    admin.post("/projects", {"id": "red"})
    admin.price("quick", "1000", "1000")
    admin.budget("project", "red", budget)
    load = Load(house.gateways, admin.key("red"), threads=THREADS // len(house.gateways))
    known_to_all(house.gateways, load.key)
    wires = [wire for each in house.gateways for wire in to_each_worker(each, 2).values()]
    wait_until(lambda: all("x-penstock-cost" in wire.chat(load.key).headers for wire in wires), 10, house.said)
    took = {}
    with load.flowing():
        wait_until(lambda: len(load.served()) > 20, 20, house.said)
        for happens in events:
            took[happens.__name__] = round(recovers(load, happens, house), 2)
        last = time.monotonic()
        refused = lambda: [each for each in load.since(last) if each.code == "budget_exceeded"]  # noqa: E731
        wait_until(lambda: len(refused()) > 20, 60, load.seen)
    wait_until(lambda: all_there_once(load, lambda: rows_of(house.url)), 20, house.said)
    rows = rows_of(house.url)
    limit = int(float(budget) * NANO)
    spent = never_overspent(rows, limit, house.said())
    print(
        f"\n{len(house.gateways)} gateways, a budget of ${budget}: ${spent / NANO:.3f} spent in {len(rows)} requests; "
        f"answered again after: {took}; {load.seen()}"
    )
    # Nothing stays reserved of what was in progress whenever Redis went.
    wait_until(lambda: left_of_budget(wires[0], load.key) == limit - spent, 10, house.said)
    # Each client holds what its request may cost at most.
    assert spent > limit - THREADS * 0.3 * NANO
    assert {each.code for each in load.told} <= {"", "budget_exceeded", "counters_unavailable"}


def test_a_budget_outlives_what_redis_forgets() -> None:
    with shared(count=1, models=SLOW) as house:
        never_overspends(house, [emptied, restarted], "5")


@pytest.mark.slow
def test_a_budget_of_two_gateways_outlives_all_that_may_happen_to_redis() -> None:
    events = [emptied, restarted, away_for_a_second, silent_for_a_second, one_key_lost, scripts_lost] * 2
    with shared(count=2, models=SLOW) as house:
        never_overspends(house, events, "40")


KINDS = ("requests", "input_tokens", "output_tokens", "tokens", "concurrent", "budget")
POLICIES: list[dict[str, str]] = [
    {},
    {"requests": "closed", "tokens": "closed", "concurrent": "closed", "budgets": "open"},
]


def closed(kind: str, policy: dict[str, str]) -> bool:
    if kind == "budget":
        return policy.get("budgets", "closed") == "closed"
    return policy.get("tokens" if "tokens" in kind else kind, "open") == "closed"


@pytest.fixture(params=POLICIES, ids=["as it is", "the other way round"])
def policed(request: pytest.FixtureRequest) -> Iterator[tuple[Penstock, RedisServer, dict[str, str]]]:
    with RedisServer() as redis:
        access = {"counters": redis.url, "pepper": PEPPER, "on_failure": request.param}
        with running(deployment(server={"workers": 2, "access_log": "off"}, access=access)) as server:
            yield server, redis, request.param


def test_each_kind_of_limit_fails_open_or_closed_as_it_is_configured(
    policed: tuple[Penstock, RedisServer, dict[str, str]],
) -> None:
    server, redis, policy = policed
    admin = Admin(server)
    admin.price("quick", "1", "1")
    keys = {}
    for number, kind in enumerate(KINDS):
        project = f"p{number}"
        admin.post("/projects", {"id": project})
        if kind == "budget":
            admin.budget("project", project, "1000")
        else:
            admin.limit("project", project, kind, 100_000)
        keys[kind] = admin.key(project)
    admin.post("/projects", {"id": "free"})
    free = admin.key("free")
    # Used up before, and used up still.
    admin.post("/projects", {"id": "full"})
    admin.limit("project", "full", "requests", 3)
    full = admin.key("full")
    wires = list(to_each_worker(server, 2).values())
    assert [wires[0].chat(full).status for _ in range(4)] == [200, 200, 200, 429]

    def as_counted() -> bool:
        return all(wire.chat(key).status == 200 for key in keys.values() for wire in wires)

    wait_until(as_counted, 10, server.said)
    for how, goes, comes in (("killed", redis.kill, redis.start), ("silent", redis.pause, redis.resume)):
        goes()
        slowest = 0.0
        for kind, key in keys.items():
            for wire in wires:
                began = time.monotonic()
                answer = wire.chat(key)
                slowest = max(slowest, time.monotonic() - began)
                if closed(kind, policy):
                    assert (answer.status, answer.code) == (503, "counters_unavailable"), (how, kind, answer)
                else:
                    assert answer.status == 200, (how, kind, answer)
        assert all(wire.chat(free).status == 200 for wire in wires)
        comes()
        began = time.monotonic()
        wait_until(as_counted, RECOVERED_S, server.said)
        print(
            f"\nRedis {how}, on_failure {policy or 'as it is'}: {[kind for kind in KINDS if closed(kind, policy)]} "
            f"closed, the slowest answer in {slowest:.2f} s, all count again {time.monotonic() - began:.2f} s after"
        )
        assert slowest < 2
        assert wires[0].get("/v1/models", full).status == 200
        answer = Wire(server).chat(full)
        assert (answer.status, answer.code) == (429, "rate_limit_exceeded"), "what was used before is not forgotten"
