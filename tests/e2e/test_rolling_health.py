"""Health of what is reached by URL: taken out when it does not answer, back when it does, whatever becomes of workers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.e2e.running import Penstock, running, wait_until


@dataclass
class Upstream:
    """Answers ``/v1/models`` while ``well``; ``slow`` makes it answer after that."""

    url: str = ""
    status: int = 200
    stuck: threading.Event = field(default_factory=threading.Event)
    slow: bool = False
    asked: int = 0


@contextlib.contextmanager
def upstream() -> Iterator[Upstream]:
    double = Upstream()

    class Answering(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            return

        def do_GET(self) -> None:
            double.asked += 1
            if double.slow:
                double.stuck.wait(10)
            self.send_response(double.status)
            self.send_header("content-length", "0")
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    double.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield double
    finally:
        double.stuck.set()
        server.shutdown()
        thread.join()
        server.server_close()


def deployment(url: str) -> str:
    health = {"every_s": 0.1, "within_s": 0.5, "misses": 2}
    far = {"engine": "openai", "base_url": url, "health": health}
    return json.dumps({"models": {"far": far}, "services": {"talk": {"model": "far"}}})


def state(server: Penstock) -> str:
    try:
        with urllib.request.urlopen(server.url + "/readyz", timeout=5) as reply:
            return str(json.load(reply)["services"]["talk"])
    except urllib.error.HTTPError as error:
        return str(json.load(error)["services"]["talk"])
    except OSError:
        return "nobody"


def test_it_is_down_while_it_fails_and_stays_so_over_a_new_worker() -> None:
    with upstream() as far, running(deployment(far.url)) as server:
        assert state(server) == "ready"
        far.status = 500
        wait_until(lambda: state(server) == "down", 5.0, server.said)
        assert "far: down: failed its health checks, 2 in a row" in server.said()
        first = server.worker()
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: state(server) == "down", 10.0, server.said)
        assert server.worker() != first
        far.status = 200
        wait_until(lambda: state(server) == "ready", 5.0, server.said)
        far.slow = True
        wait_until(lambda: state(server) == "down", 10.0, server.said)
        assert "no answer in 0.5 s" in server.said()
