"""Sketches as they lie in the database, and added up as fast as a console needs.

Packed is either a list: index and count by turns, every index as its distance from the one before, which suits few
values; or bytes: a header (the first index, and the bytes of a count) and the counts of all indexes from there on,
little-endian, which suits many, as arrays are added up at once.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from itertools import accumulate
from operator import sub
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.core.series import Sketch

Packed = list[int] | bytes
_Array = npt.NDArray[np.integer[Any]]

_HEADER = struct.Struct("<hB")
_WIDTHS: dict[int, np.dtype[Any]] = {
    1: np.dtype("<u1"),
    2: np.dtype("<u2"),
    4: np.dtype("<u4"),
    8: np.dtype("<i8"),
}
_FEW = 24
_SPARSE = 3
"""A bucket of a list takes about as many bytes as so many buckets of an array."""


class Buckets:
    """A sketch that is being added to."""

    __slots__ = ("_base", "_few", "_many")

    def __init__(self) -> None:
        self._few: dict[int, int] = {}
        self._many: _Array | None = None
        self._base = 0

    def add(self, packed: Packed) -> None:
        """One that was packed."""
        if not isinstance(packed, bytes):
            self.add_pairs(_pairs(packed))
            return
        self._add_array(*_array(packed))

    def add_pairs(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Counts by index."""
        few = self._few
        if not few:
            few.update(pairs)
            return
        get = few.get
        for index, count in pairs:
            few[index] = get(index, 0) + count

    def pack(self) -> Packed:
        """For ``add``."""
        self._join()
        counts = self._many
        if counts is None:
            indexes = sorted(self._few)
            if len(indexes) <= _FEW or indexes[-1] - indexes[0] >= _SPARSE * len(indexes):
                flat = [0] * (2 * len(indexes))
                flat[::2] = map(sub, indexes, [0, *indexes])
                flat[1::2] = map(self._few.__getitem__, indexes)
                return flat
            base, counts = _spread(self._few)
        else:
            base = self._base
        most = int(counts.max())
        width = 1 if most < 1 << 8 else 2 if most < 1 << 16 else 4 if most < 1 << 32 else 8
        return _HEADER.pack(base, width) + counts.astype(_WIDTHS[width]).tobytes()

    def sketch(self) -> Sketch:
        """As others have it."""
        self._join()
        return tuple(sorted(self._few.items())) if self._many is None else _shown(self._base, self._many)

    def _join(self) -> None:
        many, few = self._many, self._few
        if many is None or not few:
            return
        self._few = {}
        if len(few) <= _FEW and min(few) >= self._base and max(few) < self._base + len(many):
            for index, count in few.items():
                many[index - self._base] += count
            return
        self._add_array(*_spread(few))

    def _add_array(self, base: int, counts: _Array) -> None:
        if self._many is None:
            self._base, self._many = base, counts.astype(np.int64)
            return
        begin, size = base - self._base, len(self._many)
        if begin < 0 or begin + len(counts) > size:
            first, past = min(base, self._base), max(base + len(counts), self._base + size)
            grown = np.zeros(past - first, np.int64)
            grown[self._base - first : self._base - first + size] = self._many
            self._base, self._many = first, grown
            begin = base - first
        self._many[begin : begin + len(counts)] += counts


def sketch_of(packed: Packed) -> Sketch:
    """Of what was packed, without a detour."""
    return _shown(*_array(packed)) if isinstance(packed, bytes) else tuple(_pairs(packed))


def _pairs(flat: list[int]) -> Iterable[tuple[int, int]]:
    return zip(accumulate(flat[::2]), flat[1::2], strict=True)


def _array(packed: bytes) -> tuple[int, _Array]:
    base, width = _HEADER.unpack_from(packed)
    return base, np.frombuffer(packed, _WIDTHS[width], offset=_HEADER.size)


def _spread(few: dict[int, int]) -> tuple[int, _Array]:
    indexes = np.fromiter(few, np.int64, len(few))
    base = int(indexes.min())
    counts = np.zeros(int(indexes.max()) - base + 1, np.int64)
    counts[indexes - base] = np.fromiter(few.values(), np.int64, len(few))
    return base, counts


def _shown(base: int, counts: _Array) -> Sketch:
    some = np.flatnonzero(counts)
    return tuple(zip((some + base).tolist(), counts[some].tolist(), strict=True))
