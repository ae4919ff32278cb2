"""Bars: shares of a whole, and how much of something is used, as numbers for SVG: a bar is ``WIDTH`` wide. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

WIDTH = 1000.0
TONES = 8
"""Colours that slices take in turn."""


class Slice(msgspec.Struct, frozen=True):
    """A part of a whole: its name, its percent, where it lies, and which colour it has."""

    name: str
    percent: float
    x: float
    width: float
    tone: int


class Used(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a bound is used; ``share`` may be above 1, and is 1 where the bound is 0 and something is used."""

    share: float
    width: float
    warn_x: float | None
    tone: str


def slices(shares: Mapping[str, float]) -> tuple[Slice, ...]:
    """Of shares in percent; what nobody gets is left out. The greatest first."""
    found: list[Slice] = []
    x = 0.0
    total = sum(shares.values()) or 1.0
    for tone, (name, percent) in enumerate(sorted(shares.items(), key=lambda item: (-item[1], item[0]))):
        width = percent / total * WIDTH
        if width > 0:
            found.append(Slice(name, percent, round(x, 2), round(width, 2), tone % TONES))
        x += width
    return tuple(found)


def used(spent: float, amount: float, warn_percent: Sequence[int] = ()) -> Used:
    """Of ``amount``, above or at 0."""
    share = spent / amount if amount else float(spent > 0)
    warn = min(warn_percent, default=None)
    tone = "bad" if share >= 1 else "warn" if warn is not None and share * 100 >= warn else "good"
    return Used(
        share=share,
        width=round(min(max(share, 0.0), 1.0) * WIDTH, 2),
        warn_x=None if warn is None else warn * WIDTH / 100,
        tone=tone,
    )
