"""What people write on the command line for times, amounts and money, and what it means.

The functions are types of click's options and arguments; each raises ``click.BadParameter`` that says how it is
written.
"""

from __future__ import annotations

import datetime
import re
import time
from decimal import Decimal
from typing import NamedTuple

import click
import msgspec

from penstock.core.accounts import EVERYWHERE, Per, SubjectKind

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_DURATION = re.compile(r"(\d{1,9})([smhdw])\Z")
_COUNT = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)([kM]?)\Z")
_MONEY = re.compile(r"\$?(\d{1,12}(?:\.\d{1,12})?)\Z")
_LATEST = 1e11
_KINDS: tuple[SubjectKind, ...] = ("key", "user", "team", "project", "service", "global")
_WINDOWS: dict[str, Per | None] = {"minute": "minute", "day": "day", "": None}


class Subject(NamedTuple):
    """What a limit or a budget is on; ``subject`` is ``"*"`` for each of the kind."""

    kind: SubjectKind
    subject: str


class Rate(NamedTuple):
    """So much in any window of ``per``; None: nothing was said of it."""

    amount: int
    per: Per | None


def duration(text: str) -> float:
    """Seconds, written ``90s``, ``15m``, ``12h``, ``30d``, ``2w`` or ``0``."""
    seconds = _seconds(text)
    if seconds is None:
        raise click.BadParameter(f"{text!r} is no duration; write 90s, 15m, 12h, 30d or 2w")
    return seconds


def ahead(text: str) -> float:
    """Seconds since the epoch: a day or a time in ISO 8601 (UTC where it names no zone), or a duration from now."""
    return _moment(text, 1, "from now on")


def ago(text: str) -> float:
    """As ``ahead``; a duration is before now."""
    return _moment(text, -1, "before now")


def rate(text: str) -> Rate:
    """``600``, ``600/minute``, ``200k/day``, ``1.5M``."""
    number, slash, window = text.partition("/")
    found = _COUNT.match(number.replace(",", ""))
    amount = Decimal(found[1]) * {"": 1, "k": 1000, "M": 1_000_000}[found[2]] if found else Decimal("0.5")
    if amount != int(amount):
        raise click.BadParameter(f"{number!r} is no whole number; write 600, 200k or 1.5M")
    if window not in _WINDOWS or (slash and not window):
        raise click.BadParameter(f"{window!r} is no window; write {number}/minute or {number}/day")
    return Rate(int(amount), _WINDOWS[window])


def dollars(text: str) -> Decimal:
    """``12.50``, exactly as written."""
    found = _MONEY.match(text.replace(",", ""))
    if found is None:
        raise click.BadParameter(f"{text!r} is no amount of US dollars; write 12.50")
    return Decimal(found[1])


def member(text: str) -> tuple[str, object]:
    """``temperature=0.2``, ``stop=["END"]``: a member of a request, whose value is JSON, else the text itself."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise click.BadParameter(f"{text!r} is no member; write temperature=0.2")
    try:
        return name, msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return name, value


def subject(text: str) -> Subject:
    """``project:red``, ``key`` (each of them), ``global``."""
    word, colon, name = text.partition(":")
    kind = next((each for each in _KINDS if each == word), None)
    if kind is None or (colon and not name):
        raise click.BadParameter(
            f"{text!r} is nothing to set it on; write global, project:red for one project, or project for each, and "
            "so with key, user, team and service"
        )
    return Subject(kind, name or EVERYWHERE)


def _seconds(text: str) -> float | None:
    if text == "0":
        return 0.0
    found = _DURATION.match(text)
    return None if found is None else float(int(found[1]) * _UNITS[found[2]])


def _moment(text: str, sign: int, which: str) -> float:
    seconds = _seconds(text)
    if seconds is not None:
        return time.time() + sign * seconds
    try:
        moment = datetime.datetime.fromisoformat(text)
        at = (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()
    except (ValueError, OverflowError):
        at = -1.0
    if not 0 <= at <= _LATEST:
        raise click.BadParameter(
            f"{text!r} is no time; write 2026-11-21, 2026-11-21T14:00:00Z, or 12h or 30d {which}"
        )
    return at
