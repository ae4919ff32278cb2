"""Records of requests become rows of the series, and rows what people are shown. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import msgspec

from penstock.core.caching import GIVEN
from penstock.core.requests import RequestRecord
from penstock.core.series import STEPS, SeriesKey, SeriesRow, Sketch
from penstock.core.series_sums import RowSum
from penstock.observe.sketch import add, count_of, quantiles

STEP_S = STEPS[0]
KEYS = 2000
"""Keys that one step may have before new ones are counted as ``other``."""
OTHER = "other"

_STEPS_KNOWN = 64
_MADE = frozenset(("miss", "refresh"))
_SHOWN = (0.5, 0.95, 0.99)

_Key = tuple[str, str, str, str, str]
"""Service, model, release, project, key."""


class Folding:
    """Folds the records of one gateway into rows that add to what was told before. All that is remembered of what was
    told is which keys the last steps have."""

    def __init__(self, gateway: str, keys: int = KEYS) -> None:
        self._gateway = gateway
        self._most = keys
        self._known: dict[int, set[_Key]] = {}
        self._sums: dict[tuple[int, _Key], RowSum] = {}

    def add(self, records: Iterable[RequestRecord]) -> None:
        """By the step in which each request ended, those of a client and those of the gateway itself alike."""
        sums = self._sums
        for record in records:
            step = int((record.at + record.duration_s) // STEP_S)
            key = (record.service, record.model, record.release, record.project, record.key_id)
            found = sums.get((step, key))
            if found is None:
                key = self._bounded(step, key)
                found = sums.setdefault((step, key), RowSum())
            add_record(found, record)

    def take(self) -> Sequence[SeriesRow]:
        """What was added since this was called last."""
        sums, self._sums = self._sums, {}
        return [each.row(step * STEP_S, STEP_S, SeriesKey(self._gateway, *key)) for (step, key), each in sums.items()]

    def fold(self, records: Iterable[RequestRecord]) -> Sequence[SeriesRow]:
        """Both at once."""
        self.add(records)
        return self.take()

    def _bounded(self, step: int, key: _Key) -> _Key:
        keys = self._known.get(step)
        if keys is None:
            keys = self._known[step] = set()
            if len(self._known) > _STEPS_KNOWN:
                del self._known[min(self._known)]
        if key in keys or len(keys) < self._most:
            keys.add(key)
            return key
        # Keys are what there is many of. Services and models stay known as long as they fit, too.
        some = (*key[:3], OTHER, OTHER)
        if some in keys or len(keys) < self._most * 2:
            keys.add(some)
            return some
        return (OTHER,) * 5


def add_record(sums: RowSum, record: RequestRecord) -> None:
    """One request more."""
    if record.purpose == "internal":
        sums.internal += 1
        return
    sums.requests += 1
    if record.ending == "client_gone":
        sums.left += 1
    elif 400 <= record.status < 500:
        sums.refused += 1
    elif record.status >= 500 or record.ending == "failed":
        sums.failed += 1
    if record.code:
        sums.codes[record.code] = sums.codes.get(record.code, 0) + 1
    duration, first = record.duration_s, record.first_chunk_s
    tokens = record.tokens
    verdict = record.cache
    if verdict:
        sums.caches[verdict] = sums.caches.get(verdict, 0) + 1
    if verdict in GIVEN:
        sums.cache_hits += 1
    elif verdict in _MADE:
        sums.cache_misses += 1
    # An upper bound of what an attempt that broke off may have made would pass for work that was done, and so would
    # an answer that was there already.
    if tokens is not None and not record.estimated and verdict not in GIVEN:
        sums.input_tokens += tokens.input
        sums.cached_tokens += tokens.cached_read
        sums.output_tokens += tokens.output
        if record.stream and first is not None and tokens.output > 1 and duration > first:
            # The first token is there when the time begins.
            sums.streamed_tokens += tokens.output - 1
            sums.output_s += duration - first
    sums.cost_nano += record.cost_nano
    attempts = record.attempts
    if len(attempts) > 1:
        sums.retries += len(attempts) - 1
        if record.ending == "complete" and record.model != attempts[0].model:
            sums.fallbacks += 1
    add(sums.duration, duration)
    sums.duration_s += duration
    add(sums.overhead, record.overhead_s)
    sums.overhead_s += record.overhead_s
    if first is not None:
        add(sums.first_chunk, first)
        sums.first_chunk_s += first
    if record.between_s is not None:
        add(sums.between, record.between_s)
        sums.between_s += record.between_s
    if record.queued_s is not None:
        add(sums.queued, record.queued_s)
        sums.queued_s += record.queued_s


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """A distribution in milliseconds: the mean exact, each quantile within 1 % of a true one."""

    count: int
    mean: float
    p50: float
    p95: float
    p99: float


def spread(sketch: Sketch, sum_s: float) -> Spread | None:
    """Of a row's sketch and the sum beside it; None where nothing was measured."""
    found = quantiles(sketch, _SHOWN)
    if not found:
        return None
    count = count_of(sketch)
    p50, p95, p99 = (1000.0 * each for each in found)
    return Spread(count=count, mean=1000.0 * sum_s / count, p50=p50, p95=p95, p99=p99)


def tokens_per_s(row: SeriesRow) -> float | None:
    """The mean speed of a stream, after its first token; None where there was none."""
    return row.streamed_tokens / row.output_s if row.output_s > 0.0 else None


def total(rows: Iterable[SeriesRow]) -> SeriesRow | None:
    """All of them as one, of the time from the first's begin to the last's end, and of the key that they share; what
    they differ in is empty. None of none."""
    sums = RowSum()
    key: SeriesKey | None = None
    since, until = math.inf, -math.inf
    for row in rows:
        sums.add(row)
        since, until = min(since, row.at), max(until, row.at + row.step_s)
        key = row.key if key is None or key == row.key else _shared(key, row.key)
    return None if key is None else sums.row(since, until - since, key)


def _shared(one: SeriesKey, other: SeriesKey) -> SeriesKey:
    pairs = zip(msgspec.structs.astuple(one), msgspec.structs.astuple(other), strict=True)
    return SeriesKey(*(mine if mine == theirs else "" for mine, theirs in pairs))
