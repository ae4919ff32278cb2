"""How pages write what they know: numbers, money, times, addresses. What nobody knows is never a number."""

from __future__ import annotations

import datetime
from decimal import Decimal, InvalidOperation
from urllib.parse import quote, urlencode

from markupsafe import Markup, escape

UNKNOWN = Markup('<span class="unknown" title="nobody knows">unknown</span>')
_DASH = Markup('<span class="none" title="none">&ndash;</span>')


def count(value: float | None) -> Markup | str:
    """A whole number with thin groups: 12 345; from a million on 1.23 M."""
    if value is None:
        return UNKNOWN
    for bound, word in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if abs(value) >= bound:
            return f"{value / bound:.2f} {word}"
    return f"{value:,.0f}".replace(",", "\u202f")


def rate(value: float | None, unit: str = "/s") -> Markup | str:
    """Something per second."""
    if value is None:
        return UNKNOWN
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{digits}f}{unit}"


def money(value: str | float | None, digits: int | None = None) -> Markup | str:
    """US dollars, from decimal text. Small amounts keep two digits that say something."""
    if value is None or value == "":
        return UNKNOWN
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return UNKNOWN
    sign, size = ("-" if amount < 0 else ""), abs(amount)
    if digits is not None:
        return f"{sign}${size:,.{digits}f}"
    if size == 0 or size >= 1:
        return f"{sign}${size:,.2f}"
    places = min(9, max(2, 1 - size.adjusted()))
    return f"{sign}${size:.{places}f}"


def ms(value: float | None) -> Markup | str:
    """A length, given in milliseconds."""
    if value is None:
        return UNKNOWN
    if value < 1:
        return f"{value * 1000:.0f} µs"
    if value < 1000:
        return f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"
    return seconds(value / 1000)


def seconds(value: float | None) -> Markup | str:
    """A length, given in seconds, in the two units that matter."""
    if value is None:
        return UNKNOWN
    if value < 1:
        return ms(value * 1000)
    if value < 59.95:
        return f"{value:.2f} s" if value < 10 else f"{value:.1f} s"
    # What would be written as 60.0 s is a minute.
    value = max(value, 60.0)
    for unit, small, of in (("min", "s", 60), ("h", "min", 60), ("d", "h", 24)):
        size = {"min": 60.0, "h": 3600.0, "d": 86400.0}[unit]
        if value < size * {"min": 60, "h": 24, "d": 1e9}[unit]:
            whole, rest = int(value // size), int(value % size // (size / of))
            return f"{whole} {unit} {rest} {small}" if rest else f"{whole} {unit}"
    return UNKNOWN


def share(value: float | None, digits: int = 1) -> Markup | str:
    """A share of one, as a percentage."""
    return UNKNOWN if value is None else f"{100 * value:.{digits}f} %"


def size(value: float | None) -> Markup | str:
    """Bytes."""
    if value is None:
        return UNKNOWN
    for bound, word in ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if value >= bound:
            return f"{value / bound:.1f} {word}"
    return f"{value:.0f} B"


def time(at: float | None, style: str = "ago") -> Markup:
    """A moment: ``ago`` beside now, ``clock`` the time of day, ``full`` with its day. The browser writes it in its
    reader's zone; without scripts it is UTC."""
    if at is None:
        return _DASH
    moment = datetime.datetime.fromtimestamp(at, datetime.UTC)
    plain = moment.strftime("%H:%M:%S" if style == "clock" else "%Y-%m-%d %H:%M:%S") + " UTC"
    return Markup('<time datetime="{}" data-at="{}" data-style="{}">{}</time>').format(
        moment.isoformat(timespec="milliseconds"), f"{at:.3f}", style, plain
    )


def change(now: float | None, before: float | None) -> float | None:
    """How much more it is now than before, as a share; None where that says nothing."""
    if now is None or not before:
        return None
    return now / before - 1


def link(path: str, /, **query: object) -> str:
    """An address of the console: ``path`` follows ``/console``. What is None or empty is left out of the query, a
    trailing underscore of a name too."""
    given = {name.rstrip("_"): str(value) for name, value in query.items() if value is not None and value != ""}
    where = f"/console{quote(path, safe='/')}"
    return f"{where}?{urlencode(given)}" if given else where


def part(text: str) -> str:
    """Any text as one piece of a path."""
    return quote(text, safe="")


def keys(text: str) -> Markup:
    """The name of a key on the keyboard."""
    return Markup("<kbd>{}</kbd>").format(escape(text))
