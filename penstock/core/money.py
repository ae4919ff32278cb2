"""Money as whole numbers. An amount is in billionths of a US dollar (``_nano``), so that sums are exact; a rate is in
millionths of a billionth of a dollar's thousand, that is 10^-12 dollars (``pico``), so that prices a token are.

One dollar a million tokens is 1,000,000 pico a token. A charge is rounded up to the next nano, once.
"""

from __future__ import annotations

import datetime

import msgspec

NANO = 1_000_000_000
"""In one dollar."""


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """Pico-dollars a token, but ``image`` an image. None: ``cached_read`` and ``cached_write`` cost as ``input``,
    ``reasoning`` and ``audio_output`` as ``output``, ``audio_input`` as ``input``."""

    input: int = 0
    output: int = 0
    cached_read: int | None = None
    cached_write: int | None = None
    reasoning: int | None = None
    audio_input: int | None = None
    audio_output: int | None = None
    image: int = 0


class Tier(msgspec.Struct, frozen=True):
    """What holds for a request whose input is more than ``above`` tokens."""

    above: int
    rates: Rates


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """What ``model`` costs from ``since`` (seconds since the epoch, UTC) until the next price of it.

    ``tiers`` by ascending ``above``. A batch costs ``batch_percent`` of it. ``per_hour_nano`` is what one copy of an
    own machine costs an hour: a request then costs the time that it held one of the copy's slots. ``max_output`` and
    ``max_input`` are the model's own bounds in tokens, where known. ``source`` says where the price is from.
    """

    model: str
    since: float = 0.0
    rates: Rates = Rates()
    tiers: tuple[Tier, ...] = ()
    batch_percent: int = 100
    per_hour_nano: int = 0
    max_input: int | None = None
    max_output: int | None = None
    source: str = ""


def period(of: str, at: float) -> tuple[float, float]:
    """The calendar ``day``, ``week`` (from Monday) or ``month`` in UTC that ``at`` falls into, begin and end in
    seconds since the epoch; for ``total`` all of time. Raises ``ValueError`` for another word."""
    day = datetime.datetime.fromtimestamp(at, datetime.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    match of:
        case "day":
            begin, end = day, day + datetime.timedelta(days=1)
        case "week":
            begin = day - datetime.timedelta(days=day.weekday())
            end = begin + datetime.timedelta(days=7)
        case "month":
            begin = day.replace(day=1)
            end = (begin + datetime.timedelta(days=32)).replace(day=1)
        case "total":
            return 0.0, float("inf")
        case _:
            raise ValueError(f"{of!r} is no period")
    return begin.timestamp(), end.timestamp()


def dollars(nano: int) -> str:
    """An amount for people and headers: at least two, at most nine decimals."""
    whole, rest = divmod(abs(nano), NANO)
    decimals = f"{rest:09d}".rstrip("0").ljust(2, "0")
    return f"{'-' if nano < 0 else ''}{whole}.{decimals}"
