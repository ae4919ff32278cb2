"""Attempts: what is tried again, where, after how long, and what everybody hears of it."""

from __future__ import annotations

import asyncio

import pytest

from penstock.core.errors import (
    BAD_REQUEST,
    BREAKER_OPEN,
    DEADLINE_EXCEEDED,
    SERVICE_REFUSED,
    UPSTREAM_BROKEN,
    UPSTREAM_FAILED,
    UPSTREAM_RATE_LIMITED,
    UPSTREAM_TIMEOUT,
    PenstockError,
)
from penstock.core.policy import Balance, Deadlines, Hedge, Policy, Queue, Retry, Terms
from penstock.core.serving import Service
from tests.gateway.doubles import (
    ROLE,
    OpenPlaces,
    OpenRoad,
    Samples,
    ScriptedEngine,
    call,
    gateway,
    piece,
    snapshot,
)

FAILED = PenstockError(UPSTREAM_FAILED, "500")
GOOD = [[piece("ok", "stop")]]
QUICK = Retry(attempts=3, backoff_s=0.001)


def _service(*models: str, **policy: object) -> Service:
    return Service("chat", models or ("main",), policy=Policy(**{"retry": QUICK, **policy}))  # type: ignore[arg-type]


async def test_a_failed_replica_is_left_for_another_at_once() -> None:
    engine, road = ScriptedEngine(FAILED, GOOD), OpenRoad()
    door = gateway(snapshot([_service()], {"main": engine}, copies=2), Samples(), road)
    reply = await door.chat(call(), door.admit("key"))
    await reply.aclose()
    assert [replica.id for _, replica in engine.started] == ["main-0", "main-1"]
    assert reply.headers["x-penstock-replica"] == "main-1"
    assert reply.headers["x-penstock-attempts"] == "2"
    assert [running.said for running in road.running] == [["upstream_error", "closed"], ["first", "closed"]]


async def test_a_lone_replica_is_tried_again_and_then_the_fallback() -> None:
    main, spare = ScriptedEngine(FAILED, FAILED, FAILED), ScriptedEngine(GOOD)
    door = gateway(snapshot([_service("main", "spare")], {"main": main, "spare": spare}), Samples())
    reply = await door.chat(call(), door.admit("key"))
    await reply.aclose()
    assert len(main.started) == 3
    assert reply.headers["x-penstock-attempts"] == "4"
    assert reply.headers["x-penstock-fallbacks"] == "1"
    assert reply.summary is not None
    assert (reply.summary.model, reply.summary.replica, reply.summary.attempts) == ("spare", "spare-0", 4)


async def test_an_error_tells_of_the_way_too() -> None:
    door = gateway(snapshot([_service()], {"main": ScriptedEngine(FAILED, FAILED, FAILED)}), Samples())
    with pytest.raises(PenstockError) as failed:
        await door.chat(call(), door.admit("key"))
    assert failed.value.headers["x-penstock-attempts"] == "3"
    assert failed.value.headers["x-penstock-replica"] == "main-0"


async def test_a_clients_fault_is_not_tried_again() -> None:
    engine, road = ScriptedEngine(PenstockError(BAD_REQUEST, "no")), OpenRoad()
    door = gateway(snapshot([_service()], {"main": engine}, copies=2), Samples(), road)
    with pytest.raises(PenstockError):
        await door.chat(call(), door.admit("key"))
    assert len(engine.started) == 1
    assert road.running[0].said == ["bad_request", "closed"]


async def test_a_polite_refusal_has_the_services_words_and_its_own_code() -> None:
    service = _service(refusal="We are busy. Please come back in a minute.")
    door = gateway(snapshot([service], {"main": ScriptedEngine(FAILED, FAILED, FAILED)}), Samples())
    with pytest.raises(PenstockError, match="Please come back") as refused:
        await door.chat(call(), door.admit("key"))
    assert refused.value.fault is SERVICE_REFUSED
    assert refused.value.retry_after is not None


async def test_when_every_breaker_is_open_that_is_said_with_a_time() -> None:
    road = OpenRoad()
    road.shut = {"main-0"}
    door = gateway(snapshot([_service()], {"main": ScriptedEngine()}), Samples(), road)
    with pytest.raises(PenstockError) as shut:
        await door.chat(call(), door.admit("key"))
    assert shut.value.fault is BREAKER_OPEN
    assert shut.value.retry_after == 4.0
    assert shut.value.headers == {"x-penstock-attempts": "0", "x-penstock-overhead-us": "0"}


