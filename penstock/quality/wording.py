"""Names and times as people write them."""

from __future__ import annotations

from collections.abc import Iterable


def listed(names: Iterable[str]) -> str:
    """``a``; ``a and b``; ``a, b and c``. At least one."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def spoken(seconds: float) -> str:
    """``40 seconds``, ``12 minutes``, ``3 hours``, ``7 days``."""
    for unit, size in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} seconds"
