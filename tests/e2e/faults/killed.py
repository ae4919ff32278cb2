"""kill -9 of our own processes while they work: what clients see, and what is there afterwards. See also
``test_engine_killed.py``, where the victim is a real llama.cpp."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import tempfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from tests.e2e import rawhttp
from tests.e2e.faults.live import AT_REST, live, under_way
from tests.e2e.faults.upstream import BadUpstream
from tests.e2e.running import Penstock, alive, running, wait_until

ROOT = Path(__file__).resolve().parents[3]
BACK_WITHIN_S = 10.0
WORDS = 60
WORD_S = 0.05
HEADING = """\
## Of our own processes

Each killed with SIGKILL in the middle of its work. A replica here is one of two, and each of them was answering a
stream and a whole request.

| killed | its stream | its request | upstream connections | a request right after | afterwards |
| --- | --- | --- | --- | --- | --- |
"""


def table(upstream: BadUpstream) -> str:
    """A row for a replica, one for a worker, and one for the supervisor."""
    rows = [
        _replica(),
        _row("worker", Penstock.worker, upstream),
        _row("supervisor", lambda server: server.pid, upstream),
    ]
    return HEADING + "\n".join(rows) + "\n"


def _row(name: str, victim: Callable[[Penstock], int], upstream: BadUpstream) -> str:
    places = {fault: upstream.place(fault) for fault in ("endless", "hung", "good")}
    models = {fault: {"engine": "openai", "base_url": place.base_url} for fault, place in places.items()}
    services = {fault: {"model": fault} for fault in places}
    config = json.dumps({"models": models, "services": services})
    with running(config) as server, ThreadPoolExecutor(1) as pool, rawhttp.connect(server) as streaming:
        streaming.sendall(rawhttp.request(server, _body("endless", stream=True)))
        _read_until(streaming, b"on and ")
        waiting = pool.submit(_whole, server, "hung")
        wait_until(lambda: places["hung"].attempts == 1, BACK_WITHIN_S)
        family = [process.pid for process in server.family()]
        killed = victim(server)
        os.kill(killed, signal.SIGKILL)
        stream, request = _rest(streaming), _answer(waiting.result(BACK_WITHIN_S))
        wait_until(lambda: places["endless"].open == places["hung"].open == 0, BACK_WITHIN_S)
        after = _next(server)
        if killed == server.pid:
            wait_until(lambda: not any(map(alive, family)), BACK_WITHIN_S)
            afterwards = "no process is left"
            # The worker may still hear of it before it goes too.
            stream = _either(stream, "cut short", "error event")
            request = _either(request, "no answer", "503")
        else:
            afterwards = _afterwards(server)
    return _line(name, stream, request, "closed", after, afterwards)


def _replica() -> str:
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool, contextlib.ExitStack() as streams:
        weights = Path(folder, "small.gguf")
        weights.write_bytes(b"GGUF")
        params = {"word_s": WORD_S, "words": WORDS}
        small = {"engine": "llamacpp", "weights": f"file:{weights}", "replicas": 2, "slots": 4, "params": params}
        service = {"model": "small", "balance": {"policy": "round_robin"}}
        config = json.dumps({"models": {"small": small}, "services": {"small": service}})
        server = streams.enter_context(running(config, program="tests.e2e.replica", env={"PYTHONPATH": str(ROOT)}))
        both = {"ready"}
        wait_until(lambda: {r.state for r in live(server).replicas.values()} == both, BACK_WITHIN_S)
        streaming = [streams.enter_context(rawhttp.connect(server)) for _ in range(2)]
        for each in streaming:
            each.sendall(rawhttp.request(server, _body("small", stream=True)))
            _read_until(each, b'"content"')
        waiting: list[Future[rawhttp.Reply]] = [pool.submit(_whole, server, "small") for _ in range(2)]
        wait_until(lambda: {r.attempts for r in live(server).replicas.values()} == {2}, WORDS * WORD_S / 2)
        victim = next(p.pid for p in server.family() if "tests.e2e.replica child" in p.command)
        os.kill(victim, signal.SIGKILL)
        after = _next(server, "small")
        told = sorted(map(_rest, streaming))
        assert told[1:] == ["whole"], f"the stream of the other replica: {told}"
        answers = {_answer(each.result(BACK_WITHIN_S)) for each in waiting}
        wait_until(lambda: {r.state for r in live(server).replicas.values()} == both, BACK_WITHIN_S)
        return _line("replica", told[0], " or ".join(sorted(answers)), "closed", after, _afterwards(server))


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _body(service: str, *, stream: bool) -> bytes:
    return json.dumps(
        {"model": service, "messages": [{"role": "user", "content": "Hello"}], "stream": stream}
    ).encode()


def _whole(server: Penstock, service: str) -> rawhttp.Reply:
    return rawhttp.exchange(server, rawhttp.request(server, _body(service, stream=False)))


def _read_until(streaming: socket.socket, word: bytes) -> None:
    read = b""
    while word not in read:
        piece = streaming.recv(1 << 16)
        assert piece, f"it ended early: {read!r}"
        read += piece


def _rest(streaming: socket.socket) -> str:
    read = b""
    with contextlib.suppress(ConnectionError):
        while piece := streaming.recv(1 << 16):
            read += piece
    return "error event" if b'"error"' in read else "whole" if b"[DONE]" in read else "cut short"


def _answer(reply: rawhttp.Reply) -> str:
    return str(reply.status) if reply.status else "no answer"


def _either(found: str, *expected: str) -> str:
    return " or ".join(expected) if found in expected else found


def _next(server: Penstock, service: str = "good") -> str:
    """What the very next request gets: the listening socket is the supervisor's, so that a new worker answers it."""
    try:
        return str(_whole(server, service).status)
    except ConnectionError:
        return "refused"


def _afterwards(server: Penstock) -> str:
    wait_until(lambda: under_way(server) == AT_REST, BACK_WITHIN_S, lambda: str(live(server)))
    return f"`{AT_REST}`"
