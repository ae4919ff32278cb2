"""The way of one request: who wins, what the client never learns, and that everything is closed exactly once."""

from __future__ import annotations

import asyncio
import json

import pytest

from penstock.core.errors import (
    BAD_REQUEST,
    MODEL_FORBIDDEN,
    MODEL_NOT_FOUND,
    NO_REPLICA,
    UPSTREAM_BROKEN,
    UPSTREAM_FAILED,
    PenstockError,
)
from penstock.core.identity import Principal
from penstock.core.policy import Policy, Retry
from penstock.core.serving import ReplicaState, Service
from penstock.core.trail import Ending
from penstock.gateway.snapshot import Admission
from tests.gateway.doubles import ROLE, USAGE, Samples, ScriptedEngine, call, gateway, piece, snapshot

ONCE = Policy(retry=Retry(attempts=1))
CHAT = Service("chat", ("main", "spare"), aliases=("gpt-4o",), policy=ONCE)
BROKEN = PenstockError(UPSTREAM_BROKEN, "reset")


async def _texts(reply: object) -> list[str]:
    texts = []
    while chunks := await reply.read():  # type: ignore[attr-defined]
        texts += [c["delta"].get("content", "") for chunk in chunks for c in json.loads(chunk)["choices"]]
    return texts


async def test_a_good_answer_goes_through_and_is_counted() -> None:
    engine, meter = ScriptedEngine([[ROLE], [piece("Hel"), piece("lo")], [piece(finish="stop"), USAGE]]), Samples()
    door = gateway(snapshot([CHAT], {"main": engine, "spare": ScriptedEngine()}), meter)
    reply = await door.chat(call(), door.admit("key"))
    assert await _texts(reply) == ["", "Hel", "lo", ""]
    await reply.aclose()
    assert {name: value for name, value in reply.headers.items() if name != "x-penstock-overhead-us"} == {
        "x-penstock-model": "main",
        "x-penstock-replica": "main-0",
        "x-penstock-attempts": "1",
        "x-penstock-fallbacks": "0",
    }
    assert engine.upstreams[0].closed == 1
    assert meter.total("penstock_requests", "complete") == 1
    assert meter.total("penstock_tokens", "input") == 7
    assert meter.total("penstock_tokens", "output") == 3
    assert reply.summary is not None
    assert reply.summary.usage is not None
    assert reply.summary.usage.cached == 2


@pytest.mark.parametrize(
    "failing",
    [
        PenstockError(UPSTREAM_FAILED, "500"),
        [BROKEN],
        [[ROLE], BROKEN],
        [[ROLE]],
        [[b"not json"]],
    ],
    ids=["refused at start", "broken at once", "broken after the role", "ended after the role", "garbled"],
)
async def test_a_failure_before_the_first_word_falls_back_unseen(failing: object) -> None:
    main, spare = ScriptedEngine(failing), ScriptedEngine([[ROLE], [piece("ok", "stop")]])  # type: ignore[arg-type]
    meter = Samples()
    door = gateway(snapshot([CHAT], {"main": main, "spare": spare}), meter)
    reply = await door.chat(call(), door.admit("key"))
    assert await _texts(reply) == ["", "ok"]
    await reply.aclose()
    assert reply.headers["x-penstock-model"] == "spare"
    assert reply.headers["x-penstock-attempts"] == "2"
    assert all(upstream.closed == 1 for upstream in main.upstreams + spare.upstreams)
    assert meter.total("penstock_attempts_failed", "main") == 1


async def test_a_failure_after_the_first_word_is_told_and_never_repeated() -> None:
    main, spare = ScriptedEngine([[ROLE, piece("Hel")], BROKEN]), ScriptedEngine()
    meter = Samples()
    door = gateway(snapshot([CHAT], {"main": main, "spare": spare}), meter)
    reply = await door.chat(call(), door.admit("key"))
    assert len(await reply.read()) == 2
    with pytest.raises(PenstockError) as broken:
        await reply.read()
    assert broken.value.fault is UPSTREAM_BROKEN
    await reply.aclose()
    await reply.aclose()
    assert main.upstreams[0].closed == 1
    assert spare.started == []
    assert meter.total("penstock_requests", "failed", "upstream_disconnected") == 1


async def test_a_clients_fault_is_not_passed_on() -> None:
    main, spare, meter = ScriptedEngine(PenstockError(BAD_REQUEST, "no")), ScriptedEngine(), Samples()
    door = gateway(snapshot([CHAT], {"main": main, "spare": spare}), meter)
    with pytest.raises(PenstockError) as refused:
        await door.chat(call(), door.admit("key"))
    assert refused.value.fault is BAD_REQUEST
    assert spare.started == []
    assert meter.total("penstock_requests", "failed", "bad_request") == 1


