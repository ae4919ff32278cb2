"""``make bench``: Penstock beside its peers, then batching. ``python -m benchmarks NAME`` runs one benchmark."""

from __future__ import annotations

import argparse
import datetime

from benchmarks import batching, compare, machine
from benchmarks.gateways import GATEWAYS


def main() -> None:
    """Reads the command line and prints a table."""
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
    commands.add_parser("batching", help="tokens per second of llama.cpp at 1 client and at 8")
    asked = parser.parse_args()
    if asked.command == "batching":
        batching.main()
        return
    if asked.command is None:
        asked = parser.parse_args(["all"])
    _compare(asked)
    if asked.command == "all":
        batching.main()


def _compare(asked: argparse.Namespace) -> None:
    names = asked.peers.split(",")
    if unknown := [name for name in names if name not in GATEWAYS]:
        raise SystemExit(f"There is no gateway {unknown[0]!r}; there are: {', '.join(GATEWAYS)}.")
    with compare.lined_up(names) as found:
        if asked.command in ("all", "throughput"):
            compare.throughput(found, rounds=asked.rounds, seconds=asked.seconds)
            straight = compare.straight_rate(found)
            compare.latency(found, rounds=max(3, asked.rounds // 2), seconds=asked.seconds)
        if asked.command in ("all", "streams"):
            compare.per_chunk(found, rounds=max(3, asked.rounds // 2))
        print(f"\n{datetime.date.today().isoformat()}; {machine.described()}")
        print(f"one core for a gateway, one for the load and the mock engine; median of {asked.rounds} rounds")
        if asked.command != "streams":
            print(f"straight to the mock engine: {straight:,.0f} requests/s")
        print(f"\n{compare.table(found)}\n")


if __name__ == "__main__":
    main()
