"""How many requests wait is told while they wait, by one worker and over several."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import yaml

from tests.e2e.observe.upstream import scripted
from tests.e2e.running import running, wait_until

SCRIPT = json.dumps({"first_s": 1.0, "rest_s": 0, "tokens": 2, "status": 200})


@pytest.mark.parametrize("workers", [1, 2])
def test_what_waits_is_a_gauge(workers: int) -> None:
    with scripted() as upstream, ThreadPoolExecutor(3) as clients:
        config = {
            "server": {"access_log": "off", "workers": workers},
            "models": {"m": {"engine": "openai", "base_url": upstream, "api_key": "none"}},
            "services": {"chat": {"model": "m", "queue": {"concurrency": 1}}},
        }
        with running(yaml.safe_dump(config)) as server:
            headers = {"authorization": f"Bearer {server.key}"}

            def depth() -> str:
                page = httpx.get(f"{server.url}/metrics", headers=headers).text
                return next((each for each in page.splitlines() if each.startswith("penstock_queue_depth{")), "")

            def ask() -> int:
                body = {"model": "chat", "messages": [{"role": "user", "content": SCRIPT}]}
                return httpx.post(
                    f"{server.base_url}/chat/completions", json=body, headers=headers, timeout=30
                ).status_code

            asked = [clients.submit(ask) for _ in range(3)]
            wait_until(lambda: depth() == 'penstock_queue_depth{service="chat"} 2.0', 10, server.said)
            assert [each.result() for each in asked] == [200] * 3
            wait_until(lambda: depth() == 'penstock_queue_depth{service="chat"} 0.0', 10, server.said)
