"""Replacing copies: never fewer ready than before, never more than one too many, and it comes to an end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.serving import ReplicaState
from penstock.fleet.roll import Standing, Steps, steps

READY, STARTING, DOWN, FAILED = (
    ReplicaState.READY, ReplicaState.STARTING, ReplicaState.DOWN, ReplicaState.FAILED,
)  # fmt: skip


def fresh(id_: str, state: ReplicaState = READY) -> Standing:
    return Standing(id_, True, state, served=state is READY)


def stale(id_: str, state: ReplicaState = READY, served: bool = True) -> Standing:
    return Standing(id_, False, state, served=served)


@pytest.mark.parametrize(
    ("copies", "have", "leaving", "expected"),
    [
        (2, [], 0, Steps(start=2)),
        (2, [fresh("a", STARTING), fresh("b", FAILED)], 0, Steps()),
        (1, [stale("a")], 0, Steps(start=1)),
        (1, [stale("a"), fresh("b", STARTING)], 0, Steps()),
        (1, [stale("a"), fresh("b", FAILED)], 0, Steps()),
        (1, [stale("a"), fresh("b")], 0, Steps(retire=("a",))),
        (2, [stale("a"), stale("b"), fresh("c")], 0, Steps(retire=("b",))),
        (2, [stale("a"), stale("b", DOWN), fresh("c")], 0, Steps(retire=("b",))),
        (2, [stale("a"), fresh("c")], 1, Steps()),
        (2, [stale("a"), fresh("c")], 0, Steps(start=1)),
        (1, [stale("a", FAILED, served=False)], 0, Steps(start=1, retire=("a",))),
        (1, [fresh("a"), fresh("b"), fresh("c", DOWN)], 0, Steps(retire=("c", "b"))),
        (1, [stale("a"), stale("b"), stale("c")], 0, Steps(retire=("c", "b"))),
        (3, [stale("a")], 0, Steps(start=1)),
        (3, [stale("a"), fresh("b")], 0, Steps(start=1)),
        (0, [fresh("a"), stale("b"), fresh("c", STARTING)], 0, Steps(retire=("c", "a", "b"))),
        (0, [], 2, Steps()),
    ],
)
def test_the_next_step(copies: int, have: list[Standing], leaving: int, expected: Steps) -> None:
    assert steps(copies, have, leaving) == expected


@given(st.integers(1, 6), st.integers(1, 6), st.data())
def test_a_whole_replacement(before: int, copies: int, data: st.DataObject) -> None:
    have = {f"old-{n}": stale(f"old-{n}") for n in range(before)}
    leaving: set[str] = set()
    made = 0
    for _ in range(200):
        now = steps(copies, tuple(have.values()), len(leaving))
        for name in now.retire:
            del have[name]
            leaving.add(name)
        for _ in range(now.start):
            have[f"new-{made}"] = fresh(f"new-{made}", STARTING)
            made += 1
        assert sum(each.state is READY for each in have.values()) >= min(before, copies)
        assert len(have) + len(leaving) <= max(before, copies) + 1
        coming = [name for name, each in have.items() if each.state is STARTING]
        events = [*(("up", name) for name in coming), *(("gone", name) for name in leaving)]
        if not events:
            break
        kind, name = data.draw(st.sampled_from(sorted(events)))
        if kind == "up":
            have[name] = fresh(name)
        else:
            leaving.discard(name)
    assert sorted(have) == sorted(f"new-{n}" for n in range(copies))
    assert made == copies
