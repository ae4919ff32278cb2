"""Traffic: what a worker learns of its replicas, and what it makes of it."""

from __future__ import annotations

from random import Random

import pytest

from penstock.core.chat import Call, Kind
from penstock.core.errors import BAD_REQUEST, UPSTREAM_BROKEN, UPSTREAM_RATE_LIMITED
from penstock.core.policy import Ask, Balance, Breaker, Policy
from penstock.core.serving import Deployment, Model, Replica, Service
from penstock.core.splice import members
from penstock.routing.prefix import blocks
from penstock.routing.traffic import Traffic
from penstock.routing.work import estimate, prompt_bytes

REPLICAS = tuple(Replica(f"m-{number}", "m", "http://up") for number in range(3))


class Clock:
    def __init__(self) -> None:
        self.at = 100.0

    def now(self) -> float:
        return self.at

    def wall(self) -> float:
        return self.at


def _service(**policy: object) -> Service:
    return Service("s", ("m",), policy=Policy(**policy))  # type: ignore[arg-type]


def _traffic() -> tuple[Traffic, Clock]:
    clock = Clock()
    return Traffic(clock, Random(5)), clock


def _first(traffic: Traffic, service: Service, ask: Ask = Ask(10)) -> str:  # noqa: B008 - frozen
    return traffic.order(service, "m", REPLICAS, ask)[0].id


def test_work_is_reserved_before_dispatch_and_given_back_once() -> None:
    traffic, _ = _traffic()
    service = _service()
    first = traffic.begin(service, REPLICAS[0], Ask(100))
    second = traffic.begin(service, REPLICAS[1], Ask(50))
    assert first is not None
    assert second is not None
    assert _first(traffic, service) == "m-2"
    states = {state.replica: (state.requests, state.work) for state in traffic.states()}
    assert states == {"m-0": (1, 100), "m-1": (1, 50), "m-2": (0, 0)}
    for running in (first, second, first):
        running.closed()
    assert all((state.requests, state.work) == (0, 0) for state in traffic.states())


def test_a_replica_that_breaks_off_every_answer_is_left_alone_as_one_that_gives_none() -> None:
    traffic, _ = _traffic()
    service = _service(breaker=Breaker(failures=3))
    for _ in range(3):
        running = traffic.begin(service, REPLICAS[0], Ask(1))
        assert running is not None
        running.first(0.1)
        running.failed(UPSTREAM_BROKEN, None)
        running.closed()
    assert traffic.begin(service, REPLICAS[0], Ask(1)) is None


def test_failures_with_a_whole_answer_between_them_are_not_in_a_row() -> None:
    traffic, _ = _traffic()
    service = _service(breaker=Breaker(failures=2))
    for _ in range(5):
        for fails in (True, False):
            running = traffic.begin(service, REPLICAS[0], Ask(1))
            assert running is not None
            running.first(0.1)
            if fails:
                running.failed(UPSTREAM_BROKEN, None)
            running.closed()


def test_a_broken_replica_is_left_out_and_probed_by_one() -> None:
    traffic, clock = _traffic()
    service = _service(breaker=Breaker(failures=2, open_s=5.0))
    for _ in range(2):
        running = traffic.begin(service, REPLICAS[0], Ask(1))
        assert running is not None
        running.failed(UPSTREAM_BROKEN, None)
        running.closed()
    assert traffic.begin(service, REPLICAS[0], Ask(1)) is None
    assert {r.id for r in traffic.order(service, "m", REPLICAS, Ask(1))} == {"m-1", "m-2"}
    assert traffic.order(service, "m", REPLICAS[:1], Ask(1)) == ()
    assert traffic.reopens_in(REPLICAS[:1]) == 5.0
    clock.at += 5.0
    probe = traffic.begin(service, REPLICAS[0], Ask(1))
    assert probe is not None
    assert traffic.begin(service, REPLICAS[0], Ask(1)) is None
    probe.closed()
    again = traffic.begin(service, REPLICAS[0], Ask(1))
    assert again is not None
    again.first(0.1)
    again.closed()
    assert traffic.begin(service, REPLICAS[0], Ask(1)) is not None


def test_a_probe_that_breaks_in_mid_stream_counts_as_a_failure_but_not_as_the_probes() -> None:
    traffic, clock = _traffic()
    service = _service(breaker=Breaker(failures=2, open_s=5.0))
    running = traffic.begin(service, REPLICAS[0], Ask(1))
    assert running is not None
    running.first(0.1)
    running.failed(UPSTREAM_BROKEN, None)
    running.closed()
    second = traffic.begin(service, REPLICAS[0], Ask(1))
    assert second is not None
    second.failed(UPSTREAM_BROKEN, None)
    assert traffic.begin(service, REPLICAS[0], Ask(1)) is None
    assert clock.at == 100.0


