"""What is invalidated at the command line is given by no worker a second later, wherever it lies; and what caches
saved until then is told in dollars."""

from __future__ import annotations

import json
import time
from decimal import Decimal
from typing import Any

import httpx
import pytest

from tests.e2e.observe.upstream import scripted
from tests.e2e.running import Penstock, running, wait_until
from tests.e2e.test_accounts_cli import Terminal
from tests.redis import RedisServer

FILE = """
server: {{workers: 2, access_log: "off"}}
cache: {{redis: {{url: "{redis}", read_s: 5}}}}
models:
  m: {{engine: openai, base_url: "{upstream}", model: mock, api_key: none}}
services:
  chat:
    model: m
    cache: {{exact: {{ttl_s: 600}}, price_percent: 25, tags: [all-of-chat]}}
"""
KNOWN_WITHIN_S = 1.0
IN_A_ROW = 12
"""Requests that no worker answers, so that both have been asked."""


def asked(penstock: Penstock, words: int, cached: bool = False, **more: object) -> str:
    """What caches had of a request; empty: there was nothing to give. ``cached``: no model is asked."""
    script = json.dumps({"first_s": 0.0, "rest_s": 0.0, "tokens": words, "status": 200})
    headers = {"authorization": f"Bearer {penstock.key}"}
    if cached:
        headers["cache-control"] = "only-if-cached"
    body = {"model": "chat", "temperature": 0, "messages": [{"role": "user", "content": script}], **more}
    # A connection each, so that any worker may get it.
    reply = httpx.post(f"{penstock.base_url}/chat/completions", json=body, headers=headers, timeout=10)
    if reply.status_code == 504:
        return ""
    assert reply.status_code == 200, reply.text
    return reply.headers["x-penstock-cache"].split(";")[0]


def kept(penstock: Penstock, words: int) -> bool:
    return all(asked(penstock, words, cached=True) == "hit" for _ in range(4))


def gone_after(penstock: Penstock, words: int) -> float:
    """Seconds until nobody gives it any more."""
    began = last = time.monotonic()
    row = 0
    while row < IN_A_ROW:
        if asked(penstock, words, cached=True):
            row, last = 0, time.monotonic()
        else:
            row += 1
        assert time.monotonic() - began < 15, "it is still given"
    return last - began


def admin(penstock: Penstock, method: str, path: str, **body: object) -> Any:
    headers = {"authorization": f"Bearer {penstock.key}"}
    url = f"{penstock.url}/admin/v1{path}"
    reply = httpx.request(method, url, json=body or None, headers=headers, timeout=20)
    assert reply.status_code < 300, reply.text
    return reply.json()


def test_what_is_invalidated_is_given_by_no_worker_and_what_was_saved_is_told() -> None:
    with (
        RedisServer() as redis,
        scripted() as upstream,
        running(FILE.format(redis=redis.url, upstream=upstream)) as penstock,
    ):
        run = Terminal(penstock).run
        admin(penstock, "POST", "/prices", model="m", input=1, output=1000)
        for words, person in ((2, ""), (3, "ada"), (4, "bob")):
            assert asked(penstock, words, user=person) == "miss"
        assert wait_until(lambda: all(kept(penstock, words) for words in (2, 3, 4)), 10)

        assert "Every worker knows within 1 s." in run("cache", "invalidate", "--user", "ada")
        assert gone_after(penstock, 3) <= KNOWN_WITHIN_S
        assert kept(penstock, 2)
        assert kept(penstock, 4)
        admin(penstock, "DELETE", "/subjects/bob")
        assert gone_after(penstock, 4) <= KNOWN_WITHIN_S
        tagged = {"scope": "tag", "value": "all-of-chat"}
        admin(penstock, "POST", "/caches/invalidations", **tagged, older_than_s=3600)
        assert kept(penstock, 2)
        admin(penstock, "POST", "/caches/invalidations", **tagged)
        assert gone_after(penstock, 2) <= KNOWN_WITHIN_S
        # What is made from now on is kept again.
        assert asked(penstock, 3, user="ada") == "miss"
        assert wait_until(lambda: kept(penstock, 3), 10)

        def told() -> Any:
            (row,) = admin(penstock, "GET", "/usage?by=service")["data"]
            overview = admin(penstock, "GET", "/overview?window=1h")
            (chat,) = (each["now"]["caches"] for each in overview["services"])
            return row if row["rows"] == chat.get("miss") and row["cached_requests"] == chat.get("hit") else None

        row = wait_until(told, 30)
        assert row["requests"] == row["rows"] + row["cached_requests"]
        assert row["cached_requests"] >= 12
        assert row["tokens"]["output"] == 2 + 3 + 4 + 3
        # Three quarters of what it costs to make them are saved, the last one is charged.
        charged = Decimal(row["cost"]) - _made(row)
        assert Decimal(row["saved"]) == pytest.approx(3 * charged, rel=Decimal("1e-6"))
        shown = json.loads(run("cache", "show", "--window", "1h", "--json"))
        assert shown["saved"]["chat"] == row["saved"]


def _made(row: Any) -> Decimal:
    tokens = row["tokens"]
    return (Decimal(tokens["input"]) + 1000 * Decimal(tokens["output"])) / 1_000_000
