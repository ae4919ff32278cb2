"""Scripted answers in OpenAI's full shape: for tests, demonstrations, and trying a deployment without a model."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from penstock.core.chat import Call, Kind, Upstream
from penstock.core.clock import Clock, SystemClock
from penstock.core.errors import STOPPING, UPSTREAM_BROKEN, PenstockError
from penstock.core.serving import Replica
from penstock.engines import config
from penstock.engines.fake_embeddings import embeddings
from penstock.engines.fake_replies import Spoken, chat_chunks, chat_object, completion_chunks, completion_object
from penstock.engines.fake_script import Asked, answer_to, asked_in
from penstock.engines.faults import Origin, http_error

Sleep = Callable[[float], Awaitable[None]]


class Fake:
    """One scripted model; see ``engines.Engine``. ``sleep`` stands for every delay.

    ``running`` counts the answers that are neither complete nor closed.
    """

    def __init__(
        self, name: str, settings: config.Fake, clock: Clock | None = None, sleep: Sleep = asyncio.sleep
    ) -> None:
        self.running = 0
        self._name = name
        self._settings = settings
        self._clock = clock or SystemClock()
        self._sleep = sleep
        self._closed = False

    async def start(self, call: Call, replica: Replica, *, connect_s: float | None = None) -> Upstream:
        """As the port says. Waits for the answer's ``first_delay_s``; raises what its ``fail_status`` stands for."""
        if self._closed:
            raise PenstockError(
                STOPPING, f"The engine of model {self._name!r} has been closed; send the request again"
            )
        self.running += 1
        try:
            return await self._started(call)
        except BaseException:
            self.running -= 1
            raise

    async def _started(self, call: Call) -> _Answer:
        asked = asked_in(call)
        answer = answer_to(asked, self._settings.answers)
        if answer.first_delay_s:
            await self._sleep(answer.first_delay_s)
        if answer.fail_status is not None:
            said = msgspec.json.encode(
                {"error": {"message": f"This model is told to fail with {answer.fail_status}."}}
            )
            raise http_error(answer.fail_status, {}, said, Origin(self._name, self._name), self._clock.wall())
        chunks = self._chunks(call, asked, answer)
        if call.stream:
            return _Answer(self, chunks, answer.chunk_delay_s, answer.break_after)
        # What is not streamed takes as long, and comes whole or not at all.
        words = len(asked.spoken(answer).pieces)
        return _Answer(self, chunks, 0.0, None if answer.break_after is None else 0, answer.chunk_delay_s * words)

    def _chunks(self, call: Call, asked: Asked, answer: config.FakeAnswer) -> list[bytes]:
        made = int(self._clock.wall())
        if call.kind is Kind.EMBEDDING:
            return [embeddings(call, self._name, self._settings.dimensions)]
        spoken: Spoken = asked.spoken(answer)
        if call.kind is Kind.CHAT:
            return (chat_chunks if call.stream else chat_object)(spoken, self._name, made)
        return (completion_chunks if call.stream else completion_object)(spoken, self._name, made)

    async def probe(self, replica: Replica) -> None:
        """Nothing to ask."""

    def sockets(self) -> tuple[int, int]:
        """It has none."""
        return 0, 0

    async def aclose(self) -> None:
        """As the port says."""
        self._closed = True

    async def nap(self, seconds: float) -> None:
        """Sleeps, by the clock that this engine was given."""
        await self._sleep(seconds)

    def ended(self) -> None:
        """One answer less is running."""
        self.running -= 1


class _Answer:
    """See ``core.chat.Upstream``. One chunk per read, so that watchers see a stream as engines make it."""

    def __init__(
        self, engine: Fake, chunks: Sequence[bytes], delay: float, break_after: int | None, first: float = 0.0
    ) -> None:
        self._engine = engine
        self._chunks = chunks
        self._delay = delay
        self._break_after = break_after
        self._first = first
        self._next = 0
        self._open = True
        self._nap: asyncio.Task[None] | None = None

    async def read(self) -> Sequence[bytes]:
        if not self._is_open():
            return ()
        await self._wait(self._delay if self._next else self._first)
        if not self._is_open():
            return ()
        if self._next == self._break_after:
            self._end()
            raise PenstockError(UPSTREAM_BROKEN, "This model is told to break off here; ask it something else")
        if self._next == len(self._chunks):
            self._end()
            return ()
        self._next += 1
        return (self._chunks[self._next - 1],)

    async def _wait(self, seconds: float) -> None:
        if seconds <= 0 or self._next == len(self._chunks):
            return
        self._nap = asyncio.ensure_future(self._engine.nap(seconds))
        try:
            await asyncio.wait([self._nap])
        finally:
            self._nap.cancel()

    def _is_open(self) -> bool:
        return self._open

    def _end(self) -> None:
        if self._open:
            self._open = False
            self._engine.ended()

    async def aclose(self) -> None:
        self._end()
        if self._nap is not None:
            self._nap.cancel()
