"""Which samples are compared with which."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as some

from penstock.quality.pairing import MOST, Pairing


def _paired(arms: list[bool]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    pairing: Pairing[int] = Pairing()
    found = (pairing.add(place, candidate=mine) for place, mine in enumerate(arms))
    return [pair for pair in found if pair]


@given(some.lists(some.booleans(), max_size=300))
def test_each_sample_is_used_once_and_with_the_other_arm(arms: list[bool]) -> None:
    pairs = _paired(arms)

    mine = [place for pair in pairs for place in pair[0]]
    other = [place for pair in pairs for place in pair[1]]
    assert all(arms[place] for place in mine)
    assert not any(arms[place] for place in other)
    assert sorted(mine) == mine
    assert sorted(other) == other
    assert len(set(mine + other)) == len(mine + other)
    assert all(1 <= len(side) <= MOST for pair in pairs for side in pair)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 0.99])
def test_a_pair_is_of_one_time_and_the_rarer_arm_is_not_wasted(share: float) -> None:
    random = Random(4)
    arms = [random.random() < share for _ in range(20_000)]
    pairs = _paired(arms)

    rare = share <= 0.5
    used = sum(len(pair[0 if rare else 1]) for pair in pairs)
    assert used > 0.98 * sum(mine == rare for mine in arms)
    spans = sorted(max(pair[0] + pair[1]) - min(pair[0] + pair[1]) for pair in pairs)
    assert spans[len(spans) * 99 // 100] < 20 / min(share, 1 - share)
    informative = sum(1 / (1 / len(pair[0]) + 1 / len(pair[1])) for pair in pairs)
    most = len(arms) * min(share, 1 - share) / (1 + 1 / MOST)
    assert informative > 0.8 * min(most, len(arms) * share * (1 - share))


def test_steps_are_followed() -> None:
    random = Random(5)
    arms = [random.random() < share for share in (0.01, 0.5, 0.95) for _ in range(5000)]
    pairs = _paired(arms)

    last = [pair for pair in pairs if min(pair[0] + pair[1]) > 12_000]
    assert sum(len(pair[1]) for pair in last) / len(last) < 1.2
    assert sum(len(pair[0]) for pair in last) / len(last) > 8