async def test_when_every_copy_is_throttled_that_is_said_as_the_upstream_would() -> None:
    road = OpenRoad()
    road.shut = road.resting = {"main-0"}
    door = gateway(snapshot([_service()], {"main": ScriptedEngine()}), Samples(), road)
    with pytest.raises(PenstockError) as shut:
        await door.chat(call(), door.admit("key"))
    assert shut.value.fault is UPSTREAM_RATE_LIMITED
    assert shut.value.retry_after == 4.0


async def test_an_open_breaker_is_passed_over_for_the_fallback_without_an_attempt() -> None:
    road, spare = OpenRoad(), ScriptedEngine(GOOD)
    road.shut = {"main-0"}
    services = [_service("main", "spare")]
    door = gateway(snapshot(services, {"main": ScriptedEngine(), "spare": spare}), Samples(), road)
    reply = await door.chat(call(), door.admit("key"))
    await reply.aclose()
    assert reply.headers["x-penstock-attempts"] == "1"
    assert reply.headers["x-penstock-fallbacks"] == "1"


async def test_a_failure_in_mid_stream_is_held_against_the_replica() -> None:
    road = OpenRoad()
    engine = ScriptedEngine([[piece("Hel")], PenstockError(UPSTREAM_BROKEN, "reset")])
    door = gateway(snapshot([_service()], {"main": engine}), Samples(), road)
    reply = await door.chat(call(), door.admit("key"))
    await reply.read()
    with pytest.raises(PenstockError):
        await reply.read()
    await reply.aclose()
    assert road.running[0].said == ["first", "upstream_disconnected", "closed"]


@pytest.mark.parametrize(
    ("deadlines", "steps", "terms", "fault"),
    [
        (Deadlines(first_token_s=0.05), [[ROLE], asyncio.Event()], Terms(), UPSTREAM_TIMEOUT),
        (Deadlines(total_s=0.05), [[ROLE], asyncio.Event()], Terms(), DEADLINE_EXCEEDED),
        (Deadlines(), [[ROLE], asyncio.Event()], Terms(timeout_s=0.05), DEADLINE_EXCEEDED),
        (Deadlines(total_s=0.05), [[ROLE], asyncio.Event()], Terms(timeout_s=60), DEADLINE_EXCEEDED),
    ],
    ids=["first token", "total", "the client's own", "the client cannot raise it"],
)
async def test_deadlines_before_the_first_word(
    deadlines: Deadlines, steps: list[object], terms: Terms, fault: object
) -> None:
    engine = ScriptedEngine(steps)  # type: ignore[arg-type]
    service = _service(deadlines=deadlines, retry=Retry(attempts=1))
    door = gateway(snapshot([service], {"main": engine}), Samples())
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(PenstockError) as late:
        await door.chat(call(), door.admit("key"), terms)
    assert late.value.fault is fault
    assert 0.045 <= loop.time() - began < 1
    assert engine.upstreams[0].closed == 1
    current = asyncio.current_task()
    assert current is not None
    assert current.cancelling() == 0


async def test_a_deadline_ends_a_start_that_hangs() -> None:
    engine = ScriptedEngine(asyncio.Event())
    door = gateway(snapshot([_service(deadlines=Deadlines(total_s=0.03))], {"main": engine}), Samples())
    with pytest.raises(PenstockError) as late:
        await door.chat(call(), door.admit("key"))
    assert late.value.fault is DEADLINE_EXCEEDED


@pytest.mark.parametrize(
    ("deadlines", "fault"),
    [
        (Deadlines(between_tokens_s=0.05), UPSTREAM_TIMEOUT),
        (Deadlines(total_s=0.05), DEADLINE_EXCEEDED),
    ],
)
async def test_deadlines_in_mid_stream(deadlines: Deadlines, fault: object) -> None:
    engine, meter = ScriptedEngine([[piece("Hel")], [piece("lo")], asyncio.Event()]), Samples()
    door = gateway(snapshot([_service(deadlines=deadlines)], {"main": engine}), meter)
    reply = await door.chat(call(), door.admit("key"))
    await reply.read()
    await reply.read()
    with pytest.raises(PenstockError) as late:
        await reply.read()
    assert late.value.fault is fault
    await reply.aclose()
    assert engine.upstreams[0].closed == 1
    assert meter.total("penstock_requests", "failed") == 1


