"""The semantic cache as a chart: wrong hits per request against what was allowed, and hits against one threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from benchmarks.semantic_runs import EVERY, Outcome

_WIDTH, _HEIGHT = 960, 400
_LEFT, _TOP, _WIDE, _HIGH, _APART = 60, 56, 380, 260, 470
_COLOURS = ("#047857", "#1d4ed8", "#b45309")
Shares = NDArray[np.float64]


def drawn(found: Mapping[float, Sequence[Outcome]]) -> str:
    """Both panels; each colour is one ``max_error``."""
    requests = min(outcome.requests for outcomes in found.values() for outcome in outcomes)
    steps = np.arange(1, requests // EVERY + 1) * EVERY
    title = "Wrong hits per request so far (worst and mean run), and hits per request"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-size="13" '
        'font-family="system-ui, sans-serif" fill="#1f2937" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
    ]
    most = 1.25 * max(found)
    parts += _axes(_LEFT, "Wrong hits per request, so far", most, 0.01, requests)
    for (max_error, outcomes), colour in zip(found.items(), _COLOURS, strict=False):
        wrong = np.array([outcome.wrong_course[: len(steps)] for outcome in outcomes]) / steps
        parts.append(_line(_LEFT, np.full(len(steps), max_error), most, colour, 'stroke-dasharray="6 4"'))
        parts.append(_line(_LEFT, wrong.max(axis=0), most, colour, 'stroke-width="1" opacity="0.6"'))
        parts.append(_line(_LEFT, wrong.mean(axis=0), most, colour, 'stroke-width="2.5"'))
    parts.append(_legend(_LEFT, "dashed: max_error; thin: the worst run; thick: mean of the runs"))
    right = _LEFT + _APART
    hits = {each: _smooth([outcome.hits_course[: len(steps)] for outcome in runs]) for each, runs in found.items()}
    cosine = {
        each: _smooth([outcome.cosine_course[: len(steps)] for outcome in runs]) for each, runs in found.items()
    }
    most = 1.2 * max(float(share.max()) for share in hits.values())
    parts += _axes(right, "Hits per request", most, 0.05, requests)
    for max_error, colour in zip(found, _COLOURS, strict=False):
        parts.append(_line(right, cosine[max_error], most, colour, 'stroke-dasharray="2 4"'))
        parts.append(_line(right, hits[max_error], most, colour, 'stroke-width="2.5"'))
        y = _y(float(hits[max_error][-1]), most) - 8
        parts.append(
            f'<text x="{right + _WIDE}" y="{y:.1f}" text-anchor="end" fill="{colour}">max_error {max_error:g}</text>'
        )
    parts.append(_legend(right, "dotted: the best single cosine threshold at the same error"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _smooth(courses: Sequence[NDArray[np.int64]]) -> Shares:
    """The mean over runs, and over four steps."""
    mean = np.mean(courses, axis=0) / EVERY
    padded = np.concatenate([np.full(3, mean[0]), mean])
    return np.convolve(padded, np.full(4, 0.25), mode="valid")


def _y(share: float, most: float) -> float:
    return _TOP + _HIGH * (1 - min(share, most) / most)


def _line(left: int, shares: Shares, most: float, colour: str, how: str) -> str:
    points = " ".join(
        f"{left + _WIDE * (at + 1) / len(shares):.1f},{_y(float(share), most):.1f}" for at, share in enumerate(shares)
    )
    return f'<polyline points="{points}" fill="none" stroke="{colour}" {how}/>'


def _legend(left: int, text: str) -> str:
    return f'<text x="{left}" y="{_TOP + _HIGH + 66}" fill="#6b7280">{escape(text)}</text>'


def _axes(left: int, title: str, most: float, step: float, requests: int) -> list[str]:
    bottom, right = _TOP + _HIGH, left + _WIDE
    parts = [f'<text x="{left}" y="{_TOP - 22}" font-weight="600">{escape(title)}</text>']
    for share in np.arange(0, most, step):
        y = _y(float(share), most)
        parts.append(f'<line x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e5e7eb"/>')
        parts.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{share:.0%}</text>')
    for at in range(0, requests + 1, 5000):
        x = left + _WIDE * at / requests
        parts.append(f'<text x="{x:.1f}" y="{bottom + 20}" text-anchor="middle">{at // 1000}k</text>')
    parts.append(f'<text x="{left + _WIDE / 2}" y="{bottom + 42}" text-anchor="middle">requests</text>')
    return parts
