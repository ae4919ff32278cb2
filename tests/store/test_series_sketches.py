"""Sketches come back as they were packed, and add up as those they are made of."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.series import Sketch
from penstock.core.series_sums import add_sketch, frozen
from penstock.store.series_sketches import Buckets, Packed, sketch_of

_COUNTS = st.one_of(st.integers(1, 3), st.integers(1, 1 << 34))
_FEW = st.dictionaries(st.integers(-600, 1100), _COUNTS, max_size=12)
_MANY = st.tuples(st.integers(-600, 500), st.lists(st.one_of(st.just(0), _COUNTS), max_size=90)).map(
    lambda found: {found[0] + at: count for at, count in enumerate(found[1]) if count}
)
_SKETCHES = st.one_of(_FEW, _MANY).map(frozen)


def packed(sketch: Sketch) -> Packed:
    buckets = Buckets()
    buckets.add_pairs(sketch)
    return msgspec.msgpack.decode(msgspec.msgpack.encode(buckets.pack()), type=Packed)


@given(_SKETCHES)
def test_what_is_packed_comes_back(sketch: Sketch) -> None:
    again = Buckets()
    again.add(packed(sketch))
    assert sketch_of(packed(sketch)) == again.sketch() == sketch
    assert packed(sketch) == again.pack()


@given(st.lists(st.tuples(_SKETCHES, st.booleans()), max_size=6))
def test_packed_or_not_they_add_up(parts: list[tuple[Sketch, bool]]) -> None:
    whole: dict[int, int] = {}
    buckets = Buckets()
    for sketch, lies_packed in parts:
        add_sketch(whole, sketch)
        if lies_packed:
            buckets.add(packed(sketch))
        else:
            buckets.add_pairs(sketch)
    assert buckets.sketch() == frozen(whole)
    assert sketch_of(buckets.pack()) == frozen(whole)


def test_few_and_many_values_are_both_small() -> None:
    few = packed(((-500, 1), (574, 3)))
    assert len(msgspec.msgpack.encode(few)) <= 9
    many = packed(tuple((index, 200) for index in range(-40, 160)))
    assert len(msgspec.msgpack.encode(many)) <= 210
