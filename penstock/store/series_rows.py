"""The sums of a row of the series as bytes, and back.

MessagePack of the numbers, the codes, and each sketch as one list: index and count by turns, every index as its
distance from the one before, so that nearly each is one byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from operator import sub

import msgspec

from penstock.core.series import SeriesKey, SeriesRow, Sketch
from penstock.core.series_sums import Counts, RowSum


class Packed(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """As it lies in the database. New members come last, with a default."""

    requests: int
    failed: int
    refused: int
    left: int
    internal: int
    codes: dict[str, int]
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    streamed_tokens: int
    output_s: float
    cost_nano: int
    retries: int
    fallbacks: int
    cache_hits: int
    cache_misses: int
    duration: list[int]
    first_chunk: list[int]
    between: list[int]
    queued: list[int]
    overhead: list[int]
    duration_s: float
    first_chunk_s: float
    between_s: float
    queued_s: float
    overhead_s: float


unpack = msgspec.msgpack.Decoder(Packed).decode
_encode = msgspec.msgpack.Encoder().encode


def pack(sums: RowSum) -> bytes:
    """For ``unpack``."""
    return _encode(
        Packed(
            sums.requests,
            sums.failed,
            sums.refused,
            sums.left,
            sums.internal,
            sums.codes,
            sums.input_tokens,
            sums.cached_tokens,
            sums.output_tokens,
            sums.streamed_tokens,
            sums.output_s,
            sums.cost_nano,
            sums.retries,
            sums.fallbacks,
            sums.cache_hits,
            sums.cache_misses,
            _flat(sums.duration),
            _flat(sums.first_chunk),
            _flat(sums.between),
            _flat(sums.queued),
            _flat(sums.overhead),
            sums.duration_s,
            sums.first_chunk_s,
            sums.between_s,
            sums.queued_s,
            sums.overhead_s,
        )
    )


def add_packed(sums: RowSum, packed: Packed) -> None:
    """One row more."""
    sums.requests += packed.requests
    sums.failed += packed.failed
    sums.refused += packed.refused
    sums.left += packed.left
    sums.internal += packed.internal
    for code, count in packed.codes.items():
        sums.codes[code] = sums.codes.get(code, 0) + count
    sums.input_tokens += packed.input_tokens
    sums.cached_tokens += packed.cached_tokens
    sums.output_tokens += packed.output_tokens
    sums.streamed_tokens += packed.streamed_tokens
    sums.output_s += packed.output_s
    sums.cost_nano += packed.cost_nano
    sums.retries += packed.retries
    sums.fallbacks += packed.fallbacks
    sums.cache_hits += packed.cache_hits
    sums.cache_misses += packed.cache_misses
    _add_flat(sums.duration, packed.duration)
    _add_flat(sums.first_chunk, packed.first_chunk)
    _add_flat(sums.between, packed.between)
    _add_flat(sums.queued, packed.queued)
    _add_flat(sums.overhead, packed.overhead)
    sums.duration_s += packed.duration_s
    sums.first_chunk_s += packed.first_chunk_s
    sums.between_s += packed.between_s
    sums.queued_s += packed.queued_s
    sums.overhead_s += packed.overhead_s


def row_of(packed: Sequence[Packed], at: float, step_s: float, key: SeriesKey) -> SeriesRow:
    """These, one at least, added up."""
    if len(packed) > 1:
        sums = RowSum()
        for each in packed:
            add_packed(sums, each)
        return sums.row(at, step_s, key)
    (one,) = packed
    return SeriesRow(
        at=at,
        step_s=step_s,
        key=key,
        requests=one.requests,
        failed=one.failed,
        refused=one.refused,
        left=one.left,
        internal=one.internal,
        codes=one.codes,
        input_tokens=one.input_tokens,
        cached_tokens=one.cached_tokens,
        output_tokens=one.output_tokens,
        streamed_tokens=one.streamed_tokens,
        output_s=one.output_s,
        cost_nano=one.cost_nano,
        retries=one.retries,
        fallbacks=one.fallbacks,
        cache_hits=one.cache_hits,
        cache_misses=one.cache_misses,
        duration=_sketch(one.duration),
        first_chunk=_sketch(one.first_chunk),
        between=_sketch(one.between),
        queued=_sketch(one.queued),
        overhead=_sketch(one.overhead),
        duration_s=one.duration_s,
        first_chunk_s=one.first_chunk_s,
        between_s=one.between_s,
        queued_s=one.queued_s,
        overhead_s=one.overhead_s,
    )


def _flat(counts: Counts) -> list[int]:
    if not counts:
        return []
    indexes = sorted(counts)
    flat = [0] * (2 * len(indexes))
    flat[::2] = map(sub, indexes, [0, *indexes])
    flat[1::2] = map(counts.__getitem__, indexes)
    return flat


def _sketch(flat: list[int]) -> Sketch:
    return tuple(zip(accumulate(flat[::2]), flat[1::2], strict=True))


def _add_flat(counts: Counts, flat: list[int]) -> None:
    found = zip(accumulate(flat[::2]), flat[1::2], strict=True)
    if not counts:
        counts.update(found)
        return
    get = counts.get
    for index, count in found:
        counts[index] = get(index, 0) + count