async def test_a_first_token_that_is_late_is_tried_elsewhere() -> None:
    engine = ScriptedEngine([asyncio.Event()], GOOD)
    service = _service(deadlines=Deadlines(first_token_s=0.03))
    door = gateway(snapshot([service], {"main": engine}, copies=2), Samples())
    reply = await door.chat(call(), door.admit("key"))
    assert reply.headers["x-penstock-attempts"] == "2"
    await reply.aclose()
    assert [upstream.closed for upstream in engine.upstreams] == [1, 1]


async def test_the_place_is_given_back_however_it_ends() -> None:
    places = OpenPlaces()
    service = _service(queue=Queue(concurrency=2), retry=Retry(attempts=1))
    engine = ScriptedEngine(FAILED, GOOD, [asyncio.Event()])
    door = gateway(snapshot([service], {"main": engine}), Samples(), places=places)
    with pytest.raises(PenstockError):
        await door.chat(call(), door.admit("key"))
    assert places.held == 0
    reply = await door.chat(call(), door.admit("key"))
    assert places.held == 1
    await reply.aclose()
    assert places.held == 0
    task = asyncio.create_task(door.chat(call(), door.admit("key")))
    await engine.until_started(3)
    assert places.held == 1
    task.cancel()
    await asyncio.wait((task,))
    assert places.held == 0


async def test_a_session_is_what_the_policy_says() -> None:
    road, engine = OpenRoad(), ScriptedEngine(GOOD)
    service = _service(balance=Balance(policy="affinity", session="X-Session"))
    door = gateway(snapshot([service], {"main": engine}), Samples(), road)
    reply = await door.chat(call(), door.admit("key"), Terms(headers={b"x-session": b"s-1"}))
    await reply.aclose()
    assert road.asks[0].session == "s-1"


# -- hedging ---------------------------------------------------------------------------------------------------


async def test_a_slow_first_attempt_is_overtaken_and_undone() -> None:
    road, engine = OpenRoad(), ScriptedEngine([asyncio.Event()], GOOD)
    door = gateway(snapshot([_service(hedge=Hedge(after_s=0.02))], {"main": engine}, copies=2), Samples(), road)
    reply = await door.chat(call(), door.admit("key"))
    assert reply.headers["x-penstock-replica"] == "main-1"
    assert engine.upstreams[0].closed == 1
    assert road.running[0].said == ["closed"]
    await reply.aclose()
    assert engine.upstreams[1].closed == 1
    assert reply.summary is not None
    assert reply.summary.replica == "main-1"


async def test_a_quick_first_attempt_is_not_hedged() -> None:
    engine = ScriptedEngine(GOOD, GOOD)
    door = gateway(snapshot([_service(hedge=Hedge(after_s=5))], {"main": engine}, copies=2), Samples())
    reply = await door.chat(call(), door.admit("key"))
    await reply.aclose()
    assert len(engine.started) == 1


async def test_when_the_hedge_fails_the_first_may_still_win() -> None:
    slow = asyncio.Event()
    engine = ScriptedEngine([slow, [piece("ok", "stop")]], PenstockError(BAD_REQUEST, "no"))
    door = gateway(snapshot([_service(hedge=Hedge(after_s=0.01))], {"main": engine}, copies=2), Samples())
    task = asyncio.create_task(door.chat(call(), door.admit("key")))
    await engine.until_started(2)
    slow.set()
    reply = await task
    assert reply.headers["x-penstock-replica"] == "main-0"
    await reply.aclose()


async def test_a_client_that_leaves_a_hedged_request_leaves_nothing_open() -> None:
    road, engine = OpenRoad(), ScriptedEngine([asyncio.Event()], [asyncio.Event()])
    door = gateway(snapshot([_service(hedge=Hedge(after_s=0.01))], {"main": engine}, copies=2), Samples(), road)
    task = asyncio.create_task(door.chat(call(), door.admit("key")))
    await engine.until_started(2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [upstream.closed for upstream in engine.upstreams] == [1, 1]
    assert all(running.said == ["closed"] for running in road.running)
    assert len(asyncio.all_tasks()) == 1
