"""Numbers as people read them at a glance: times, rates, shares, money, memory. Pure."""

from __future__ import annotations

from decimal import Decimal

NONE = "-"


def time_taken(ms: float | None) -> str:
    """``840 us`` is ``0.84 ms``: milliseconds below a second, seconds below two minutes, then minutes."""
    if ms is None:
        return NONE
    if ms < 9.95:
        return f"{ms:.1f} ms"
    if ms < 999.5:
        return f"{ms:.0f} ms"
    if ms < 9_950:
        return f"{ms / 1000:.2f} s"
    return f"{ms / 1000:.0f} s" if ms < 119_500 else f"{ms / 60_000:.1f} min"


def rate(amount: float | None) -> str:
    """With three digits at most: ``0.25``, ``12.4``, ``1.2k``."""
    if amount is None:
        return NONE
    if amount == 0:
        return "0"
    for limit, digits in ((0.995, 2), (99.95, 1), (9999.5, 0)):
        if amount < limit:
            return f"{amount:.{digits}f}"
    return f"{amount / 1000:.1f}k" if amount < 999_950 else f"{amount / 1e6:.1f}M"


def share(part: float, whole: float) -> str:
    """In percent; nothing of nothing is not known."""
    if not whole:
        return NONE
    percent = 100.0 * part / whole
    return f"{percent:.0f}%" if percent in (0.0, 100.0) or percent >= 9.95 else f"{percent:.1f}%"


def money(dollars: str | float | Decimal | None) -> str:
    """US dollars, of which little is still told apart from nothing."""
    if dollars is None:
        return NONE
    amount = float(dollars)
    if amount == 0:
        return "$0"
    if amount < 0.01:
        return f"${amount:.6f}".rstrip("0")
    return f"${amount:,.2f}" if amount < 9_999.5 else f"${amount:,.0f}"


def memory(size: int | None) -> str:
    """Bytes, in powers of 1024."""
    if size is None:
        return NONE
    amount, unit = float(size), "B"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1023.5 or unit == "GiB":
            break
        amount /= 1024.0
    return f"{amount:.0f} {unit}" if amount >= 9.95 or unit == "B" else f"{amount:.1f} {unit}"


def since(seconds: float) -> str:
    """How long ago: ``12 s``, ``5 min``, ``3 h``, ``2 d``."""
    for unit, length, limit in (("s", 1.0, 99.5), ("min", 60.0, 99.5), ("h", 3600.0, 47.5)):
        if seconds / length < limit:
            return f"{max(0.0, seconds) / length:.0f} {unit}"
    return f"{seconds / 86400.0:.0f} d"
