"""A reply that is poured: watched and timed as one that is read, and closed with the same trail."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from penstock.core.chat import Sink
from penstock.core.errors import DEADLINE_EXCEEDED, UPSTREAM_GARBLED, UPSTREAM_TIMEOUT, PenstockError
from penstock.core.policy import Deadlines, Policy
from penstock.core.serving import Service
from penstock.gateway.chat import Gateway
from penstock.gateway.reply import Reply
from tests.gateway.doubles import Samples, ScriptedEngine, ScriptedUpstream, Step, call, gateway, piece, snapshot


class Spring(ScriptedUpstream):
    """Pours its steps, an event between two of them waited for."""

    async def pour(self, sink: Sink) -> None:
        while self._steps:
            step = self._steps[0]
            if isinstance(step, PenstockError):
                return
            self._steps.pop(0)
            if isinstance(step, asyncio.Event):
                await step.wait()
            elif not sink(step):
                return


class Springs(ScriptedEngine):
    async def start(self, *asked: object, connect_s: float | None = None) -> Spring:
        upstream = Spring(self._answers.pop(0))  # type: ignore[arg-type]
        self.upstreams.append(upstream)
        return upstream


async def poured(steps: Sequence[Step], meter: Samples, deadlines: Deadlines = Deadlines()) -> tuple[Reply, Springs]:  # noqa: B008 - frozen
    engine = Springs(steps)
    service = Service("chat", ("main",), policy=Policy(deadlines=deadlines))
    door: Gateway = gateway(snapshot([service], {"main": engine}), meter)
    reply = await door.chat(call(), door.admit("key"))
    assert len(await reply.read()) == 1
    return reply, engine


class Taken(list[bytes]):
    """A sink that has room for so many chunks."""

    room = 1000

    def __call__(self, chunks: Sequence[bytes]) -> bool:
        self.extend(chunks)
        return len(self) < self.room


async def test_all_of_it_is_watched_and_settled() -> None:
    meter, taken = Samples(), Taken()
    counted = b'{"id":"x","model":"main","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}'
    reply, _ = await poured([[piece("a")], [piece("b")], [counted]], meter)
    await reply.pour(taken)
    assert not await reply.read()
    await reply.pour(taken)
    await reply.aclose()
    assert len(taken) == 1, "the client did not ask for usage"
    assert b'"model":"chat"' in taken[0]
    assert meter.total("penstock_tokens", "output") == 4
    assert meter.total("penstock_requests", "complete") == 1


async def test_it_stops_when_there_is_no_room_and_goes_on_where_it_was() -> None:
    taken = Taken()
    taken.room = 1
    reply, _ = await poured([[piece("a")], [piece("b")], [piece("c")], [piece("d")]], Samples())
    await reply.pour(taken)
    assert len(taken) == 1
    assert b'"c"' in (await reply.read())[0]
    await reply.aclose()


@pytest.mark.parametrize(
    ("deadlines", "fault"),
    [(Deadlines(between_tokens_s=0.05), UPSTREAM_TIMEOUT), (Deadlines(total_s=0.05), DEADLINE_EXCEEDED)],
)
async def test_deadlines_hold(deadlines: Deadlines, fault: object) -> None:
    meter, taken = Samples(), Taken()
    reply, engine = await poured([[piece("a")], [piece("b")], asyncio.Event()], meter, deadlines)
    with pytest.raises(PenstockError) as late:
        async with asyncio.timeout(5):
            await reply.pour(taken)
    assert late.value.fault is fault
    assert len(taken) == 1
    await reply.aclose()
    assert engine.upstreams[0].closed == 1
    assert meter.total("penstock_requests", "failed") == 1


async def test_each_chunk_moves_the_limit_of_the_silence() -> None:
    pauses = [asyncio.Event() for _ in range(6)]
    steps: list[Step] = [[piece("a")]]
    for pause in pauses:
        steps += [pause, [piece("b")]]
    reply, _ = await poured(steps, Samples(), Deadlines(between_tokens_s=0.2))
    loop, taken = asyncio.get_running_loop(), Taken()
    for number, pause in enumerate(pauses):
        loop.call_later(0.1 * (number + 1), pause.set)
    await reply.pour(taken)
    assert len(taken) == 6
    await reply.aclose()


async def test_what_a_watcher_refuses_breaks_the_answer() -> None:
    meter = Samples()
    reply, _ = await poured([[piece("a")], [b"nonsense"]], meter)
    with pytest.raises(PenstockError) as garbled:
        await reply.pour(Taken())
    assert garbled.value.fault is UPSTREAM_GARBLED
    await reply.aclose()
    assert meter.total("penstock_requests", "failed") == 1


async def test_who_leaves_while_it_is_poured_is_settled_as_gone() -> None:
    meter, pouring = Samples(), asyncio.Event()

    async def client() -> None:
        reply, _ = await poured([[piece("a")], asyncio.Event()], meter)
        pouring.set()
        try:
            await reply.pour(Taken())
        finally:
            await reply.aclose()

    task = asyncio.create_task(client())
    await asyncio.wait_for(pouring.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert meter.total("penstock_requests", "client_gone") == 1
