"""The contract of an index, kept by each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from penstock.caches.semantic.index_usearch import UsearchIndex
from penstock.caches.semantic.nearest import Exact, Index, Layered, Vector

WIDE = 32


def layered(dimensions: int) -> Layered:
    return Layered(dimensions, UsearchIndex, few=16)


@pytest.fixture(params=[Exact, UsearchIndex, layered])
def index(request: pytest.FixtureRequest) -> Index:
    made: Callable[[int], Index] = request.param
    return made(WIDE)


def vectors(count: int, seed: int) -> Vector:
    """Clustered, as questions are."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((20, WIDE))
    found = centres[random.integers(0, 20, count)] + 0.4 * random.standard_normal((count, WIDE))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def test_an_empty_one_has_nothing_near(index: Index) -> None:
    assert index.nearest(vectors(1, 1)[0]) is None
    assert len(index) == 0
    index.remove(7)


def test_it_finds_what_is_nearest_with_its_cosine(index: Index) -> None:
    rows, asked = vectors(300, 1), vectors(100, 2)
    for number, row in enumerate(rows):
        index.add(number, row)
    assert len(index) == 300
    right = 0
    for each in asked:
        found = index.nearest(each)
        assert found is not None
        assert found[1] == pytest.approx(float(rows[found[0]] @ each), abs=2e-3)
        right += found[0] == int((rows @ each).argmax())
    assert right >= 97


def test_what_is_removed_is_found_no_more(index: Index) -> None:
    rows = vectors(120, 3)
    for number, row in enumerate(rows):
        index.add(number, row)
    for number in range(0, 120, 2):
        index.remove(number)
        index.remove(number)
    assert len(index) == 60
    for row in rows:
        found = index.nearest(row)
        assert found is not None
        assert found[0] % 2
    for number in range(1, 120, 2):
        index.remove(number)
    assert index.nearest(rows[0]) is None


def test_it_gives_vectors_back(index: Index) -> None:
    rows = vectors(40, 4)
    for number, row in enumerate(rows):
        index.add(number, row)
    for number in (0, 17, 39):
        found = index.vector(number)
        assert found.dtype == np.float32
        assert np.abs(found - rows[number]).max() < 1e-3
    index.remove(17)
    for absent in (17, 40):
        with pytest.raises(KeyError):
            index.vector(absent)


def test_places_of_what_was_removed_are_used_again(index: Index) -> None:
    rows = vectors(1200, 5)
    for number, row in enumerate(rows[:200]):
        index.add(number, row)
    for number in range(200, 1200):
        index.remove(number - 200)
        index.add(number, rows[number])
    assert len(index) == 200
    right = 0
    for each in vectors(100, 6):
        found = index.nearest(each)
        assert found is not None
        assert found[0] >= 1000
        right += found[0] == 1000 + int((rows[1000:] @ each).argmax())
    assert right >= 95
