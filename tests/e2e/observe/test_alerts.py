"""A service that fails, and people who are told: from the first failure to the message, and as the admin API has it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from tests.e2e.running import Penstock, running

# The first look is at the start, the next fifteen seconds later; a message takes moments from there.
WITHIN_S = 40.0


class Post:
    """Takes webhooks."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, object]] = []
        bodies = self.bodies

        class Taken(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Taken)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def post() -> Iterator[Post]:
    made = Post()
    yield made
    made.close()


@pytest.fixture
def penstock(post: Post) -> Iterator[Penstock]:
    file = {
        "models": {
            "broken": {"engine": "openai", "base_url": "http://127.0.0.1:9/v1", "api_key": "none", "model": "x"}
        },
        "services": {
            "assistant": {"model": "broken", "objectives": [{"kind": "availability", "target": 0.999}]},
        },
        "observe": {
            "alerts": {"group_s": 0, "webhooks": [{"url": post.url, "template": "json", "severities": ["page"]}]}
        },
    }
    with running(json.dumps(file)) as found:
        yield found


def eventually(done: Callable[[], object]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not done():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.2)


@pytest.mark.slow
def test_a_service_that_fails_pages(penstock: Penstock, post: Post) -> None:
    with httpx.Client(base_url=penstock.url, headers={"authorization": f"Bearer {penstock.key}"}) as client:
        for _ in range(10):
            asked = {"model": "assistant", "messages": [{"role": "user", "content": "Hello."}]}
            assert client.post("/v1/chat/completions", json=asked).status_code >= 500
        eventually(lambda: post.bodies)
        (told, *_) = post.bodies
        assert (told["status"], told["severity"], told["service"]) == ("firing", "page", "assistant")
        alerts = {each["id"]: each for each in client.get("/admin/v1/alerts").json()["data"]}
        page = alerts["slo/assistant/availability/page"]
        assert "100 % of requests failed" in page["text"]
        eventually(
            lambda: any(
                each["id"] == page["id"] and each["notified_at"]
                for each in client.get("/admin/v1/alerts").json()["data"]
            )
        )
        (objective,) = client.get("/admin/v1/objectives").json()["data"]
        assert objective["budget_left"] < 0
        assert (objective["good"], objective["total"]) == (0, 10)
        assert objective["burn"]["1h"] == pytest.approx(1000)
        metrics = client.get("/metrics").text
        assert 'penstock_alerts_firing{severity="page"}' in metrics
        assert 'penstock_error_budget_left{objective="availability",service="assistant"}' in metrics
