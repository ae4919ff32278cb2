"""Columns over time, stacked: amounts by day or hour, as numbers for SVG. Pure."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence

import msgspec

from penstock.edge.console.pages.bars import TONES

WIDTH, HEIGHT = 1000, 220
LEFT, BOTTOM, TOP = 56, 192, 10
_NAMED = TONES - 1
OTHERS = "all others"
_LEAST = 1e-9
"""Dollars in the smallest cost there is."""


class Column(msgspec.Struct, frozen=True):
    """What a group came to in the step that begins ``at``."""

    at: float
    group: str
    amount: float
    requests: int


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a column; ``title`` says what it is."""

    x: float
    y: float
    width: float
    height: float
    tone: int
    title: str
    group: str
    at: float
    until: float


class Tick(msgspec.Struct, frozen=True):
    at: float
    text: str


class Columns(msgspec.Struct, frozen=True, kw_only=True):
    """``legend`` are the groups in their colours, the greatest first; ``amount`` false: it is of requests, as nothing
    was paid."""

    blocks: tuple[Block, ...]
    legend: tuple[tuple[str, int], ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    amount: bool


def columns(found: Sequence[Column], *, begin: float, step: float, count: int) -> Columns:
    """``count`` columns from ``begin`` on, seconds since the epoch."""
    paid = any(each.amount for each in found)
    totals: dict[str, float] = {}
    heights: dict[int, dict[str, tuple[float, int]]] = {}
    for each in found:
        totals[each.group] = totals.get(each.group, 0.0) + _height(each, paid)
    ranked = sorted(totals, key=lambda name: (-totals[name], name))
    named = ranked if len(ranked) <= TONES else ranked[:_NAMED]
    tones = {name: tone for tone, name in enumerate(named)}
    for each in found:
        place = int((each.at - begin) // step)
        if 0 <= place < count:
            name = each.group if each.group in tones else OTHERS
            before, requests = heights.setdefault(place, {}).get(name, (0.0, 0))
            heights[place][name] = (before + _height(each, paid), requests + each.requests)
    most = max((sum(height for height, _ in each.values()) for each in heights.values()), default=0.0)
    steps = _rounded(most)
    top = steps[-1] if steps else 1.0
    slot = (WIDTH - LEFT) / max(count, 1)
    width = round(max(1.0, min(slot * 0.72, 48.0)), 2)
    blocks: list[Block] = []
    for place, groups in sorted(heights.items()):
        y = float(BOTTOM)
        at = begin + place * step
        for name in sorted(groups, key=lambda name: tones.get(name, TONES)):
            height, requests = groups[name]
            tall = height / top * (BOTTOM - TOP)
            if tall <= 0:
                continue
            y -= tall
            said = f"${height:,.4f}, " if paid else ""
            blocks.append(
                Block(
                    x=round(LEFT + place * slot + (slot - width) / 2, 2),
                    y=round(y, 2),
                    width=width,
                    height=round(max(tall - (0.75 if tall > 3 else 0.0), 0.5), 2),
                    tone=tones.get(name, TONES - 1),
                    title=f"{_named(at, step)}{f', {name}' if name else ''}: {said}{requests:,} requests",
                    group="" if name == OTHERS else name,
                    at=at,
                    until=at + step,
                )
            )
    legend = [(name, tones[name]) for name in named if name]
    if len(ranked) > len(named):
        legend.append((OTHERS, TONES - 1))
    return Columns(
        blocks=tuple(blocks),
        legend=tuple(legend),
        x_ticks=_times(begin, step, count, slot),
        y_ticks=tuple(Tick(round(BOTTOM - each / top * (BOTTOM - TOP), 2), _worth(each, paid)) for each in steps),
        amount=paid,
    )


def _height(each: Column, paid: bool) -> float:
    return each.amount if paid else float(each.requests)


def _rounded(most: float) -> Sequence[float]:
    """From 0 up to at least ``most``, in round steps."""
    if most < _LEAST:
        return ()
    raw = most / 4
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * each for each in (1, 2, 2.5, 5, 10) if size * each >= raw * 0.999)
    return [step * each for each in range(math.ceil(most / step * 0.999) + 1)]


def _worth(value: float, paid: bool) -> str:
    if not paid:
        return f"{value:,.0f}" if value == int(value) else ""
    return f"${value:,.0f}" if value >= 10 or value == 0 else f"${value:.6f}".rstrip("0").rstrip(".")


def _times(begin: float, step: float, count: int, slot: float) -> tuple[Tick, ...]:
    every = max(1, math.ceil(64 / slot))
    return tuple(
        Tick(round(LEFT + (place + 0.5) * slot, 2), _named(begin + place * step, step))
        for place in range((count - 1) % every, count, every)
    )


def _named(at: float, step: float) -> str:
    moment = datetime.datetime.fromtimestamp(at, datetime.UTC)
    return f"{moment:%H:%M}" if step < 86400 else f"{moment:%b} {moment.day}"
