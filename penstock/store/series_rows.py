"""The sums of a row of the series: added up, as bytes, and back."""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from penstock.core.series import Measure, SeriesKey, SeriesRow, Sketch
from penstock.store.series_sketches import Buckets, Packed, sketch_of

# The order of members in the database: new ones come last.
_INTS = (
    "requests", "failed", "refused", "left", "internal", "input_tokens", "cached_tokens", "output_tokens",
    "streamed_tokens", "cost_nano", "retries", "fallbacks", "cache_hits", "cache_misses",
)  # fmt: skip
_FLOATS = ("output_s", "duration_s", "first_chunk_s", "between_s", "queued_s", "overhead_s")
SKETCHES: tuple[Measure, ...] = ("duration", "first_chunk", "between", "queued", "overhead")
_ints = operator.attrgetter(*_INTS)
_floats = operator.attrgetter(*_FLOATS)
_sketches = operator.attrgetter(*SKETCHES)


class PackedRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """In MessagePack, as it lies in the database."""

    ints: list[int]
    floats: list[float]
    codes: dict[str, int]
    sketches: list[Packed]
    caches: dict[str, int] = {}


_encode = msgspec.msgpack.Encoder().encode
unpacked = msgspec.msgpack.Decoder(PackedRow).decode
"""Of one in the database. Raises ``msgspec.DecodeError``."""


class Sums:
    """Rows, added up."""

    __slots__ = ("_caches", "_codes", "_floats", "_ints", "_sketches")

    def __init__(self) -> None:
        self._ints = [0] * len(_INTS)
        self._floats = [0.0] * len(_FLOATS)
        self._codes: dict[str, int] = {}
        self._caches: dict[str, int] = {}
        self._sketches = [Buckets() for _ in SKETCHES]

    def add(self, row: SeriesRow | PackedRow) -> None:
        """One that was told, or that was there."""
        if isinstance(row, SeriesRow):
            self._count(_ints(row), _floats(row), row.codes, row.caches)
            for buckets, sketch in zip(self._sketches, _sketches(row), strict=True):
                if sketch:
                    buckets.add_pairs(sketch)
            return
        self._count(row.ints, row.floats, row.codes, row.caches)
        for buckets, packed in zip(self._sketches, row.sketches, strict=True):
            if packed:
                buckets.add(packed)

    def _count(
        self, ints: Iterable[int], floats: Iterable[float], codes: Mapping[str, int], caches: Mapping[str, int]
    ) -> None:
        self._ints = list(map(operator.add, self._ints, ints))
        self._floats = list(map(operator.add, self._floats, floats))
        for code, count in codes.items():
            self._codes[code] = self._codes.get(code, 0) + count
        for verdict, count in caches.items():
            self._caches[verdict] = self._caches.get(verdict, 0) + count

    def pack(self) -> bytes:
        """For ``unpacked``."""
        sketches = [each.pack() for each in self._sketches]
        return _encode(PackedRow(self._ints, self._floats, self._codes, sketches, self._caches))

    def row(self, at: float, step_s: float, key: SeriesKey) -> SeriesRow:
        """As others have it."""
        sketches = (each.sketch() for each in self._sketches)
        return _row(at, step_s, key, self._ints, self._floats, self._codes, self._caches, sketches)


def row_of(
    packed: Sequence[PackedRow], at: float, step_s: float, key: SeriesKey, wanted: Collection[Measure]
) -> SeriesRow:
    """These, one at least, added up, of their sketches those that are ``wanted``."""
    if len(wanted) < len(SKETCHES):
        packed = [_without(each, wanted) for each in packed]
    if len(packed) > 1:
        sums = Sums()
        for each in packed:
            sums.add(each)
        return sums.row(at, step_s, key)
    (one,) = packed
    return _row(at, step_s, key, one.ints, one.floats, one.codes, one.caches, map(sketch_of, one.sketches))


def _without(row: PackedRow, wanted: Collection[Measure]) -> PackedRow:
    some = [each if name in wanted else [] for name, each in zip(SKETCHES, row.sketches, strict=True)]
    return PackedRow(row.ints, row.floats, row.codes, some, row.caches)


def _row(
    at: float,
    step_s: float,
    key: SeriesKey,
    ints: Iterable[int],
    floats: Iterable[float],
    codes: dict[str, int],
    caches: dict[str, int],
    sketches: Iterable[Sketch],
) -> SeriesRow:
    return SeriesRow(
        at=at,
        step_s=step_s,
        key=key,
        codes=codes,
        caches=caches,
        **dict(zip(_INTS, ints, strict=True)),  # type: ignore[arg-type]
        **dict(zip(_FLOATS, floats, strict=True)),  # type: ignore[arg-type]
        **dict(zip(SKETCHES, sketches, strict=True)),  # type: ignore[arg-type]
    )
