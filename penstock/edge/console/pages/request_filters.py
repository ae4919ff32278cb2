"""What a search of the log asks for: filters as the address says them, and shortcuts to the usual ones. Pure."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from penstock.control.observed.views import PointView
from penstock.edge.console.charting import WINDOW_S
from penstock.edge.console.showing import link, money, ms

TEXTS_SEARCHED = 20_000
"""How many contents a search for words looks at, as `requests.list` promises."""

_CHARTED = frozenset(("service", "model", "release", "project", "key"))
"""What charts can be narrowed by."""
_USUAL = "24h"
_FOLLOWED_S = WINDOW_S[_USUAL]
# Where nothing is known of what is usual.
_SLOW_MS = 5000.0
_DEAR = 0.01
_DEARER = 10.0
_TRACE = re.compile(r"(?:00-)?([0-9a-fA-F]{32})(?:-[0-9a-fA-F]{16}-[0-9a-fA-F]{2})?\Z")


class Field(msgspec.Struct, frozen=True):
    """A filter. ``choices`` are values with their words, empty: anything is typed. ``first``: it is always in
    sight."""

    name: str
    label: str
    choices: tuple[tuple[str, str], ...] = ()
    placeholder: str = ""
    kind: Literal["text", "number"] = "text"
    first: bool = False


_STATUS = (
    ("", "any"),
    ("2xx", "2xx answered"),
    ("4xx", "4xx refused"),
    ("5xx", "5xx failed"),
    ("401", "401 no key"),
    ("404", "404 no such service"),
    ("429", "429 limit"),
    ("502", "502 upstream"),
    ("503", "503 not now"),
    ("504", "504 too late"),
)
_ENDING = (("", "any"), ("complete", "complete"), ("failed", "failed"), ("client_gone", "client left"))

FIELDS: tuple[Field, ...] = (
    Field("service", "Service", first=True),
    Field("status", "Status", _STATUS, first=True),
    Field("model", "Model", first=True),
    Field("user", "User", first=True),
    Field("key", "Key", first=True),
    Field("text", "Said", placeholder="in prompt or reply", first=True),
    Field("release", "Release"),
    Field("replica", "Replica"),
    Field("project", "Project"),
    Field("team", "Team"),
    Field("subject", "Person", placeholder="the client's user"),
    Field("code", "Error code", placeholder="upstream_error"),
    Field("ending", "Ending", _ENDING),
    Field("cache", "Cache", placeholder="hit"),
    Field("stream", "Streamed", (("", "either"), ("true", "streamed"), ("false", "whole"))),
    Field("purpose", "Asked by", (("", "anybody"), ("client", "clients"), ("internal", "the gateway itself"))),
    Field("min_ms", "Took at least, ms", kind="number"),
    Field("max_ms", "Took at most, ms", kind="number"),
    Field("min_first_ms", "First token after, ms", kind="number"),
    Field("min_cost", "Cost at least, $", kind="number"),
    Field("trace", "Trace", placeholder="32 hex digits"),
)
NAMES = tuple(each.name for each in FIELDS)
_LABELS = {each.name: each.label for each in FIELDS}
_WORDS = {each.name: dict(each.choices) for each in FIELDS if each.choices}


class Question(msgspec.Struct, frozen=True):
    """What the address asks for. ``since`` and ``until`` as they were typed; without ``since`` the ``window`` before
    its end is meant."""

    filters: Mapping[str, str]
    window: str
    since: str = ""
    until: str = ""
    after: str = ""

    @property
    def said(self) -> Mapping[str, str]:
        """All of it but the page, as an address has it."""
        time = {"since": self.since, "until": self.until}
        window = self.window if self.window != _USUAL and not self.since else ""
        return {name: each for name, each in {**self.filters, **time, "window": window}.items() if each}

    @property
    def follows(self) -> bool:
        """Whether what arrives now is among it, and can be looked for every other second: words cannot, nor what is
        rare in a long time."""
        soon = bool(self.since) or WINDOW_S[self.window] <= _FOLLOWED_S
        return soon and not self.until and not self.after and "text" not in self.filters

    @property
    def day(self) -> bool:
        """Whether it is about one day, so that the time of day says when."""
        return not self.since and not self.until and WINDOW_S[self.window] <= _FOLLOWED_S


def question(query: Mapping[str, str]) -> Question:
    """A window that there is not is the usual one."""
    given = {name: value.strip() for name, value in query.items()}
    window = given.get("window", "")
    return Question(
        {name: given[name] for name in NAMES if given.get(name)},
        window if window in WINDOW_S else _USUAL,
        _written(given.get("since", "")),
        _written(given.get("until", ""), later=True),
        given.get("after", ""),
    )


def _written(text: str, later: bool = False) -> str:
    """A time as people read it: what charts say in seconds since the epoch is written out, in whole seconds."""
    try:
        seconds = math.ceil(float(text)) if later else math.floor(float(text))
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return text


def sought(text: str) -> Mapping[str, str] | None:
    """Filters that somebody typed as ``service:chat status:5xx``; None: it is something else."""
    found: dict[str, str] = {}
    for word in text.split():
        name, colon, value = word.partition(":")
        if not colon or name not in NAMES or not value:
            return None
        found[name] = value
    return found or None


def trace_in(text: str) -> str:
    """The trace's id, of itself or of a ``traceparent`` (https://www.w3.org/TR/trace-context/); empty: it is none."""
    found = _TRACE.match(text)
    return found[1].lower() if found else ""


