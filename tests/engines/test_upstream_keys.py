"""Which key goes next: laws over any course of events, and the rules one by one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import (
    UPSTREAM_FAILED,
    UPSTREAM_RATE_LIMITED,
    UPSTREAM_REFUSED_KEY,
    PenstockError,
)
from penstock.engines.upstream_keys import (
    FIRST_S,
    LONGEST_S,
    MOST_S,
    REFUSED_S,
    Rested,
    Turn,
    UpstreamKeys,
)

NAMES = ("sk-secret-one", "sk-secret-two", "sk-secret-three")
REFUSED = PenstockError(UPSTREAM_REFUSED_KEY, "refused")
FAILED = PenstockError(UPSTREAM_FAILED, "failed")


def limited(after: float | None = None) -> PenstockError:
    return PenstockError(UPSTREAM_RATE_LIMITED, "limited", retry_after=after)


def keys(count: int = 2) -> tuple[UpstreamKeys, list[Rested]]:
    told: list[Rested] = []
    return UpstreamKeys("mine", NAMES[:count], told.append), told


def served(turn: Turn, now: float) -> str:
    key = turn.next(now)
    turn.served(now)
    return key


ANSWERS = st.one_of(
    st.just("served"),
    st.just("refused"),
    st.just("failed"),
    st.none(),
    st.floats(0, 2 * MOST_S, allow_nan=False),
)


@given(st.integers(1, 3), st.lists(st.tuples(st.floats(0, 400), st.lists(ANSWERS, max_size=4)), max_size=30))
def test_a_turn_gives_each_key_once_and_none_that_rests(
    count: int, course: list[tuple[float, list[str | float | None]]]
) -> None:
    ring, told = keys(count)
    now = 1000.0
    rests: dict[str, float] = {}
    for later, answers in course:
        now += later
        turn, tried, heard = ring.turn(), [], len(told)
        for answer in [*answers, "served"]:
            free = [key for key in NAMES[:count] if rests.get(key, 0.0) <= now and key not in tried]
            if not free:
                with pytest.raises(PenstockError) as caught:
                    turn.next(now)
                waits = [until - now for until in rests.values() if until > now]
                assert caught.value.fault in (UPSTREAM_RATE_LIMITED, UPSTREAM_REFUSED_KEY)
                if waits:
                    assert caught.value.retry_after == pytest.approx(min(waits))
                assert not any(key in caught.value.message for key in NAMES)
                break
            key = turn.next(now)
            assert key in free
            tried.append(key)
            if answer == "served":
                turn.served(now)
                break
            if answer == "failed":
                assert not turn.failed(FAILED, now)
                break
            assert turn.failed(REFUSED if answer == "refused" else limited(answer), now)  # type: ignore[arg-type]
            for rest in told[heard:]:
                rests[NAMES[rest.number - 1]] = now + rest.seconds
            heard = len(told)
        for rest in told[heard:]:
            rests[NAMES[rest.number - 1]] = now + rest.seconds
    assert all(0 < rest.seconds <= MOST_S for rest in told)


@given(st.integers(1, 3), st.integers(1, 10))
def test_keys_that_serve_take_turns(count: int, rounds: int) -> None:
    ring, told = keys(count)
    used = [served(ring.turn(), 1.0) for _ in range(rounds * count)]
    assert used == list(NAMES[:count]) * rounds
    assert not told


def test_a_429_rests_its_key_alone_for_as_long_as_it_says() -> None:
    ring, _ = keys()
    turn = ring.turn()
    assert turn.next(0.0) == NAMES[0]
    assert turn.failed(limited(7.0), 0.0)
    assert served(turn, 0.0) == NAMES[1]
    assert [served(ring.turn(), 6.9) for _ in range(3)] == [NAMES[1]] * 3
    assert {served(ring.turn(), 7.0) for _ in range(2)} == set(NAMES[:2])


def test_without_a_word_the_rest_doubles_up_to_a_bound_until_the_key_serves() -> None:
    ring, told = keys(1)
    now = 0.0
    for _ in range(8):
        turn = ring.turn()
        turn.next(now)
        turn.failed(limited(), now)
        now += told[-1].seconds
    assert [rest.seconds for rest in told] == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    assert (FIRST_S, LONGEST_S) == (2.0, 60.0)
    served(ring.turn(), now)
    turn = ring.turn()
    turn.next(now)
    turn.failed(limited(), now)
    assert told[-1].seconds == FIRST_S


def test_requests_that_were_under_way_when_a_rest_began_do_not_lengthen_it() -> None:
    ring, told = keys(1)
    turns = [ring.turn() for _ in range(5)]
    for turn in turns:
        turn.next(0.0)
    for turn in turns[:4]:
        turn.failed(limited(), 0.5)
    turns[4].served(1.0)
    assert len(told) == 1
    with pytest.raises(PenstockError) as caught:
        ring.turn().next(1.0)
    assert caught.value.retry_after == pytest.approx(FIRST_S - 0.5)


def test_a_refused_key_rests_long_once_another_serves() -> None:
    ring, told = keys()
    turn = ring.turn()
    turn.next(0.0)
    assert turn.failed(REFUSED, 0.0)
    assert not told
    assert served(turn, 0.0) == NAMES[1]
    assert told == [Rested(1, UPSTREAM_REFUSED_KEY, REFUSED_S)]
    assert [served(ring.turn(), REFUSED_S - 1) for _ in range(2)] == [NAMES[1]] * 2


def test_what_every_key_is_refused_rests_none() -> None:
    ring, told = keys()
    turn = ring.turn()
    for _ in range(2):
        turn.next(0.0)
        assert turn.failed(REFUSED, 0.0)
    with pytest.raises(PenstockError) as caught:
        turn.next(0.0)
    assert caught.value is REFUSED
    assert not told
    assert served(ring.turn(), 0.0) == NAMES[0]


def test_when_all_rest_the_first_that_is_back_speaks() -> None:
    ring, _ = keys()
    turn = ring.turn()
    turn.next(0.0)
    turn.failed(REFUSED, 0.0)
    turn.next(0.0)
    turn.served(0.0)
    turn = ring.turn()
    turn.next(10.0)
    turn.failed(limited(30.0), 10.0)
    with pytest.raises(PenstockError) as caught:
        turn.next(10.0)
    assert (caught.value.fault, caught.value.retry_after) == (UPSTREAM_RATE_LIMITED, 30.0)
    with pytest.raises(PenstockError) as caught:
        ring.turn().next(35.0)
    assert (caught.value.fault, caught.value.retry_after) == (UPSTREAM_RATE_LIMITED, 5.0)
    assert ring.rested(35.0) == [NAMES[1], NAMES[0]]
