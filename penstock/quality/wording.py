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
            return f"{_rounded(seconds / size)} {unit}"
    return f"{_rounded(seconds)} seconds"


def _rounded(number: float) -> str:
    """With as many digits as anybody wants to be told of what is estimated."""
    return f"{number:.0f}" if number >= 10 else f"{number:.2g}"