# -- what stands above the list ----------------------------------------------------------------------------------


class Pill(msgspec.Struct, frozen=True):
    """A filter that holds, and the same page without it."""

    label: str
    value: str
    without: str


class Chip(msgspec.Struct, frozen=True):
    """A shortcut to a filter; ``on``: it holds, and the link takes it away."""

    label: str
    href: str
    on: bool
    about: str


def pills(asked: Question) -> Sequence[Pill]:
    labels = {**_LABELS, "since": "From", "until": "Until"}
    return [
        Pill(labels[name], _WORDS.get(name, {}).get(value, value), without(asked, name))
        for name, value in asked.said.items()
        if name in labels
    ]


def without(asked: Question, *names: str) -> str:
    return link("/requests", **{name: value for name, value in asked.said.items() if name not in names})


def chips(asked: Question, usual: PointView | None) -> Sequence[Chip]:
    """``usual`` is what is known of how requests go at all: slow and dear are what few of them are."""
    slow = _rounded(usual.duration.p95) if usual is not None and usual.duration is not None else _SLOW_MS
    mean = float(usual.cost) / usual.requests if usual is not None and usual.requests else 0.0
    dear = _rounded(mean * _DEARER) if mean > 0 else _DEAR
    return (
        _chip(asked, "Failed", "The gateway or an upstream failed: any status of 5xx.", status="5xx"),
        _chip(asked, "Refused", "The caller's own fault or limit: any status of 4xx.", status="4xx"),
        _chip(asked, f"Slow, over {ms(slow)}", "One in twenty takes this long.", min_ms=_plain(slow)),
        _chip(asked, f"Dear, over {money(dear)}", "Ten times what one costs on average.", min_cost=_plain(dear)),
        _chip(asked, "Client left", "It went away before the end.", ending="client_gone"),
        _chip(asked, "Last hour", "", window="1h"),
    )


def _chip(asked: Question, label: str, about: str, **filters: str) -> Chip:
    said = asked.said
    ((name, value),) = filters.items()
    # Bounds follow what is usual: whichever is set, the chip takes it away.
    on = name in said if name.startswith("min_") else said.get(name) == value
    if on:
        return Chip(label, without(asked, name), True, about)
    cleared = ("since", "until") if name == "window" else ()
    kept = {each: text for each, text in said.items() if each not in cleared}
    return Chip(label, link("/requests", **{**kept, **filters}), False, about)


def _rounded(value: float) -> float:
    """With two digits, upwards."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.ceil(value / unit - 1e-9) * unit


def _plain(value: float) -> str:
    return f"{value:.9f}".rstrip("0").rstrip(".")


class Chart(msgspec.Struct, frozen=True):
    """``series`` is what is drawn, ``behind`` the page that a part of it leads to. ``beyond`` are filters that charts
    do not know."""

    series: str
    behind: str
    beyond: Sequence[str]


def chart(asked: Question) -> Chart:
    charted = {name: value for name, value in asked.filters.items() if name in _CHARTED}
    return Chart(
        link("/data/series", window=asked.window, since=asked.since, until=asked.until, partly="true", **charted),
        link("/requests", **asked.filters),
        [_LABELS[name].lower() for name in asked.filters if name not in _CHARTED],
    )
