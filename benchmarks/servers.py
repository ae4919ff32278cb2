"""HTTP servers by themselves, on one core: what a request and a streamed chunk cost where nothing is done for them.

``python -m benchmarks.servers PORT`` runs ours; the others serve ``asgi.py``, the same application in ASGI.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import uvloop

from benchmarks import machine
from benchmarks.installs import Absent, python_with
from benchmarks.load import body, request, streams
from benchmarks.machine import cpu_s, on_gateway_core, tree
from benchmarks.wrk import closed_loop
from penstock.core.metrics import Meter, Sample
from penstock.edge.http.app import App
from penstock.edge.http.config import Drain, ServerSettings
from penstock.edge.http.exchange import Exchange
from penstock.edge.http.server import serve
from penstock.edge.http.websocket import WebSocketSide
from penstock.gateway.chat import Gateway
from tests.e2e.running import free_port, wait_until

ROUNDS = 5
STREAMS = 32
CHUNKS = 64
SPACING_S = 0.005
REPLY = b'{"choices":[{"message":{"role":"assistant","content":"word "}}]}'
CHUNK = b'data: {"choices":[{"delta":{"content":"word "}}]}\n\n'

_ASGI = f"""import asyncio
REPLY, CHUNK = {REPLY!r}, {CHUNK!r}
async def app(scope, receive, send):
    asked, more = b"", True
    while more:
        message = await receive()
        asked += message.get("body", b"")
        more = message.get("more_body", False)
    if b'"stream":true' not in asked:
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(REPLY))]
        await send({{"type": "http.response.start", "status": 200, "headers": headers}})
        await send({{"type": "http.response.body", "body": REPLY}})
        return
    count = int(asked.partition(b'"max_tokens":')[2].partition(b",")[0])
    headers = [(b"content-type", b"text/event-stream")]
    await send({{"type": "http.response.start", "status": 200, "headers": headers}})
    for _ in range(count):
        await asyncio.sleep({SPACING_S})
        await send({{"type": "http.response.body", "body": CHUNK, "more_body": True}})
    await send({{"type": "http.response.body", "body": b""}})
"""
OTHERS = {
    "uvicorn": ("uvicorn[standard]==0.54.0", ["uvicorn", "asgi:app", "--log-level", "error", "--lifespan", "off"]),
    "hypercorn": ("hypercorn[uvloop]==0.18.0", ["hypercorn", "asgi:app", "-k", "uvloop"]),
    "granian": ("granian[uvloop]==2.8.7", ["granian", "--interface", "asginl", "--no-ws", "asgi:app"]),
}


class Bare:
    """The same application on our listener."""

    def __init__(self) -> None:
        self.meter: Meter = _Unmeasured()
        self.sockets = WebSocketSide(cast(Gateway, None), meter=self.meter, max_body_bytes=1 << 20)
        self.draining = False

    async def answer(self, exchange: Exchange) -> None:
        asked = await exchange.body(1 << 20)
        if b'"stream":true' not in asked:
            exchange.reply(200, REPLY)
        else:
            count = int(asked.partition(b'"max_tokens":')[2].partition(b",")[0])
            exchange.start(200, [(b"content-type", b"text/event-stream")])
            for _ in range(count):
                await asyncio.sleep(SPACING_S)  # pace: an engine's
                exchange.write(CHUNK)
            exchange.write(b"", more=False)
        exchange.over()


class _Unmeasured:
    def record(self, sample: Sample) -> None:
        """Nobody looks."""


async def _ours(port: int) -> None:
    stop: asyncio.Future[Drain] = asyncio.get_running_loop().create_future()
    sock = socket.create_server(("127.0.0.1", port))
    await serve(cast(App, Bare()), sock, stop=stop, settings=ServerSettings())


@contextlib.contextmanager
def _running(name: str, folder: Path) -> Iterator[tuple[int, int]]:
    port = free_port()
    if name == "ours":
        argv, where = [sys.executable, "-m", "benchmarks.servers", str(port)], Path.cwd()
    else:
        requirement, command = OTHERS[name]
        program, *options = command
        at = ["--bind", f"127.0.0.1:{port}"] if name == "hypercorn" else ["--host", "127.0.0.1", "--port", str(port)]
        argv, where = [str(python_with(name, requirement).parent / program), *at, *options], folder
    with on_gateway_core():
        process = subprocess.Popen(argv, cwd=where, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _listens(port), 30)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(15)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


async def _chunk_us(port: int, pid: int) -> float:
    async def batch(count: int) -> float:
        before = cpu_s(tree(pid))
        found = await streams(port, request(body(chunks=count), {}), STREAMS)
        assert found.words == STREAMS * count, found
        return cpu_s(tree(pid)) - before

    await batch(1)
    spent = sum([await batch(CHUNKS) for _ in range(6)]) - sum([await batch(1) for _ in range(6)])
    return spent / (6 * STREAMS * (CHUNKS - 1)) * 1e6


def main() -> None:
    """Prints a table."""
    machine.settle_in()
    rates: dict[str, list[float]] = {}
    chunks: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as made:
        folder = Path(made)
        (folder / "asgi.py").write_text(_ASGI)
        for _ in range(ROUNDS):
            for name in ("ours", *OTHERS):
                try:
                    with _running(name, folder) as (port, pid):
                        found = closed_loop(port, body(), {}, seconds=2, connections=32, folder=folder)
                        assert not found.failed
                        rates.setdefault(name, []).append(found.rate)
                        chunks.setdefault(name, []).append(uvloop.run(_chunk_us(port, pid)))
                except Absent as error:
                    print(f"{name}: not measured: {error}")
    print(f"medians of {ROUNDS} interleaved rounds\n\n| server | requests/s | CPU us/chunk |\n|---|---:|---:|")
    for name in rates:
        title = "ours" if name == "ours" else OTHERS[name][0]
        print(f"| {title} | {statistics.median(rates[name]):,.0f} | {statistics.median(chunks[name]):.1f} |")


if __name__ == "__main__":
    uvloop.run(_ours(int(sys.argv[1])))
