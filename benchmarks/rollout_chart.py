"""A chart as SVG, drawn by hand: which share of runs had got somewhere by so many samples."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import numpy as np

from benchmarks.rollout_runs import Numbers

_WIDTH, _HEIGHT = 960, 380
_LEFT, _TOP, _WIDE, _HIGH, _APART = 60, 56, 380, 260, 470
_COLOURS = ("#b45309", "#1d4ed8")
_POINTS = 240


@dataclass(frozen=True)
class Panel:
    """``curves`` are a name and times each, infinite: never; ``line`` is a share to draw across, with its name.
    ``most`` is the share at the top."""

    title: str
    curves: tuple[tuple[str, Numbers], ...]
    line: tuple[float, str]
    most: float


def drawn(samples: int, *panels: Panel) -> str:
    """One panel beside the other, up to so many samples."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-size="13" '
        'font-family="system-ui, sans-serif" fill="#1f2937" role="img">',
        f"<title>{escape('; '.join(panel.title for panel in panels))}</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
    ]
    for place, panel in enumerate(panels):
        parts += _panel(panel, samples, _LEFT + place * _APART)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(panel: Panel, samples: int, left: int) -> list[str]:
    bottom, right = _TOP + _HIGH, left + _WIDE

    def up(part: float) -> float:
        return bottom - _HIGH * part / panel.most

    parts = [f'<text x="{left}" y="{_TOP - 22}" font-weight="600">{escape(panel.title)}</text>']
    for part in np.linspace(0, panel.most, 6):
        y = up(part)
        parts.append(f'<line x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e5e7eb"/>')
        parts.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{part:.0%}</text>')
    for at in range(0, samples + 1, 1000):
        x = left + _WIDE * at / samples
        parts.append(f'<text x="{x:.1f}" y="{bottom + 20}" text-anchor="middle">{at:,}</text>')
    parts.append(f'<text x="{left + _WIDE / 2}" y="{bottom + 42}" text-anchor="middle">candidate samples</text>')
    share, name = panel.line
    y = up(share)
    parts.append(
        f'<line x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#6b7280" stroke-dasharray="5 4"/>'
    )
    beside = y + 16 if share > panel.most / 2 else y - 5
    parts.append(f'<text x="{right}" y="{beside:.1f}" text-anchor="end" fill="#6b7280">{escape(name)}</text>')
    for place, ((label, times), colour) in enumerate(zip(panel.curves, _COLOURS, strict=True)):
        steps = np.linspace(0, samples, _POINTS + 1)
        heights = np.searchsorted(np.sort(times), steps, side="right") / len(times)
        points = " ".join(
            f"{left + _WIDE * at / samples:.1f},{up(min(height, panel.most)):.1f}"
            for at, height in zip(steps, heights, strict=True)
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        # The legend lies where neither curve comes: at the top where they are low, in the middle where they are high.
        y = _TOP + (12 if heights[-1] < panel.most * 0.9 and panel.most < 1 else _HIGH * 0.55) + 20 * place
        x = right - 225
        parts.append(f'<line x1="{x}" x2="{x + 22}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="2.5"/>')
        parts.append(f'<text x="{x + 28}" y="{y + 4}">{escape(label)}</text>')
    return parts
