from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.serving import Replica
from penstock.routing.round_robin import RoundRobin, rotated


@given(count=st.integers(1, 8), turn=st.integers(0, 10**6), most=st.integers(1, 8))
def test_the_order_is_a_rotation_without_repeats(count: int, turn: int, most: int) -> None:
    ready = [Replica(str(n), "m", "http://up") for n in range(count)]
    order = rotated(ready, turn, most)
    assert len(order) == min(most, count)
    assert [r.id for r in order] == [str((turn + n) % count) for n in range(len(order))]


def test_turns_are_shared_evenly() -> None:
    ready = [Replica(str(n), "m", "http://up") for n in range(3)]
    robin = RoundRobin()
    firsts = [robin.order("m", ready)[0].id for _ in range(9)]
    assert sorted(firsts) == sorted("012" * 3)
