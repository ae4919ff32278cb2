"""The course of a request, or of all of one trace, as bars over time: numbers for SVG, in percent of its width.
Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

import msgspec

from penstock.control.observed.views import RequestDetail, SpanView
from penstock.edge.console.showing import link, ms

ROOMS: Mapping[str, str] = MappingProxyType(
    {
        "admit": "who may ask",
        "assign": "which release",
        "prepare": "prompt and defaults",
        "reserve": "limits and budgets",
        "place": "a place at a replica",
        "dispatch": "until the first chunk",
        "reply": "until the last",
    }
)
"""What is done in each room."""

_LEAST = 0.4
_TICKS = 5


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A bar. ``x`` and ``width`` in percent. ``href`` leads to the request, empty: one is there."""

    kind: Literal["request", "room", "attempt"]
    name: str
    about: str
    error: str
    message: str
    begin_ms: float
    ms: float
    x: float
    width: float
    href: str = ""


class Tick(msgspec.Struct, frozen=True):
    """``anchor`` is how its text stands to ``x``, in SVG's words."""

    x: float
    text: str
    anchor: str


class Waterfall(msgspec.Struct, frozen=True):
    """``first_x`` is where the first chunk came, None: nowhere, or of several requests."""

    steps: Sequence[Step]
    ticks: Sequence[Tick]
    total_ms: float
    first_x: float | None = None


class _Placed(msgspec.Struct, frozen=True):
    span: SpanView
    offset_ms: float
    href: str


def of_request(view: RequestDetail) -> Waterfall:
    placed = [_Placed(span, 0.0, "") for span in view.spans]
    drawn = _drawn(placed)
    first = view.first_chunk_ms
    if first is None or not view.stream or not drawn.total_ms:
        return drawn
    return msgspec.structs.replace(drawn, first_x=round(min(100.0, 100 * first / drawn.total_ms), 2))


def of_trace(views: Sequence[RequestDetail]) -> Waterfall:
    """``views`` in the order of their arrival."""
    begin = min((each.at for each in views), default=0.0)
    placed = []
    for view in views:
        offset = (view.at - begin) * 1000.0
        href = link(f"/requests/{view.id}", at=view.at)
        placed += [
            _Placed(span, offset, href if span.depth == 0 else "")
            for span in view.spans
            # Of several requests only what each was, and its attempts.
            if span.depth != 1 or len(views) == 1
        ]
    return _drawn(placed)


def _drawn(placed: Sequence[_Placed]) -> Waterfall:
    total = max((each.offset_ms + each.span.begin_ms + each.span.ms for each in placed), default=0.0)
    return Waterfall([_step(each, total or 1.0) for each in placed], ticks(total), total)


def _step(each: _Placed, total: float) -> Step:
    span = each.span
    begin = each.offset_ms + span.begin_ms
    width = max(_LEAST, 100 * span.ms / total)
    kind: Literal["request", "room", "attempt"] = (
        "request" if span.depth == 0 else "room" if span.depth == 1 else "attempt"
    )
    return Step(
        kind=kind,
        name=span.name,
        about=ROOMS.get(span.name, span.about) if kind == "room" else span.about,
        error=span.error,
        message=span.message,
        begin_ms=begin,
        ms=span.ms,
        # What is too short to be seen stays inside at its least width.
        x=round(max(0.0, min(100 * begin / total, 100 - width)), 2),
        width=round(min(100.0, width), 2),
        href=each.href,
    )


def ticks(total_ms: float) -> Sequence[Tick]:
    """Round times from 0 on, as many as can be read side by side; none where nothing lasted."""
    if total_ms <= 0:
        return ()
    raw = total_ms / _TICKS
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * each for each in (1, 2, 2.5, 5, 10) if unit * each >= raw * 0.999)
    found = []
    for place in range(math.floor(total_ms / step) + 1):
        x = round(100 * place * step / total_ms, 2)
        # The last ones would reach beyond the edge.
        anchor = "start" if place == 0 else "end" if x > 94 else "middle"
        found.append(Tick(x, "0" if place == 0 else str(ms(place * step)), anchor))
    return found
