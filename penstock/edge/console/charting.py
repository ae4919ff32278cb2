"""From points of the series to the lines of a chart: every step there is, and what nobody knows as a gap. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from penstock.control.observed.views import ChangeView, PointView, Quantiles
from penstock.core.errors import INVALID_VALUE, PenstockError

MOST_LINES = 8
"""Groups that are drawn; the busiest ones."""
STEP_S: Mapping[str, float] = {
    "15m": 10.0,
    "1h": 30.0,
    "6h": 180.0,
    "24h": 600.0,
    "7d": 3600.0,
    "30d": 14400.0,
}
"""Steps by window."""
WINDOW_S: Mapping[str, float] = {
    "15m": 900.0,
    "1h": 3600.0,
    "6h": 21600.0,
    "24h": 86400.0,
    "7d": 604800.0,
    "30d": 2592000.0,
}
"""Lengths of windows in seconds."""

_STEPS = (10.0, 30.0, 60.0, 180.0, 600.0, 1800.0, 3600.0, 14400.0, 43200.0, 86400.0)
_MOST_STEPS = 240
_COUNTS = frozenset(
    {
        "requests",
        "failed",
        "refused",
        "left",
        "internal",
        "retries",
        "fallbacks",
        "cache_hits",
        "cache_misses",
        "cost",
    }
    | {"input_tokens", "cached_tokens", "output_tokens"}
)
_SPREADS = frozenset(("duration", "first_chunk", "between", "queued", "overhead"))
_SPREAD = frozenset(("mean", "p50", "p95", "p99", "count"))
_WORD = re.compile(r"[a-z_0-9.]+(/[a-z_0-9.]+)?\Z")


class Line(msgspec.Struct, frozen=True):
    """``values`` for each step, None where nobody knows or nothing was measured."""

    draw: str
    group: dict[str, str]
    values: tuple[float | None, ...]


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """``at`` begins each step of ``step_s`` seconds. ``unknown`` are spans of which not everything is known yet.
    ``left_out`` groups had less than those that are drawn."""

    since: float
    until: float
    step_s: float
    at: tuple[float, ...]
    lines: tuple[Line, ...]
    unknown: tuple[tuple[float, float], ...]
    changes: tuple[ChangeView, ...] = ()
    left_out: int = 0


class Span(msgspec.Struct, frozen=True):
    since: float
    until: float
    step_s: float


def span(window: str, since: float | None, until: float | None, now: float) -> Span:
    """What of the address says which time is meant, in whole steps. Raises ``PenstockError(INVALID_VALUE)``."""
    if since is not None:
        end = now if until is None else until
        if not since < end:
            raise PenstockError(INVALID_VALUE, "'since' must be before 'until'.", param="since")
        step = next((each for each in _STEPS if (end - since) / each <= _MOST_STEPS), _STEPS[-1])
    else:
        if window not in STEP_S:
            raise PenstockError(
                INVALID_VALUE, f"'window' is one of {', '.join(STEP_S)}, not '{window[:40]}'.", param="window"
            )
        end, step = now if until is None else until, STEP_S[window]
        since = end - WINDOW_S[window]
    return Span(since - since % step, end - end % step + (step if end % step else 0.0), step)


def check(draw: str) -> None:
    """Raises ``PenstockError(INVALID_VALUE)`` for what cannot be drawn."""
    above, divided, below = draw.partition("/")
    sound = bool(_WORD.match(draw)) and _is_field(above)
    if not sound or (divided and below != "s" and not _is_field(below)):
        raise PenstockError(
            INVALID_VALUE,
            f"A chart cannot draw '{draw[:60]}'. Name a field of a point, such as duration.p95, requests/s or "
            "failed/requests.",
            param="draw",
        )


def chart(
    points: Sequence[PointView],
    draws: Sequence[str],
    over: Span,
    told: float | None,
    changes: Sequence[ChangeView] = (),
    *,
    partly: bool = False,
) -> Chart:
    """``told`` is until when everything is known; None: nothing is. ``partly``: counts of a step that is not known
    to its end are drawn as far as they go, which is right for bars alone; it stays among the unknown."""
    count = max(0, round((over.until - over.since) / over.step_s))
    at = tuple(over.since + index * over.step_s for index in range(count))
    groups: dict[tuple[tuple[str, str], ...], dict[float, PointView]] = {}
    for point in points:
        groups.setdefault(tuple(sorted(point.group.items())), {})[point.at] = point
    busiest = sorted(groups, key=lambda group: -sum(each.requests for each in groups[group].values()))
    drawn = busiest[:MOST_LINES] or [()]
    known = {point.at for point in points if point.known}
    clear = [(told is not None and each + over.step_s <= told) or each in known for each in at]
    begun = {point.at for point in points if partly}
    some = [is_clear or moment in begun for moment, is_clear in zip(at, clear, strict=True)]
    lines = tuple(
        Line(
            draw,
            dict(group),
            _values(draw, groups.get(group, {}), at, some if draw in _COUNTS else clear, over.step_s),
        )
        for draw in draws
        for group in sorted(drawn)
    )
    return Chart(
        since=over.since,
        until=over.until,
        step_s=over.step_s,
        at=at,
        lines=lines,
        unknown=_spans(at, clear, over.step_s),
        changes=tuple(changes),
        left_out=max(0, len(busiest) - MOST_LINES),
    )


def _values(
    draw: str, points: Mapping[float, PointView], at: Sequence[float], clear: Sequence[bool], step_s: float
) -> tuple[float | None, ...]:
    return tuple(
        _value(draw, points.get(moment), step_s) if is_clear else None
        for moment, is_clear in zip(at, clear, strict=True)
    )


def _value(draw: str, point: PointView | None, step_s: float) -> float | None:
    above, divided, below = draw.partition("/")
    upper = _field(above, point)
    if not divided or upper is None:
        return upper
    if below == "s":
        return upper / step_s
    lower = _field(below, point)
    return upper / lower if lower else None


def _field(path: str, point: PointView | None) -> float | None:
    name, _, inner = path.partition(".")
    if point is None:
        # Where all is known and nothing happened, counts are nothing and the rest was not measured.
        return 0.0 if name in _COUNTS else None
    value = getattr(point, name)
    if isinstance(value, Quantiles):
        return float(getattr(value, inner))
    return None if value is None else float(value)


def _is_field(path: str) -> bool:
    name, dot, inner = path.partition(".")
    if dot:
        return name in _SPREADS and inner in _SPREAD
    return name in _COUNTS or name == "tokens_per_s"


def _spans(at: Sequence[float], clear: Sequence[bool], step_s: float) -> tuple[tuple[float, float], ...]:
    found: list[tuple[float, float]] = []
    for moment, is_clear in zip(at, clear, strict=True):
        if is_clear:
            continue
        if found and found[-1][1] == moment:
            found[-1] = (found[-1][0], moment + step_s)
        else:
            found.append((moment, moment + step_s))
    return tuple(found)
