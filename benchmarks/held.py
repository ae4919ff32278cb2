"""Many streams held for a minute on one core: how long each waits for its first chunk, and whether any chunk is lost.

The same streams are first asked straight of the mock engine, for a few seconds; the difference is the gateway's.
"""

from __future__ import annotations

import uvloop

from benchmarks.compare import lined_up
from benchmarks.load import Streamed, body, request, streams
from benchmarks.machine import cpu_s, rss_mb

SPACING_MS = 100
WANTED_P99_S = 0.25
_STRAIGHT_S = 5


def main(count: int, seconds: int, over_s: float) -> None:
    """``count`` streams of 10 chunks a second for ``seconds``, begun evenly over ``over_s`` seconds (0: at once)."""
    per_s = 1000 // SPACING_MS
    with lined_up(["ours"]) as found:
        gateway = found.rows[0].gateway
        own = _asked(found.straight, {}, count, _STRAIGHT_S * per_s, over_s)
        pids = gateway.processes()
        cpu = cpu_s(pids)
        through = _asked(gateway.port, dict(gateway.headers), count, seconds * per_s, over_s)
        cpu = cpu_s(pids) - cpu
        rss = rss_mb(pids)
    lost = count * seconds * per_s - through.words
    begun = f"begun over {over_s:g} s" if over_s else "begun at once"
    print(f"\n{count:,} streams of {per_s} chunks/s held for {seconds} s on one core, {begun}")
    print(f"{'':>24} {'p50 ms':>8} {'p99 ms':>8} {'worst':>8}")
    for name, result in (("engine's first chunk", own), ("through the gateway", through)):
        first = result.first
        print(f"{name:>24} " + " ".join(f"{first.at(share) * 1e3:>8.1f}" for share in (0.5, 0.99, 1)))
    added = through.first.at(0.99) - own.first.at(0.99)
    print(f"added at p99 {added * 1e3:.1f} ms; lost chunks {lost:,}; streams that failed {through.failed}")
    print(f"CPU {cpu / (seconds + over_s):.0%} of the core; {rss:,.0f} MB at the end")
    if added > WANTED_P99_S or lost or through.failed:
        print(f"short of what is wanted: {WANTED_P99_S * 1e3:.0f} ms, nothing lost")


def _asked(port: int, headers: dict[str, str], count: int, chunks: int, over_s: float) -> Streamed:
    data = request(body(chunks=chunks, spacing_ms=SPACING_MS), headers)
    within_s = chunks * SPACING_MS / 1000 + 60
    return uvloop.run(streams(port, data, count, over_s=over_s, within_s=within_s))
