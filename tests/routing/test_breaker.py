"""The breaker, step by step on a clock of its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.policy import Breaker
from penstock.routing.breaker import Circuit, State
from penstock.routing.pace import Latency, far_slower

POLICY = Breaker(failures=3, open_s=5.0, max_open_s=15.0, least=10, error_share=0.5, return_s=10.0)


def _open(circuit: Circuit, now: float = 0.0) -> None:
    for _ in range(3):
        assert circuit.begin(now) is False
        circuit.failed(now, POLICY, probe=False)
    assert circuit.state(now) is State.OPEN


def test_failures_in_a_row_open_it_and_a_good_probe_closes_it() -> None:
    circuit = Circuit()
    _open(circuit)
    assert circuit.begin(4.9) is None
    assert circuit.opens_in(4.0) == 1.0
    assert circuit.state(5.0) is State.HALF_OPEN
    assert circuit.begin(5.0) is True
    assert circuit.begin(5.0) is None, "one probe at a time"
    circuit.succeeded(5.1, probe=True)
    assert circuit.state(5.1) is State.CLOSED
    assert circuit.begin(5.2) is False


def test_a_bad_probe_opens_it_for_twice_as_long_up_to_a_bound() -> None:
    circuit, now, lasted = Circuit(), 0.0, []
    _open(circuit)
    for _ in range(4):
        wait = circuit.opens_in(now)
        lasted.append(wait)
        now += wait
        assert circuit.begin(now) is True
        circuit.failed(now, POLICY, probe=True)
    assert lasted == [5.0, 10.0, 15.0, 15.0]


def test_a_probe_that_says_nothing_gives_its_place_back() -> None:
    circuit = Circuit()
    _open(circuit)
    assert circuit.begin(5.0) is True
    circuit.neither(probe=True)
    assert circuit.begin(5.0) is True


def test_attempts_that_were_under_way_do_not_decide_a_probe() -> None:
    circuit = Circuit()
    _open(circuit)
    assert circuit.begin(5.0) is True
    circuit.failed(5.1, POLICY, probe=False)
    circuit.neither(probe=False)
    circuit.succeeded(5.1, probe=False)
    assert circuit.state(5.1) is State.HALF_OPEN
    assert circuit.begin(5.1) is None


def test_a_share_of_failures_opens_it_too() -> None:
    circuit = Circuit()
    for number in range(10):
        assert circuit.begin(1.0) is False
        if number % 2:
            circuit.failed(1.0, POLICY, probe=False)
        else:
            circuit.succeeded(1.0, probe=False)
    assert circuit.state(1.0) is State.OPEN


def test_old_failures_are_forgotten() -> None:
    circuit = Circuit()
    for second in range(0, 200, 11):
        circuit.failed(second, POLICY, probe=False)
        circuit.succeeded(second, probe=False)
    assert circuit.state(200) is State.CLOSED


def test_a_replica_that_asks_for_rest_gets_it_and_is_no_failure() -> None:
    circuit = Circuit()
    circuit.rest(0.0, 2.0)
    assert circuit.state(1.0) is State.RESTING
    assert circuit.begin(1.9) is None
    assert circuit.begin(2.0) is False


def test_who_comes_back_gets_its_share_little_by_little() -> None:
    circuit = Circuit()
    assert circuit.share(0.0, 10.0) == 1.0
    _open(circuit)
    assert circuit.begin(5.0) is True
    circuit.succeeded(5.0, probe=True)
    assert [circuit.share(5.0 + since, 10.0) for since in (0, 5, 9, 10)] == [0.05, 0.5, 0.9, 1.0]


@given(st.lists(st.tuples(st.floats(0, 5), st.sampled_from(["ok", "bad", "neither"])), max_size=60))
def test_it_never_shuts_for_good(steps: list[tuple[float, str]]) -> None:
    circuit, now = Circuit(), 0.0
    for wait, outcome in steps:
        now += wait
        probe = circuit.begin(now)
        if probe is None:
            continue
        if outcome == "ok":
            circuit.succeeded(now, probe)
        elif outcome == "bad":
            circuit.failed(now, POLICY, probe)
        else:
            circuit.neither(probe)
    assert circuit.begin(now + POLICY.max_open_s) is not None


@pytest.mark.parametrize(
    ("own", "peers", "slow"),
    [
        (1.0, [0.1, 0.1, 0.1], True),
        (0.25, [0.1, 0.1, 0.1], False),
        (1.0, [0.1], False),
        (1.0, [0.1, 1.0, 1.0], False),
    ],
)
def test_slow_is_relative_to_peers(own: float, peers: list[float], slow: bool) -> None:
    def known(mean: float) -> Latency:
        latency = Latency()
        for _ in range(5):
            latency.add(mean)
        return latency

    assert far_slower(known(own), [known(peer) for peer in peers], 3.0) is slow
    assert not far_slower(Latency(), [known(peer) for peer in peers], 3.0)