def test_a_clients_fault_never_counts() -> None:
    traffic, _ = _traffic()
    service = _service(breaker=Breaker(failures=1))
    for _ in range(20):
        running = traffic.begin(service, REPLICAS[0], Ask(1))
        assert running is not None
        running.failed(BAD_REQUEST, None)
        running.closed()


@pytest.mark.parametrize(("asked", "rests"), [(3.0, 3.0), (None, 1.0), (3600.0, 60.0)])
def test_a_throttled_replica_rests_and_is_no_failure(asked: float | None, rests: float) -> None:
    traffic, clock = _traffic()
    service = _service(breaker=Breaker(failures=1))
    running = traffic.begin(service, REPLICAS[0], Ask(1))
    assert running is not None
    running.failed(UPSTREAM_RATE_LIMITED, asked)
    running.closed()
    assert traffic.reopens_in(REPLICAS[:1]) == rests
    assert traffic.throttled(REPLICAS[:1])
    assert not traffic.throttled(REPLICAS)
    clock.at += rests
    assert not traffic.throttled(REPLICAS[:1])
    assert traffic.begin(service, REPLICAS[0], Ask(1)) is not None


def test_a_replica_far_slower_than_its_peers_is_left_alone_but_never_half_of_them() -> None:
    traffic, _ = _traffic()
    service = _service(breaker=Breaker(slow_factor=3.0))
    for replica, latency in zip(REPLICAS, (0.1, 0.1, 1.0), strict=True):
        for _ in range(6):
            running = traffic.begin(service, replica, Ask(1))
            if running is not None:
                running.first(latency)
                running.closed()
    assert {r.id for r in traffic.order(service, "m", REPLICAS, Ask(1))} == {"m-0", "m-1"}


def test_a_prompt_goes_where_its_beginning_is() -> None:
    traffic, _ = _traffic()
    service = _service(balance=Balance(policy="prefix"))
    home = {}
    for number in range(6):
        prompt = bytes([number]) * 4096
        ask = Ask(1000, prompt=prompt)
        replica = traffic.order(service, "m", REPLICAS, ask)[0]
        running = traffic.begin(service, replica, ask)
        assert running is not None
        running.closed()
        home[prompt] = replica.id
    assert set(home.values()) == {"m-0", "m-1", "m-2"}
    for prompt, id in home.items():
        assert _first(traffic, service, Ask(1100, prompt=prompt + b"and more")) == id


def test_what_is_no_longer_deployed_is_forgotten() -> None:
    traffic, _ = _traffic()
    service = _service()
    traffic.order(service, "m", REPLICAS, Ask(1))
    running = traffic.begin(service, REPLICAS[0], Ask(1))
    assert running is not None
    kept = Deployment(2, {"m": Model("m", "fake", "d", b"")}, {"s": service}, {"m": REPLICAS[2:]})
    traffic.keep(kept)
    assert {state.replica for state in traffic.states()} == {"m-0", "m-2"}
    running.closed()
    traffic.keep(kept)
    assert {state.replica for state in traffic.states()} == {"m-2"}


def test_what_a_replica_that_is_gone_was_sent_is_forgotten() -> None:
    traffic, _ = _traffic()
    service, asked = _service(balance=Balance(policy="prefix")), Ask(1100, prompt=Random(4).randbytes(4096))
    first = traffic.order(service, "m", REPLICAS, asked)[0]
    running = traffic.begin(service, first, asked)
    assert running is not None
    running.closed()
    assert traffic._prefixes["m"].overlap(first.id, blocks(asked.prompt))
    left = tuple(replica for replica in REPLICAS if replica is not first)
    traffic.keep(Deployment(2, {"m": Model("m", "fake", "d", b"")}, {"s": service}, {"m": left}))
    assert not traffic._prefixes["m"].overlap(first.id, blocks(asked.prompt))


def test_the_work_of_a_call_is_its_size_and_what_it_may_say() -> None:
    def call(body: bytes, kind: Kind = Kind.CHAT, **more: int) -> Call:
        return Call("r", kind, "s", members(body), **more)  # type: ignore[arg-type]

    long = b'{"messages":[{"role":"user","content":"' + b"x" * 4000 + b'"}]}'
    assert 1250 < estimate(call(long)) < 1300
    assert estimate(call(long, max_tokens=10)) < 1030
    assert estimate(call(long, choices=3)) > 1000 + 3 * 256
    assert estimate(call(b'{"input":"abc"}', Kind.EMBEDDING)) == 1
    assert prompt_bytes(call(b'{"messages":[1,2,3] }')).startswith(prompt_bytes(call(b'{"messages":[1,2]}')))
