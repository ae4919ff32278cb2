"""What a request held goes with it, without a garbage collector that comes by: an old deployment's replicas wait for
it."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator

import msgspec
import pytest

from penstock.core.serving import Service
from penstock.gateway.snapshot import Engine, Snapshot
from tests.gateway.doubles import ROLE, USAGE, Samples, ScriptedEngine, call, gateway, piece, snapshot


class Engines(dict[str, Engine]):
    """Can be watched."""

    __slots__ = ("__weakref__",)


@pytest.fixture(autouse=True)
def uncollected() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("usage_chunk", [True, False])
@pytest.mark.parametrize("ended", ["complete", "left"])
async def test_nothing_holds_a_snapshot_after_its_request(stream: bool, usage_chunk: bool, ended: str) -> None:
    engine = ScriptedEngine([[ROLE], [piece("a")], [piece("b")], [piece(finish="stop"), USAGE]])
    of = snapshot([Service("chat", ("m",))], {"m": engine})
    engines = Engines(of.engines)
    of = msgspec.structs.replace(of, engines=engines)
    gone = weakref.ref(engines)
    del engines

    async def one(mine: Snapshot) -> None:
        here = gateway(mine, Samples())
        reply = await here.chat(call(stream=stream, usage_chunk=usage_chunk), here.admit("key"))
        while await reply.read() and ended == "complete":
            pass
        await reply.aclose()

    await asyncio.create_task(one(of))
    del of
    await asyncio.sleep(0)
    assert gone() is None
