"""How rows of the series are added up."""

from __future__ import annotations

from penstock.core.series import SeriesKey, SeriesRow, Sketch

Counts = dict[int, int]
"""A sketch that is being added to: counts by index."""


def add_sketch(counts: Counts, sketch: Sketch) -> None:
    """All that a sketch has."""
    if not counts:
        counts.update(sketch)
        return
    get = counts.get
    for index, count in sketch:
        counts[index] = get(index, 0) + count


def frozen(counts: Counts) -> Sketch:
    """As it is now."""
    return tuple(sorted(counts.items()))


class RowSum:
    """Rows, or what becomes one, added up. In whatever order, but for the last bits of sums of seconds."""

    __slots__ = (
        "between", "between_s", "cache_hits", "cache_misses", "cached_tokens", "caches", "codes", "cost_nano",
        "duration", "duration_s", "failed", "fallbacks", "first_chunk", "first_chunk_s", "input_tokens", "internal",
        "left", "output_s", "output_tokens", "overhead", "overhead_s", "queued", "queued_s", "refused", "requests",
        "retries", "streamed_tokens",
    )  # fmt: skip

    def __init__(self) -> None:
        self.requests = self.failed = self.refused = self.left = self.internal = 0
        self.codes: dict[str, int] = {}
        self.caches: dict[str, int] = {}
        self.input_tokens = self.cached_tokens = self.output_tokens = self.streamed_tokens = 0
        self.output_s = 0.0
        self.cost_nano = self.retries = self.fallbacks = self.cache_hits = self.cache_misses = 0
        self.duration: Counts = {}
        self.first_chunk: Counts = {}
        self.between: Counts = {}
        self.queued: Counts = {}
        self.overhead: Counts = {}
        self.duration_s = self.first_chunk_s = self.between_s = self.queued_s = self.overhead_s = 0.0

    def add(self, row: SeriesRow) -> None:
        """Its time and key are the caller's business."""
        self.requests += row.requests
        self.failed += row.failed
        self.refused += row.refused
        self.left += row.left
        self.internal += row.internal
        for code, count in row.codes.items():
            self.codes[code] = self.codes.get(code, 0) + count
        for verdict, count in row.caches.items():
            self.caches[verdict] = self.caches.get(verdict, 0) + count
        self.input_tokens += row.input_tokens
        self.cached_tokens += row.cached_tokens
        self.output_tokens += row.output_tokens
        self.streamed_tokens += row.streamed_tokens
        self.output_s += row.output_s
        self.cost_nano += row.cost_nano
        self.retries += row.retries
        self.fallbacks += row.fallbacks
        self.cache_hits += row.cache_hits
        self.cache_misses += row.cache_misses
        add_sketch(self.duration, row.duration)
        add_sketch(self.first_chunk, row.first_chunk)
        add_sketch(self.between, row.between)
        add_sketch(self.queued, row.queued)
        add_sketch(self.overhead, row.overhead)
        self.duration_s += row.duration_s
        self.first_chunk_s += row.first_chunk_s
        self.between_s += row.between_s
        self.queued_s += row.queued_s
        self.overhead_s += row.overhead_s

    def row(self, at: float, step_s: float, key: SeriesKey) -> SeriesRow:
        """As it is now."""
        return SeriesRow(
            at=at,
            step_s=step_s,
            key=key,
            requests=self.requests,
            failed=self.failed,
            refused=self.refused,
            left=self.left,
            internal=self.internal,
            codes=dict(self.codes),
            caches=dict(self.caches),
            input_tokens=self.input_tokens,
            cached_tokens=self.cached_tokens,
            output_tokens=self.output_tokens,
            streamed_tokens=self.streamed_tokens,
            output_s=self.output_s,
            cost_nano=self.cost_nano,
            retries=self.retries,
            fallbacks=self.fallbacks,
            cache_hits=self.cache_hits,
            cache_misses=self.cache_misses,
            duration=frozen(self.duration),
            first_chunk=frozen(self.first_chunk),
            between=frozen(self.between),
            queued=frozen(self.queued),
            overhead=frozen(self.overhead),
            duration_s=self.duration_s,
            first_chunk_s=self.first_chunk_s,
            between_s=self.between_s,
            queued_s=self.queued_s,
            overhead_s=self.overhead_s,
        )
