"""Which of many vectors is nearest: the contract of an index, an exact one for a few, and one that hands the older
ones to a graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]

FEW: Final = 1024
"""So many of the newest are compared one by one, in about 60 microseconds with 384 dimensions."""
_FIRST: Final = 8


class Index(Protocol):
    """Vectors of length 1 and one dimension, under numbers from 0 on that are used once. For one thread at a time."""

    def __len__(self) -> int: ...

    def add(self, number: int, vector: Vector) -> None:
        """There is none of this number."""

    def remove(self, number: int) -> None:
        """One that is not there is nothing."""

    def nearest(self, vector: Vector) -> tuple[int, float] | None:
        """The number of the one with the largest cosine, and that; None: there is none. An index may miss it, and
        gives another one that is near."""

    def vector(self, number: int) -> Vector:
        """That of this number, as precisely as it is kept. Raises ``KeyError``."""


class Exact:
    """Compares with each."""

    def __init__(self, dimensions: int) -> None:
        self._rows: NDArray[np.float32] = np.empty((_FIRST, dimensions), np.float32)
        self._numbers: list[int] = []
        self._places: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, number: int, vector: Vector) -> None:
        at = len(self._numbers)
        if at == len(self._rows):
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
        self._rows[at] = vector
        self._numbers.append(number)
        self._places[number] = at

    def remove(self, number: int) -> None:
        at = self._places.pop(number, None)
        if at is None:
            return
        last = self._numbers.pop()
        if last != number:
            # The last one takes its place.
            self._rows[at] = self._rows[len(self._numbers)]
            self._numbers[at], self._places[last] = last, at

    def nearest(self, vector: Vector) -> tuple[int, float] | None:
        if not self._numbers:
            return None
        cosines: Vector = self._rows[: len(self._numbers)] @ vector
        best = int(cosines.argmax())
        return self._numbers[best], float(cosines[best])

    def vector(self, number: int) -> Vector:
        found: Vector = self._rows[self._places[number]].copy()
        return found

    def oldest(self) -> int:
        """The one that was added longest ago. There is one."""
        return next(iter(self._places))


class Layered:
    """The newest one by one, the rest in a graph, which is made when it is needed first. What is added moves one
    older vector into it, so that no step takes long."""

    def __init__(self, dimensions: int, graph: Callable[[int], Index], few: int = FEW) -> None:
        self._dimensions = dimensions
        self._graph = graph
        self._few = few
        self._newest = Exact(dimensions)
        self._older: Index | None = None

    def __len__(self) -> int:
        return len(self._newest) + (len(self._older) if self._older is not None else 0)

    def add(self, number: int, vector: Vector) -> None:
        self._newest.add(number, vector)
        if len(self._newest) > self._few:
            if self._older is None:
                self._older = self._graph(self._dimensions)
            oldest = self._newest.oldest()
            self._older.add(oldest, self._newest.vector(oldest))
            self._newest.remove(oldest)

    def remove(self, number: int) -> None:
        self._newest.remove(number)
        if self._older is not None:
            self._older.remove(number)

    def nearest(self, vector: Vector) -> tuple[int, float] | None:
        newest = self._newest.nearest(vector)
        older = None if self._older is None else self._older.nearest(vector)
        if newest is None or older is None:
            return newest or older
        return max(newest, older, key=lambda found: found[1])

    def vector(self, number: int) -> Vector:
        try:
            return self._newest.vector(number)
        except KeyError:
            if self._older is None:
                raise
            return self._older.vector(number)
