"""kill -9 of our own processes while they work: what clients see, and what is there afterwards. See also
``test_engine_killed.py``, where the victim is a llama.cpp child."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from tests.e2e import rawhttp
from tests.e2e.faults.asked import Place
from tests.e2e.faults.upstream import BadUpstream
from tests.e2e.running import Penstock, alive, running, wait_until

BACK_WITHIN_S = 5.0
HEADING = """
# Processes killed with SIGKILL in the middle of their work

| killed | a stream under way | a request under way | its connection upstream | a request right after | left behind |
| --- | --- | --- | --- | --- | --- |
"""


def table(upstream: BadUpstream) -> str:
    """A row for the worker and one for the supervisor."""
    rows = [_row("worker", Penstock.worker, upstream), _row("supervisor", lambda server: server.pid, upstream)]
    return HEADING + "\n".join(rows) + "\n"


def _row(name: str, victim: Callable[[Penstock], int], upstream: BadUpstream) -> str:
    places = {fault: upstream.place(fault) for fault in ("endless", "hung", "good")}
    with _running(places) as server, ThreadPoolExecutor(1) as pool, rawhttp.connect(server) as streaming:
        streaming.sendall(rawhttp.request(server, _body("endless", stream=True)))
        read = b""
        while read.count(b"on and ") < 3:
            read += streaming.recv(1 << 16)
        request = rawhttp.request(server, _body("hung", stream=False))
        waiting: Future[rawhttp.Reply] = pool.submit(rawhttp.exchange, server, request)
        wait_until(lambda: places["hung"].attempts == 1, BACK_WITHIN_S)
        family = [process.pid for process in server.family()]
        killed = victim(server)
        os.kill(killed, signal.SIGKILL)
        cells = [name, _rest(streaming), _answer(waiting.result(BACK_WITHIN_S))]
        wait_until(lambda: places["endless"].open == places["hung"].open == 0, BACK_WITHIN_S)
        cells += ["closed", _next(server)]
        gone = [killed] if killed != server.pid else family
        wait_until(lambda: not any(alive(pid) for pid in gone), BACK_WITHIN_S)
        cells.append("nothing")
    return "| " + " | ".join(cells) + " |"


@contextlib.contextmanager
def _running(places: dict[str, Place]) -> Iterator[Penstock]:
    models = {name: {"engine": "openai", "base_url": place.base_url} for name, place in places.items()}
    services = {name: {"model": name} for name in places}
    with running(json.dumps({"models": models, "services": services})) as server:
        yield server


def _body(service: str, *, stream: bool) -> bytes:
    return json.dumps(
        {"model": service, "messages": [{"role": "user", "content": "Hello"}], "stream": stream}
    ).encode()


def _rest(streaming: socket.socket) -> str:
    read = b""
    with contextlib.suppress(ConnectionError):
        while piece := streaming.recv(1 << 16):
            read += piece
    return "ends" if b"[DONE]" in read else "error event" if b'"error"' in read else "cut short"


def _answer(reply: rawhttp.Reply) -> str:
    return str(reply.status) if reply.status else "no answer"


def _next(server: Penstock) -> str:
    """What the very next request gets: the listening socket is the supervisor's, so that a new worker answers it."""
    try:
        return str(rawhttp.exchange(server, rawhttp.request(server, _body("good", stream=False))).status)
    except ConnectionError:
        return "refused"
