"""A process that writes a journal as fast as it can, and says on its standard output how many writes have returned."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from penstock.store.journal import Journal
from tests.store.records import audited, opened, scored, settled


def main(folder: str, owner: str) -> None:
    journal = Journal(Path(folder), owner, sync_s=0.05, segment_bytes=256 << 10)
    for number in range(10_000_000):
        lease = f"{owner}.{number // 2}"
        if number % 97 == 96:
            act = audited(f"{owner}-{number}", b"x" * (number % 9000))
            journal.write_all((opened(lease, 2), act, scored(f"req_{lease}")))
        else:
            journal.write(settled(lease) if number % 2 else opened(lease))
        os.write(1, number.to_bytes(4, "little"))


if __name__ == "__main__":
    main(*sys.argv[1:])
