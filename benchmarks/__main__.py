"""``make bench``: Penstock beside its peers, then batching. ``python -m benchmarks NAME`` runs one benchmark."""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path

from benchmarks import (
    accounting,
    batching,
    cached,
    compare,
    held,
    json_layer,
    machine,
    memory,
    observed,
    prefix,
    replay,
    request_log,
    rollouts,
    semantic,
    semantic_index,
    servers,
    shipping,
    upstream_client,
)
from benchmarks.gateways import GATEWAYS

_BY_ITSELF = (
    "accounting",
    "batching",
    "cached",
    "client",
    "json",
    "prefix",
    "replay",
    "request-log",
    "rollouts",
    "semantic",
    "semantic-index",
    "servers",
    "shipping",
)


def main() -> None:
    """Reads the command line and prints a table."""
    asked = _parsed()
    if asked.command not in _BY_ITSELF:
        print(f"{datetime.date.today().isoformat()}; {machine.described()}")
        print("one core for a gateway with all its processes, another for the load and the mock engine", flush=True)
    match asked.command:
        case "accounting":
            accounting.main()
        case "shipping":
            shipping.main()
        case "batching":
            batching.main()
        case "cached":
            cached.main()
        case "client":
            upstream_client.main()
        case "json":
            json_layer.main()
        case "servers":
            servers.main()
        case "replay":
            replay.main(asked)
        case "request-log":
            request_log.main(asked)
        case "prefix":
            prefix.main(asked.trace)
        case "rollouts":
            rollouts.main(asked.runs, asked.chart)
        case "semantic":
            semantic.main(asked)
        case "semantic-index":
            semantic_index.main(asked)
        case "held":
            held.main(asked.streams, asked.seconds, asked.over)
        case "memory":
            memory.main(asked.requests, asked.cancelled)
        case "observed":
            observed.main(asked.rounds, asked.seconds, asked.requests)
        case _:
            _compare(asked)
    if asked.command == "all":
        accounting.main()
        cached.main()
        batching.main()


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    for name, about in (
        ("all", "throughput, latency and streams in one table, then batching"),
        ("throughput", "requests per second, memory, and the latency added at half of that rate"),
        ("streams", "CPU time per streamed chunk"),
    ):
        command = commands.add_parser(name, help=about)
        command.add_argument("--peers", default=",".join(GATEWAYS), help="which, by comma; the first is compared")
        command.add_argument("--rounds", type=int, default=5)
        command.add_argument("--seconds", type=float, default=3, help="of each round of throughput and latency")
    command = commands.add_parser("held", help="a thousand streams held for a minute")
    command.add_argument("--streams", type=int, default=1000)
    command.add_argument("--seconds", type=int, default=60)
    command.add_argument("--over", type=float, default=10.0, help="seconds over which they begin; 0: at once")
    command = commands.add_parser("memory", help="growth over many requests and many cancelled streams")
    command.add_argument("--requests", type=int, default=1_000_000)
    command.add_argument("--cancelled", type=int, default=100_000)
    command = commands.add_parser("observed", help="everything that is seen of requests, against nothing")
    command.add_argument("--rounds", type=int, default=7)
    command.add_argument("--seconds", type=float, default=3, help="of each round")
    command.add_argument("--requests", type=int, default=200_000, help="over which memory is watched; 0: not at all")
    commands.add_parser("accounting", help="admission by key, limits, a budget and the ledger: CPU a request")
    commands.add_parser("cached", help="an answer from the cache beside a static one: CPU a request")
    commands.add_parser("shipping", help="journals brought into the ledger: the supervisor's CPU a request")
    commands.add_parser("client", help="the upstream client by itself, beside aiohttp")
    request_log.parse(commands.add_parser("request-log", help="ten million rows: bytes and CPU a row, and searches"))
    command = commands.add_parser("prefix", help="how often each balancing policy finds a prefix cache, on a trace")
    command.add_argument("trace", type=Path, help="a trace of Mooncake's, as a file of JSON lines")
    rollouts.parse(commands.add_parser("rollouts", help="how often gates err, and how soon they see a drop"))
    semantic.parse(
        commands.add_parser("semantic", help="whether the semantic cache keeps its bound, and what it hits")
    )
    semantic_index.parse(
        commands.add_parser("semantic-index", help="desks with a million entries: time, size and recall")
    )
    replay.parse(commands.add_parser("replay", help="pairs of questions as traffic: what caches save, audits paid"))
    commands.add_parser("json", help="JSON libraries at what the gateway does with it")
    commands.add_parser("servers", help="HTTP servers by themselves: ours, uvicorn, hypercorn, granian")
    commands.add_parser("batching", help="tokens per second of llama.cpp at 1 client and at 8")
    asked = parser.parse_args()
    return asked if asked.command else parser.parse_args(["all"])


def _compare(asked: argparse.Namespace) -> None:
    names = asked.peers.split(",")
    if unknown := [name for name in names if name not in GATEWAYS]:
        raise SystemExit(f"There is no gateway {unknown[0]!r}; there are: {', '.join(GATEWAYS)}.")
    with compare.lined_up(names) as found:
        if not found.rows:
            raise SystemExit("\n".join(f"{name}: not measured: {why}" for name, why in found.absent.items()))
        if asked.command in ("all", "throughput"):
            compare.throughput(found, rounds=asked.rounds, seconds=asked.seconds)
            print(f"straight to the mock engine: {compare.straight_rate(found):,.0f} requests/s")
            compare.latency(found, rounds=asked.rounds, seconds=asked.seconds)
        if asked.command in ("all", "streams"):
            compare.per_chunk(found, rounds=asked.rounds)
        print(f"medians of {asked.rounds} interleaved rounds\n\n{compare.table(found)}\n")


if __name__ == "__main__":
    main()
