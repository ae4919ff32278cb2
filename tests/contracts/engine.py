"""The law of ``engines.Engine``: every adapter runs these tests against an upstream that does as it is told.

Use: ``class TestMine(EngineContract)`` with a fixture ``bench`` that gives a ``Bench``.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import ClassVar, Protocol

import msgspec
import pytest

from penstock.core.chat import Call, ChunkView, Kind, Sink, Upstream, Usage, chunk_view
from penstock.core.errors import UNSUPPORTED_OPERATION, UPSTREAM_BROKEN, Fault, PenstockError
from penstock.core.serving import Replica
from penstock.engines import Engine

TEXT = "The quick brown fox jumps over the lazy dog."
KEY = "key-that-nobody-may-read"
PATIENCE_S = 5.0


class Scene(enum.Enum):
    """What the upstream does with the next requests."""

    REPLY = "says TEXT and finishes with stop and usage"
    ENDLESS = "accepts, says a word or two when streaming, and nothing more until the client leaves"
    SILENT = "takes the request and says nothing at all, not even a status"
    BROKEN = "accepts, says a word or two when streaming, and breaks the connection"


class Bench(Protocol):
    """An engine, and the upstream it talks to. ``faults`` names failures before the first chunk: theirs, ours."""

    engine: Engine
    replica: Replica
    faults: Mapping[str, Fault]

    def play(self, scene: Scene) -> None:
        """From now on every request meets this scene."""

    def fail(self, name: str) -> None:
        """From now on every request meets this failure."""

    async def busy(self, count: int) -> None:
        """Returns once the upstream works on ``count`` requests or more; TimeoutError after 5 s."""

    async def idle(self) -> None:
        """Returns once the upstream works on none: each was answered or saw its client go. TimeoutError after 5 s."""


def call(kind: Kind = Kind.CHAT, *, stream: bool = False, **fields: object) -> Call:
    """A call as a dialect would make it; ``fields`` replace or add to a minimal request."""
    minimal: dict[Kind, dict[str, object]] = {
        Kind.CHAT: {"model": "svc", "messages": [{"role": "user", "content": "Say it."}]},
        Kind.COMPLETION: {"model": "svc", "prompt": "Say it."},
        Kind.EMBEDDING: {"model": "svc", "input": "Say it."},
    }
    merged = minimal[kind] | ({"stream": True} if stream else {}) | fields
    choices = merged.get("n", 1)
    limit = merged.get("max_completion_tokens", merged.get("max_tokens"))
    return Call(
        request_id="req-1",
        kind=kind,
        service="svc",
        fields={name: msgspec.Raw(msgspec.json.encode(value)) for name, value in merged.items()},
        stream=stream,
        choices=choices if isinstance(choices, int) else 1,
        max_tokens=limit if isinstance(limit, int) else None,
    )


async def drained(upstream: Upstream) -> list[bytes]:
    """Every chunk, read by turns and poured where that is offered; closes the answer."""
    chunks: list[bytes] = []

    def sink(more: Sequence[bytes]) -> bool:
        assert more
        chunks.extend(more)
        return len(chunks) % 3 > 0

    pour: Callable[[Sink], Awaitable[None]] | None = getattr(upstream, "pour", None)
    try:
        async with asyncio.timeout(PATIENCE_S):
            while more := await upstream.read():
                chunks.extend(more)
                if pour is not None:
                    await pour(sink)
            assert not await upstream.read()
    finally:
        await upstream.aclose()
    return chunks


def said(views: Sequence[ChunkView], choice: int = 0) -> str:
    """The text of one choice, however it came."""
    parts: list[str] = []
    for view in views:
        for item in view.choices:
            if item.index == choice:
                piece = item.delta or item.message
                parts.append((piece.content if piece else item.text) or "")
    return "".join(parts)


def finish(views: Sequence[ChunkView]) -> list[str]:
    return [item.finish_reason for view in views for item in view.choices if item.finish_reason]


def used(views: Sequence[ChunkView]) -> list[Usage]:
    return [view.usage.counted() for view in views if view.usage is not None]


class EngineContract:
    """Subclass it, and give the fixture ``bench``. ``kinds`` are the operations that the engine has."""

    kinds: ClassVar[frozenset[Kind]] = frozenset(Kind)

    async def test_a_whole_reply_is_one_object(self, bench: Bench) -> None:
        for kind in sorted(self.kinds - {Kind.EMBEDDING}, key=str):
            bench.play(Scene.REPLY)
            chunks = await drained(await bench.engine.start(call(kind), bench.replica))
            assert len(chunks) == 1
            view = chunk_view(chunks[0])
            assert view.object == ("chat.completion" if kind is Kind.CHAT else "text_completion")
            assert said([view]) == TEXT
            assert finish([view]) == ["stop"]
            assert view.usage is not None
            assert view.usage.counted().prompt > 0
            assert view.usage.counted().completion > 0
        await bench.idle()

    async def test_a_stream_says_the_same_in_chunks(self, bench: Bench) -> None:
        for kind in sorted(self.kinds - {Kind.EMBEDDING}, key=str):
            bench.play(Scene.REPLY)
            chunks = await drained(await bench.engine.start(call(kind, stream=True), bench.replica))
            views = [chunk_view(chunk) for chunk in chunks]
            assert len(chunks) > 2
            assert not any(b"\n" in chunk for chunk in chunks)
            assert {view.object for view in views} == {
                "chat.completion.chunk" if kind is Kind.CHAT else "text_completion"
            }
            assert said(views) == TEXT
            assert finish(views) == ["stop"]
            counted = used(views)
            assert counted
            assert counted[-1].prompt > 0
            assert counted[-1].completion > 0
        await bench.idle()

    async def test_embeddings(self, bench: Bench) -> None:
        if Kind.EMBEDDING not in self.kinds:
            return
        bench.play(Scene.REPLY)
        chunks = await drained(await bench.engine.start(call(Kind.EMBEDDING, input=["a", "b"]), bench.replica))
        reply = msgspec.json.decode(chunks[0])
        assert [item["index"] for item in reply["data"]] == [0, 1]
        assert all(isinstance(item["embedding"], list) for item in reply["data"])
        assert reply["usage"]["prompt_tokens"] > 0

    async def test_operations_it_has_not_are_refused(self, bench: Bench) -> None:
        for kind in sorted(frozenset(Kind) - self.kinds, key=str):
            with pytest.raises(PenstockError) as caught:
                await bench.engine.start(call(kind), bench.replica)
            assert caught.value.fault is UNSUPPORTED_OPERATION

    @pytest.mark.parametrize("reads", [0, 1, 2])
    async def test_closing_at_any_moment_ends_the_work_upstream(self, bench: Bench, reads: int) -> None:
        bench.play(Scene.ENDLESS)
        upstream = await bench.engine.start(call(stream=True), bench.replica)
        for _ in range(min(reads, 1)):
            assert await upstream.read()
        waiting = asyncio.create_task(upstream.read()) if reads == 2 else None
        await asyncio.sleep(0)
        await upstream.aclose()
        await upstream.aclose()
        async with asyncio.timeout(PATIENCE_S):
            if waiting is not None:
                await waiting
            assert not await upstream.read()
        await bench.idle()

    async def test_closing_a_reply_that_is_not_streamed_ends_the_work_upstream(self, bench: Bench) -> None:
        bench.play(Scene.ENDLESS)
        starting = asyncio.create_task(bench.engine.start(call(), bench.replica))
        await bench.busy(1)
        upstream = await starting
        waiting = asyncio.create_task(upstream.read())
        await asyncio.sleep(0)
        await upstream.aclose()
        async with asyncio.timeout(PATIENCE_S):
            assert not await waiting
            assert not await upstream.read()
        await bench.idle()

    @pytest.mark.parametrize("stream", [False, True])
    async def test_a_cancelled_start_leaves_nothing_open(self, bench: Bench, stream: bool) -> None:
        bench.play(Scene.SILENT)
        starting = asyncio.create_task(bench.engine.start(call(stream=stream), bench.replica))
        await bench.busy(1)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        await bench.idle()
        assert bench.engine.sockets() == (0, 0)

    @pytest.mark.parametrize("stream", [False, True])
    async def test_a_cancelled_read_can_still_be_closed(self, bench: Bench, stream: bool) -> None:
        bench.play(Scene.ENDLESS)
        upstream = await bench.engine.start(call(stream=stream), bench.replica)
        if stream:
            assert await upstream.read()
        reading = asyncio.create_task(upstream.read())
        await bench.busy(1)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await upstream.aclose()
        await bench.idle()

    @pytest.mark.parametrize("stream", [False, True])
    async def test_a_break_is_raised_once(self, bench: Bench, stream: bool) -> None:
        bench.play(Scene.BROKEN)
        upstream = await bench.engine.start(call(stream=stream), bench.replica)
        got: list[bytes] = []

        async def reading() -> None:
            while more := await upstream.read():
                got.extend(more)

        with pytest.raises(PenstockError) as caught:
            await asyncio.wait_for(reading(), PATIENCE_S)
        assert caught.value.fault is UPSTREAM_BROKEN
        assert bool(said([chunk_view(chunk) for chunk in got])) is stream
        assert not await upstream.read()
        await upstream.aclose()
        await bench.idle()

    async def test_failures_before_the_first_chunk(self, bench: Bench) -> None:
        for stream in (False, True):
            for name, fault in bench.faults.items():
                bench.fail(name)
                with pytest.raises(PenstockError) as caught:
                    await drained(await bench.engine.start(call(stream=stream), bench.replica))
                assert caught.value.fault == fault, f"{name}: {caught.value.fault.code}: {caught.value.message}"
                assert KEY not in caught.value.message
                assert len(caught.value.message) > 10
                await bench.idle()

    async def test_after_a_failure_it_serves_again(self, bench: Bench) -> None:
        bench.fail(next(iter(bench.faults)))
        with pytest.raises(PenstockError):
            await drained(await bench.engine.start(call(), bench.replica))
        bench.play(Scene.REPLY)
        chunks = await drained(await bench.engine.start(call(), bench.replica))
        assert said([chunk_view(chunks[0])]) == TEXT

    async def test_twenty_at_once(self, bench: Bench) -> None:
        bench.play(Scene.REPLY)

        async def one(number: int) -> str:
            chunks = await drained(await bench.engine.start(call(stream=number % 2 == 0), bench.replica))
            return said([chunk_view(chunk) for chunk in chunks])

        assert await asyncio.gather(*map(one, range(20))) == [TEXT] * 20
        await bench.idle()
        assert bench.engine.sockets()[0] == 0

    async def test_some_leave_while_others_stay(self, bench: Bench) -> None:
        bench.play(Scene.ENDLESS)
        upstreams = [await bench.engine.start(call(stream=True), bench.replica) for _ in range(6)]
        await bench.busy(6)
        await asyncio.gather(*(upstream.aclose() for upstream in upstreams[:5]))
        assert await upstreams[5].read()
        await upstreams[5].aclose()
        await bench.idle()

    async def test_a_running_answer_outlives_the_engine(self, bench: Bench) -> None:
        bench.play(Scene.REPLY)
        upstream = await bench.engine.start(call(stream=True), bench.replica)
        await bench.engine.aclose()
        await bench.engine.aclose()
        assert said([chunk_view(chunk) for chunk in await drained(upstream)]) == TEXT
        assert bench.engine.sockets() == (0, 0)

    async def test_a_probe_of_what_can_serve(self, bench: Bench) -> None:
        bench.play(Scene.REPLY)
        await bench.engine.probe(bench.replica)