async def test_when_every_attempt_fails_the_last_failure_is_told() -> None:
    fail = PenstockError(UPSTREAM_FAILED, "500")
    door = gateway(snapshot([CHAT], {"main": ScriptedEngine(BROKEN), "spare": ScriptedEngine(fail)}), Samples())
    with pytest.raises(PenstockError) as failed:
        await door.chat(call(), door.admit("key"))
    assert failed.value.fault is UPSTREAM_FAILED


async def test_a_caller_that_leaves_early_closes_the_upstream() -> None:
    engine, meter = ScriptedEngine([[ROLE, piece("Hel")], asyncio.Event()]), Samples()
    door = gateway(snapshot([CHAT], {"main": engine, "spare": ScriptedEngine()}), meter)
    reply = await door.chat(call(), door.admit("key"))
    await reply.read()
    await reply.aclose()
    assert engine.upstreams[0].closed == 1
    assert reply.summary is not None
    assert reply.summary.ending is Ending.CLIENT_GONE
    assert reply.summary.status == 499


async def test_cancelled_before_the_first_word_nothing_stays_open() -> None:
    waiting = asyncio.Event()
    engine, meter = ScriptedEngine([[ROLE], waiting]), Samples()
    door = gateway(snapshot([CHAT], {"main": engine, "spare": ScriptedEngine()}), meter)
    task = asyncio.create_task(door.chat(call(), door.admit("key")))
    await asyncio.wait_for(engine.started_one.wait(), 5)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert engine.upstreams[0].closed == 1
    assert meter.total("penstock_requests", "client_gone") == 1


async def test_a_stream_of_nothing_is_released_after_a_bounded_hold() -> None:
    engine = ScriptedEngine([[ROLE]] * 200)
    door = gateway(snapshot([CHAT], {"main": engine, "spare": ScriptedEngine()}), Samples())
    reply = await door.chat(call(), door.admit("key"))
    assert len(await reply.read()) == 65


def test_names_resolve_by_service_alias_and_star() -> None:
    engines = {"main": ScriptedEngine(), "spare": ScriptedEngine()}
    door = gateway(snapshot([CHAT, Service("*", ("spare",))], engines), Samples())
    admission = door.admit("key")
    assert door.service("chat", admission).name == "chat"
    assert door.service("gpt-4o", admission).name == "chat"
    assert door.service("anything", admission).name == "*"
    assert [s.name for s in door.services(admission)] == ["chat"]


def test_an_unknown_name_is_told_its_neighbour_and_a_forbidden_one_has_its_own_code() -> None:
    snap = snapshot([CHAT], {"main": ScriptedEngine(), "spare": ScriptedEngine()})
    door = gateway(snap, Samples())
    with pytest.raises(PenstockError, match="Did you mean 'chat'") as unknown:
        door.service("chatt", door.admit("key"))
    assert unknown.value.fault is MODEL_NOT_FOUND
    poor = Admission(
        snap,
        Principal(
            key_id="k2",
            project="default",
            role="developer",
            permissions=frozenset({"call"}),
            services=frozenset({"other"}),
        ),
    )
    with pytest.raises(PenstockError) as forbidden:
        door.service("chat", poor)
    assert forbidden.value.fault is MODEL_FORBIDDEN
    assert door.services(poor) == []


@pytest.mark.parametrize("presented", [None, "", "wrong"])
def test_without_a_good_key_nobody_is_let_in(presented: str | None) -> None:
    door = gateway(snapshot([CHAT], {"main": ScriptedEngine(), "spare": ScriptedEngine()}), Samples())
    with pytest.raises(PenstockError) as refused:
        door.admit(presented)
    assert refused.value.fault.status == 401
    assert "wrong" not in refused.value.message


async def test_replicas_that_are_not_ready_are_passed_over() -> None:
    spare = ScriptedEngine([[piece("ok", "stop")]])
    states = {"main": ReplicaState.DOWN}
    door = gateway(snapshot([CHAT], {"main": ScriptedEngine(), "spare": spare}, states), Samples())
    assert door.readiness().services == {"chat": "fallback"}
    reply = await door.chat(call(), door.admit("key"))
    assert reply.headers["x-penstock-model"] == "spare"


async def test_with_no_replica_ready_the_answer_says_why_and_when_to_return() -> None:
    states = {"main": ReplicaState.DOWN, "spare": ReplicaState.FAILED}
    door = gateway(snapshot([CHAT], {"main": ScriptedEngine(), "spare": ScriptedEngine()}, states), Samples())
    assert not door.readiness().ready
    with pytest.raises(PenstockError, match="'main' of service 'chat' is down") as none:
        await door.chat(call(), door.admit("key"))
    assert none.value.fault is NO_REPLICA
    assert none.value.retry_after == 1.0
