"""``file:`` weights are served where they lie: nothing is copied."""

from __future__ import annotations

from pathlib import Path

from penstock.weights import Progress
from penstock.weights.address import File
from penstock.weights.fetching import Part, unavailable
from penstock.weights.split import parts_of


def fetch(address: File, into: Path, progress: Progress) -> tuple[Part, ...]:
    """The file itself. ``into`` stays empty."""
    path = address.resolved()
    if path.is_dir():
        raise unavailable(address, f"{path} is a directory; name the file inside it")
    parts = tuple(path.with_name(name) for name in parts_of(path.name))
    for part in parts:
        if not part.is_file():
            raise unavailable(
                address, f"there is no file {part}; mend the path (a relative one starts at {Path.cwd()})"
            )
    return tuple(Part(part) for part in parts)
