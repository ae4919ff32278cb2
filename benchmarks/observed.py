"""Everything that is seen of requests, against nothing: what it costs in throughput, in CPU and in memory.

``python -m benchmarks observed``. Both gateways run in the same rounds on the same core, as in ``compare``: one with
the log of requests, masked contents and one trace in ten at a collector, one with none of it; metrics,
authentication, limits and the ledger are always on. The load is that of ``compare``, in words. CPU time is read once
what was put by in a round is worked off, so that none of it is left out, and as long after the load of either. It is
the steadier figure: a machine that has other things to do has fewer requests in a second, not more work in each.

``python -m benchmarks.observed PORT`` is the collector: it takes all and keeps nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import uvloop

from benchmarks import machine, memory
from benchmarks.compare import CONNECTIONS, Comparison, Row, alone
from benchmarks.gateways import mock_engine, penstock
from benchmarks.machine import cpu_s
from benchmarks.wrk import closed_loop
from penstock.observe.spool_reader import SpoolReader
from tests.e2e.running import free_port, wait_until

LEAST = 0.8
"""Of the throughput without."""
GROWTH = 0.05

_WORDS = "The quick brown fox jumps over the lazy dog, and asks for a summary of it all. "
_BODY = json.dumps({"model": "mock", "messages": [{"role": "user", "content": (_WORDS * 3)[:200]}]}).encode()
_DRAINED_S = 120.0
# Spools are looked at every two seconds under load.
_SETTLED_S = 3.0
# Beats go on.
_NEARLY_NOTHING = 4096
_LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)
_TAKEN = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n"


def main(rounds: int, seconds: float, requests: int) -> None:
    """Prints the table and the row."""
    machine.settle_in()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="penstock-bench-")))
        upstream = stack.enter_context(mock_engine(folder))
        collector = stack.enter_context(_collector())
        everything, home = stack.enter_context(penstock(upstream, "everything", observe=_everything(collector)))
        nothing, _ = stack.enter_context(penstock(upstream, "nothing", observe={"requests": {"enabled": False}}))
        found = Comparison([Row(everything), Row(nothing)], {}, upstream, folder)
        spent = _rounds(found, home / "spool", rounds, seconds)
        _table(found, spent)
        if requests:
            memory.heading()
            grown = uvloop.run(memory.watched(everything, requests, memory.whole))
            memory.row("everything on", requests, GROWTH, *grown)


def _everything(collector: int) -> dict[str, object]:
    return {
        "requests": {"content": "masked"},
        "traces": {"share": 0.1},
        "otlp": {"url": f"http://127.0.0.1:{collector}"},
    }


def _rounds(found: Comparison, spool: Path, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Fills in the rates; gives back the microseconds of CPU a request, by gateway."""
    spent: dict[str, list[float]] = {row.gateway.name: [] for row in found.rows}
    for number in range(-1, rounds):
        for row in found.rows:
            gateway, pids = row.gateway, row.gateway.processes()
            with alone(row, found):
                before = cpu_s(pids)
                ran = closed_loop(
                    gateway.port,
                    _BODY,
                    gateway.headers,
                    seconds=seconds,
                    connections=CONNECTIONS,
                    folder=found.folder,
                )
                time.sleep(_SETTLED_S)
                _worked_off(spool)
                took = (cpu_s(pids) - before) / ran.requests * 1e6
            row.failed += ran.failed
            # The first goes for warming up.
            if number >= 0:
                row.rates.append(ran.rate)
                spent[gateway.name].append(took)
        print(f"round {number + 1} of {rounds}", flush=True)
    return spent


def _worked_off(spool: Path) -> None:
    """Returns once nothing waits in the spool, or what waits grows less no more."""
    deadline, before = time.monotonic() + _DRAINED_S, math.inf
    while time.monotonic() < deadline:
        waits = SpoolReader(spool).waiting()
        if waits < _NEARLY_NOTHING or waits >= before:
            return
        before = waits
        time.sleep(_SETTLED_S)


def _table(found: Comparison, spent: dict[str, list[float]]) -> None:
    print("\n| seen | requests/s | lowest | highest | CPU us a request | failed |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for row in found.rows:
        middle, cpu = statistics.median(row.rates), statistics.median(spent[row.gateway.name])
        low, high = min(row.rates), max(row.rates)
        print(f"| {row.gateway.name} | {middle:,.0f} | {low:,.0f} | {high:,.0f} | {cpu:.0f} | {row.failed} |")
    everything, nothing = found.rows
    share = statistics.median(on / off for on, off in zip(everything.rates, nothing.rates, strict=True))
    costs = list(zip(spent[everything.gateway.name], spent[nothing.gateway.name], strict=True))
    more, part = statistics.median(on - off for on, off in costs), statistics.median(off / on for on, off in costs)
    print(
        f"\neverything does {share:.0%} of what nothing does" + ("" if share >= LEAST else f", wanted: {LEAST:.0%}")
    )
    print(f"by CPU it would do {part:.0%}: a request takes {more:.0f} us more")


# -- the collector -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _collector() -> Iterator[int]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.observed", str(port)], stdin=subprocess.DEVNULL)
    try:
        wait_until(lambda: _listens(port), 30.0)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


class _Takes(asyncio.Protocol):
    """One connection; a request's body is counted off and dropped."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._head = b""
        self._left = 0

    def data_received(self, data: bytes) -> None:
        while data:
            if self._left:
                taken = min(self._left, len(data))
                self._left -= taken
                data = data[taken:]
            else:
                head, end, data = (self._head + data).partition(b"\r\n\r\n")
                if not end:
                    self._head = head
                    return
                self._head = b""
                length = _LENGTH.search(head)
                self._left = 0 if length is None else int(length[1])
            if not self._left:
                self._transport.write(_TAKEN)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Takes, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(_serve(int(sys.argv[1])))
