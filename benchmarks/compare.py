"""Penstock beside its peers, in the same run on the same core, in one table.

Every process of a gateway runs on one core; the load and the mock engine share another. Rounds go around the
gateways, so that a neighbour's noise falls on all of them; what is shown are medians. Requests carry a prompt of
200 bytes, and the mock engine answers at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from benchmarks import machine
from benchmarks.gateways import GATEWAYS, Gateway, mock_engine
from benchmarks.installs import Absent
from benchmarks.load import body, open_loop, request, streams
from benchmarks.machine import cpu_s, rss_mb
from benchmarks.wrk import closed_loop

CONNECTIONS = 32
STREAMS = 32
CHUNKS = 64
SPACING_MS = 5
# The open loop is Python too: beyond this its own queueing would be measured.
MOST_OPEN = 5000.0
_ENOUGH_CPU_S = 0.4
_MOST_BATCHES = 10


@dataclass
class Row:
    """What was measured of one gateway, a figure per round."""

    gateway: Gateway
    rates: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    chunk_us: list[float] = field(default_factory=list)
    open_rate: float = 0.0
    rss_mb: float = 0.0
    failed: int = 0


@dataclass
class Comparison:
    """``rows`` in the order asked for; ``absent`` is what could not be measured here, and why."""

    rows: list[Row]
    absent: dict[str, str]
    straight: int
    folder: Path


@contextlib.contextmanager
def lined_up(names: Sequence[str]) -> Iterator[Comparison]:
    """Starts the mock engine and the gateways, and stops them."""
    machine.settle_in()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="penstock-bench-")))
        port = stack.enter_context(mock_engine(folder))
        found = Comparison([], {}, port, folder)
        for name in names:
            try:
                found.rows.append(Row(stack.enter_context(GATEWAYS[name](port, folder))))
            except (Absent, AssertionError) as error:
                found.absent[name] = str(error).splitlines()[0]
        yield found


@contextlib.contextmanager
def alone(row: Row, found: Comparison) -> Iterator[None]:
    """The others stand still meanwhile: what they do without being asked would fall on this one."""
    others = [pid for other in found.rows if other is not row for pid in other.gateway.processes()]
    try:
        _signal(others, signal.SIGSTOP)
        yield
    finally:
        _signal(others, signal.SIGCONT)


def _signal(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def throughput(found: Comparison, *, rounds: int, seconds: float) -> None:
    """Requests per second with 32 connections."""
    text = body()
    for row in found.rows:
        _closed(row, text, 1, found.folder)
    for number in range(rounds):
        for row in found.rows:
            with alone(row, found):
                row.rates.append(_closed(row, text, seconds, found.folder))
        _progress("throughput", number + 1, rounds)
    for row in found.rows:
        row.rss_mb = rss_mb(row.gateway.processes())


def straight_rate(found: Comparison, seconds: float = 2) -> float:
    """Requests per second that the mock engine and the load, sharing their core, do without a gateway."""
    return closed_loop(found.straight, body(), {}, seconds=seconds, connections=CONNECTIONS, folder=found.folder).rate


def latency(found: Comparison, *, rounds: int, seconds: float) -> None:
    """What a gateway adds to a request's latency at half of its own rate, over the way straight to the engine.

    Quantiles are those of one second each: the machine stops for tens of milliseconds now and then, which would be
    the 99th percentile of whatever gateway's seconds they fall into, and nobody's median.
    """
    for number in range(rounds):
        for row in found.rows:
            row.open_rate = min(statistics.median(row.rates) / 2, MOST_OPEN)
            plain = uvloop.run(open_loop(found.straight, request(body(), {}), row.open_rate, 1.0))
            data = request(body(), row.gateway.headers)
            with alone(row, found):
                for _ in range(max(1, round(seconds))):
                    through = uvloop.run(open_loop(row.gateway.port, data, row.open_rate, 1.0))
                    row.failed += through.failed
                    row.p50_ms.append((through.at(0.5) - plain.at(0.5)) * 1e3)
                    row.p99_ms.append((through.at(0.99) - plain.at(0.99)) * 1e3)
        _progress("latency", number + 1, rounds)


def per_chunk(found: Comparison, *, rounds: int) -> None:
    """CPU time per streamed chunk: that of 32 streams of 64 chunks less that of as many streams of one chunk."""
    able = []
    for row in found.rows:
        data = request(body(chunks=CHUNKS), row.gateway.headers)
        tried = uvloop.run(streams(row.gateway.port, data, 1))
        if tried.failed:
            found.absent[f"{row.gateway.name}, streams"] = "its answer to a request for one is an error"
        else:
            able.append(row)
    for number in range(rounds):
        for row in able:
            with alone(row, found):
                row.chunk_us.append(uvloop.run(_chunk_us(row)))
        _progress("streams", number + 1, rounds)


async def _chunk_us(row: Row) -> float:
    pids = row.gateway.processes()
    long, short = (request(body(chunks=count, spacing_ms=SPACING_MS), row.gateway.headers) for count in (CHUNKS, 1))

    async def batch(data: bytes, chunks: int) -> float:
        before = cpu_s(pids)
        result = await streams(row.gateway.port, data, STREAMS)
        row.failed += result.failed + (result.words != STREAMS * chunks)
        return cpu_s(pids) - before

    await batch(short, 1)
    spent, batches = 0.0, 0
    while spent < _ENOUGH_CPU_S and batches < _MOST_BATCHES:
        spent += await batch(long, CHUNKS)
        batches += 1
    for _ in range(batches):
        spent -= await batch(short, 1)
    return spent / (batches * STREAMS * (CHUNKS - 1)) * 1e6


def _closed(row: Row, text: bytes, seconds: float, folder: Path) -> float:
    gateway = row.gateway
    result = closed_loop(gateway.port, text, gateway.headers, seconds=seconds, connections=CONNECTIONS, folder=folder)
    row.failed += result.failed
    return result.rate


def _progress(what: str, number: int, rounds: int) -> None:
    print(f"{what}: round {number} of {rounds}", flush=True)


Column = tuple[str, Callable[[Row], str]]


def table(found: Comparison) -> str:
    """The figures as plain text, which is Markdown too."""
    first = found.rows[0]

    def rate(row: Row) -> float:
        return statistics.median(row.rates)

    def chunk(row: Row) -> float:
        return statistics.median(row.chunk_us)

    columns: list[Column] = [("gateway", lambda row: f"{row.gateway.name} {row.gateway.version}")]
    if first.rates:
        columns += [
            ("requests/s", lambda row: f"{rate(row):,.0f}"),
            ("lowest", lambda row: f"{min(row.rates):,.0f}"),
            ("highest", lambda row: f"{max(row.rates):,.0f}"),
            (f"{first.gateway.name} does", lambda row: f"{rate(first) / rate(row):.2f} x"),
            ("memory MB", lambda row: f"{row.rss_mb:,.0f}"),
        ]
    if first.p99_ms:
        columns += [
            ("overhead p50 ms", lambda row: f"{statistics.median(row.p50_ms):.2f}"),
            ("p99 ms", lambda row: f"{statistics.median(row.p99_ms):.2f}"),
            ("at requests/s", lambda row: f"{row.open_rate:,.0f}"),
        ]
    if first.chunk_us:
        columns += [
            ("CPU us/chunk", lambda row: f"{chunk(row):,.1f}" if row.chunk_us else "-"),
            (
                f"{first.gateway.name} takes",
                lambda row: f"{chunk(first) / chunk(row):.2f} x" if row.chunk_us else "-",
            ),
        ]
    columns.append(("failed", lambda row: str(row.failed)))
    cells = [[title for title, _ in columns]] + [[cell(row) for _, cell in columns] for row in found.rows]
    widths = [max(len(line[at]) for line in cells) for at in range(len(columns))]
    lines = [_line(line, widths) for line in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 1) + (":" if at else "-") for at, width in enumerate(widths)) + "|")
    lines += [f"{name}: not measured: {why}" for name, why in found.absent.items()]
    return "\n".join(lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]
    padded[0] = cells[0].ljust(widths[0])
    return f"| {' | '.join(padded)} |"
