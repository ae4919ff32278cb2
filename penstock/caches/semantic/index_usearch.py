"""An index of many vectors in memory: USearch's graph (Malkov and Yashunin, "Efficient and robust approximate nearest
neighbor search using hierarchical navigable small world graphs", 2018), in half precision."""

from __future__ import annotations

from typing import Final

import numpy as np
from usearch.compiled import ScalarKind
from usearch.index import Index as Graph

from penstock.caches.semantic.nearest import Vector

CONNECTIVITY: Final = 16
EXPANSION_ADD: Final = 128
EXPANSION_SEARCH: Final = 128


class UsearchIndex:
    """An ``Index``. What is removed leaves its place to the next one."""

    def __init__(self, dimensions: int) -> None:
        self._graph = Graph(
            ndim=dimensions,
            metric="cos",
            dtype=ScalarKind.F16,
            connectivity=CONNECTIVITY,
            expansion_add=EXPANSION_ADD,
            expansion_search=EXPANSION_SEARCH,
        )

    def __len__(self) -> int:
        return len(self._graph)

    @property
    def memory_bytes(self) -> int:
        """What it has taken."""
        return int(self._graph.memory_usage)

    def add(self, number: int, vector: Vector) -> None:
        self._graph.add(number, vector, threads=1)

    def remove(self, number: int) -> None:
        self._graph.remove(number)

    def nearest(self, vector: Vector) -> tuple[int, float] | None:
        found = self._graph.search(vector, 1, threads=1)
        return (int(found.keys[0]), 1.0 - float(found.distances[0])) if len(found) else None

    def vector(self, number: int) -> Vector:
        found = self._graph.get(number)
        if found is None:
            raise KeyError(number)
        return np.asarray(found, np.float32)
