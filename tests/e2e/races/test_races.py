"""One budget and one limit on tokens, many clients, workers that die: nothing is overspent, nothing is lost."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import pytest

from penstock.core.money import NANO
from penstock.core.usage import Entry, UsageQuery
from penstock.store.database import open_database, sqlite_url
from penstock.store.ledger import SqlLedger
from tests.e2e.races import checks
from tests.e2e.races.clients import Seen, hammer
from tests.e2e.races.upstream import Counting
from tests.e2e.running import Penstock, running, wait_until
from tests.postgres import running as postgres_running
from tests.redis import RedisServer

TOKENS_A_MINUTE = 30_000
BUDGET = "0.02"
SETTLED_WITHIN_S = 30.0
PEPPER = base64.b64encode(b"p" * 32).decode()

CONFIG = """
server: {{workers: {workers}, access_log: "off"}}
state: {{store: "{store}"}}
access: {{counters: "{counters}", pepper: "{pepper}", on_failure: {{tokens: closed}}}}
models:
  mock: {{engine: openai, base_url: "{upstream}", api_key: none, model: mock}}
services:
  mock: {{model: mock, retry: {{attempts: 1}}}}
"""


def admin(server: Penstock, method: str, path: str, body: object = None) -> dict[str, object]:
    asked = urllib.request.Request(
        f"{server.url}/admin/v1{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"authorization": f"Bearer {server.key}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(asked, timeout=30) as answer:
        read: dict[str, object] = json.loads(answer.read())
        return read


def hand_out(server: Penstock) -> dict[str, str]:
    """Two projects: one has a budget, the other a limit; their keys. A gateway that knows these knows those."""
    admin(server, "POST", "/prices", {"model": "mock", "input": "1", "output": "2", "since": "2026-01-01"})
    for project in ("budgeted", "limited"):
        admin(server, "POST", "/projects", {"id": project})
    admin(server, "POST", "/budgets", {"kind": "project", "subject": "budgeted", "period": "total", "amount": BUDGET})
    limit = {"kind": "project", "subject": "limited", "metric": "tokens", "per": "minute", "amount": TOKENS_A_MINUTE}
    admin(server, "POST", "/limits", limit)
    return {
        project: str(admin(server, "POST", "/keys", {"project": project})["secret"])
        for project in ("budgeted", "limited")
    }


def known(server: Penstock, key: str) -> bool:
    """Whether the gateway has heard of the key."""
    asked = urllib.request.Request(f"{server.base_url}/models", headers={"authorization": f"Bearer {key}"})
    with contextlib.suppress(urllib.error.HTTPError), urllib.request.urlopen(asked, timeout=30):
        return True
    return False


async def both(gateways: Sequence[Penstock], keys: dict[str, str], seconds: float, kill_every_s: float) -> list[Seen]:
    return list(
        await asyncio.gather(
            hammer(gateways, keys["budgeted"], "budgeted", seconds, kill_every_s),
            hammer(gateways, keys["limited"], "limited", seconds, None),
        )
    )


def rows_of(url: str) -> list[Entry]:
    with contextlib.closing(open_database(url)) as database:
        ledger, rows = SqlLedger(database), list[Entry]()
        while page := ledger.entries(
            UsageQuery(), (rows[-1].received_at, rows[-1].request_id, rows[-1].attempt) if rows else None, 1000
        ):
            rows += page
        return rows


def race(gateways: Sequence[Penstock], url: str, upstream: Counting, seconds: float, kill_every_s: float) -> None:
    keys = hand_out(gateways[0])
    wait_until(lambda: all(known(each, key) for each in gateways for key in keys.values()), 2.0)
    seen = asyncio.run(both(gateways, keys, seconds, kill_every_s))

    def settled() -> list[Entry]:
        for each in gateways:
            admin(each, "GET", "/usage")
        rows = rows_of(url)
        there = {row.request_id for row in rows}
        return rows if upstream.attempts.keys() <= there else []

    rows = wait_until(settled, SETTLED_WITHIN_S, lambda: "\n".join(each.said() for each in gateways))
    budget = int(float(BUDGET) * NANO)
    said = "\n".join(each.said() for each in gateways)
    spent = checks.never_overspent([row for row in rows if row.project == "budgeted"], budget, said)
    most = checks.never_more_in_a_window([row for row in rows if row.project == "limited"], TOKENS_A_MINUTE, 60.0)
    together = Seen.of(seen)
    estimated = checks.as_the_upstream_counted(rows, upstream.attempts, together)
    print(
        f"\n{len(rows)} rows, {estimated} of them estimated; {together.kills} workers killed; "
        f"${spent / NANO:.6f} of ${BUDGET} spent; at most {most} of {TOKENS_A_MINUTE} tokens in 60 s; "
        f"answers {dict(together.statuses)}, refusals {dict(together.codes)}"
    )
    assert together.kills >= 2
    assert together.codes["budget_exceeded"], "the budget was never in the way"
    assert together.codes["rate_limit_exceeded"], "the limit was never in the way"
    # What is left is less than what one request may cost, or the budget was not used up.
    assert spent > budget * 0.5
    assert not together.strange, together.strange


@contextlib.contextmanager
def one_gateway(upstream: Counting) -> Iterator[tuple[list[Penstock], str]]:
    config = CONFIG.format(workers=4, store="", counters="", pepper="", upstream=upstream.url)
    with running(config) as server:
        yield [server], sqlite_url(server.home / "state.db")


@contextlib.contextmanager
def two_gateways(upstream: Counting) -> Iterator[tuple[list[Penstock], str]]:
    with ExitStack() as held:
        postgres = held.enter_context(postgres_running())
        redis = held.enter_context(RedisServer())
        url = held.enter_context(postgres.database())
        config = CONFIG.format(workers=2, store=url, counters=redis.url, pepper=PEPPER, upstream=upstream.url)
        yield [held.enter_context(running(config)) for _ in range(2)], url


@pytest.mark.parametrize("house", [one_gateway, two_gateways], ids=["sqlite", "postgres and redis"])
def test_a_race(house) -> None:
    with Counting() as upstream, house(upstream) as (gateways, url):
        race(gateways, url, upstream, seconds=8, kill_every_s=2.0)


@pytest.mark.slow
@pytest.mark.parametrize("house", [one_gateway, two_gateways], ids=["sqlite", "postgres and redis"])
def test_a_race_of_more_than_a_minute(house) -> None:
    with Counting() as upstream, house(upstream) as (gateways, url):
        race(gateways, url, upstream, seconds=75, kill_every_s=3.0)
