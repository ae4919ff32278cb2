"""``make bench``: every benchmark in turn, a table each. ``python -m benchmarks NAME`` runs one."""

from __future__ import annotations

import sys

from benchmarks import batching

BENCHMARKS = {"batching": batching.main}


def main() -> None:
    asked = sys.argv[1:] or list(BENCHMARKS)
    if unknown := [name for name in asked if name not in BENCHMARKS]:
        sys.exit(f"There is no benchmark {unknown[0]!r}; there are: {', '.join(BENCHMARKS)}.")
    for name in asked:
        BENCHMARKS[name]()


if __name__ == "__main__":
    main()
