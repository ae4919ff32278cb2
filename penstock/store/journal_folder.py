"""The segments of a journal's folder: which there are, and what becomes of those that are done with."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from penstock.core.usage import Opening
from penstock.store.journal import SUFFIX, Framing, segment_name, sync_folder

CARRIED = 0
"""The number of the segment that holds what was open in segments that are deleted; a writer's own begin at 1."""


class Segment(msgspec.Struct, frozen=True):
    """One file. ``size`` in bytes, when it was looked at."""

    owner: str
    number: int
    path: Path
    size: int


def segments(folder: Path) -> Mapping[str, Sequence[Segment]]:
    """By owner, in the order they were written; empty when there is no folder. All but the last of an owner grow no
    more. Raises ``OSError``."""
    found: list[Segment] = []
    try:
        with os.scandir(folder) as names:
            for each in names:
                owner, _, number = each.name.removesuffix(SUFFIX).rpartition("-")
                if each.name.endswith(SUFFIX) and owner and number.isdecimal():
                    found.append(Segment(owner, int(number), folder / each.name, 0))
    except FileNotFoundError:
        return {}
    by_owner: dict[str, list[Segment]] = {}
    # Sizes after the names: one that has a successor has its last.
    for segment in sorted(found, key=lambda each: (each.owner, each.number)):
        sized = msgspec.structs.replace(segment, size=segment.path.stat().st_size)
        by_owner.setdefault(segment.owner, []).append(sized)
    return by_owner


def carry(folder: Path, owner: str, records: Sequence[Opening]) -> None:
    """What is open in segments that are to be deleted, in one that is read before those left. It replaces the one
    before, at once and for good; no records: there is none. Raises ``OSError``."""
    path = folder / segment_name(owner, CARRIED)
    if not records:
        path.unlink(missing_ok=True)
        return
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(Framing().all(records))
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)
    sync_folder(folder)


def set_aside(path: Path) -> Path:
    """Keeps a damaged segment for a person to look at, under the name that is returned. Raises ``OSError``."""
    aside = path.with_suffix(".damaged")
    path.rename(aside)
    return aside
