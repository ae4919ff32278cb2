"""Rows of the series as answers show them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import convert
from msgspec.structs import replace

from penstock.control.observed.views import PointView, Quantiles
from penstock.core.money import dollars
from penstock.core.series import Dimension, Fed, SeriesKey, SeriesRow, Sketch
from penstock.observe.series import spread, tokens_per_s, total

_NOBODY = SeriesKey("", "", "", "", "", "")


def told_until(fed: Sequence[Fed], alive: Iterable[str]) -> float | None:
    """Until when everything of all gateways that are alive is in the series; None: of one of them nothing is, or
    there is none."""
    said = {each.gateway: each.until for each in fed}
    living = set(alive) or set(said)
    if not living or not living <= set(said):
        return None
    return min(said[gateway] for gateway in living)


def point(row: SeriesRow, by: Sequence[Dimension], told: float | None) -> PointView:
    """``told`` is until when everything is known."""
    return PointView(
        at=row.at,
        step_s=row.step_s,
        group={name: getattr(row.key, "key_id" if name == "key" else name) for name in by},
        known=told is not None and told >= row.at + row.step_s,
        requests=row.requests,
        failed=row.failed,
        refused=row.refused,
        left=row.left,
        internal=row.internal,
        codes=dict(row.codes),
        input_tokens=row.input_tokens,
        cached_tokens=row.cached_tokens,
        output_tokens=row.output_tokens,
        tokens_per_s=tokens_per_s(row),
        cost=dollars(row.cost_nano),
        retries=row.retries,
        fallbacks=row.fallbacks,
        cache_hits=row.cache_hits,
        cache_misses=row.cache_misses,
        caches=row.caches,
        duration=_quantiles(row.duration, row.duration_s),
        first_chunk=_quantiles(row.first_chunk, row.first_chunk_s),
        between=_quantiles(row.between, row.between_s),
        queued=_quantiles(row.queued, row.queued_s),
        overhead=_quantiles(row.overhead, row.overhead_s),
    )


def whole(rows: Iterable[SeriesRow], at: float, length: float, told: float | None) -> PointView:
    """All of them as what happened in ``[at, at + length)``; nothing where there are none."""
    found = total(rows)
    row = SeriesRow(at=at, step_s=length, key=_NOBODY) if found is None else replace(found, at=at, step_s=length)
    return point(row, (), told)


def _quantiles(sketch: Sketch, sum_s: float) -> Quantiles | None:
    found = spread(sketch, sum_s)
    return None if found is None else convert(found, Quantiles, from_attributes=True)
