"""The parts as a gateway uses them: equal chats at once cost one, a stale one costs one more behind, and a stream and
a whole answer are one entry."""

from __future__ import annotations

import asyncio
import time

import msgspec

from penstock.caches.answers import Answers, Found
from penstock.caches.canonical import key_of, unfit
from penstock.caches.chain import Chain
from penstock.caches.control import control
from penstock.caches.flight import Flights
from penstock.caches.recorded import Recording, again
from penstock.caches.tier_memory import MemoryTier
from penstock.core.caching import CacheKey, Entry, Exact, Verdict
from penstock.core.chat import Call, Usage
from penstock.core.errors import UPSTREAM_FAILED, PenstockError
from tests.caches.doubles import SetClock, Sums, call_of

EXACT = Exact(ttl_s=60, stale_s=30)
STREAM = [
    b'{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"a"}}]}',
    b'{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}',
]


class Gateway:
    def __init__(self) -> None:
        self.clock = SetClock()
        chain = Chain(MemoryTier(1 << 20, self.clock), clock=self.clock, meter=Sums())
        self.answers = Answers(chain, clock=self.clock)
        self.flights: Flights[Entry] = Flights()
        self.behind: set[asyncio.Task[None]] = set()
        self.generated = 0
        self.failures = 0

    async def ask(self, call: Call, *, stream: bool, header: str = "") -> tuple[Verdict, tuple[bytes, ...]]:
        said = control(header)
        key = None if unfit(call, EXACT) else key_of(call, project="red", release="rel_1")
        if key is None or not said.store:
            return "bypass", await self._generate()
        found = self.answers.look(key, said)
        if found is not None:
            return self._given(key, found), again(found.entry, stream=stream)
        if not said.read:
            return "refresh", again(await self._made(key), stream=stream)
        seat = await self.flights.seat(key.digest, EXACT.wait_s)
        if seat.value is not None:
            return "shared", again(seat.value, stream=stream)
        try:
            found = await self.answers.find(key, said)
            if found is not None:
                seat.land(found.entry)
                return self._given(key, found), again(found.entry, stream=stream)
            entry = await self._made(key)
            seat.land(entry)
            return "miss", again(entry, stream=stream)
        finally:
            seat.leave()

    def _given(self, key: CacheKey, found: Found) -> Verdict:
        if not found.stale:
            return "hit"
        seat = self.flights.lead(key.digest)
        if seat is not None:

            async def refresh() -> None:
                try:
                    seat.land(await self._made(key))
                finally:
                    seat.leave()

            task = asyncio.create_task(refresh())
            self.behind.add(task)
            task.add_done_callback(self.behind.discard)
        return "stale"

    async def _made(self, key: CacheKey) -> Entry:
        began = self.clock.wall()
        chunks = await self._generate()
        recording = Recording(EXACT.max_entry_bytes)
        recording.take(chunks)
        usage = Usage(prompt=2, completion=1)
        kept = recording.chunks(call_of().kind, stream=True, usage=usage)
        assert kept is not None
        entry = Entry(
            key=key.digest,
            kind=call_of().kind,
            chunks=kept,
            streamed=True,
            usage=usage,
            created_at=began,
            fresh_for_s=EXACT.ttl_s,
            stale_for_s=EXACT.stale_s,
            service="chat",
            release="rel_1",
            project="red",
        )
        self.answers.keep(entry)
        return entry

    async def _generate(self) -> tuple[bytes, ...]:
        self.generated += 1
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise PenstockError(UPSTREAM_FAILED, "as told")
        return tuple(STREAM)


CHAT = call_of(messages=[{"role": "user", "content": "Why?"}], temperature=0)
SAME = call_of(text=b'{"temperature":0.0,"user":"u","stream":true,"messages":[{"content":"Why?", "role":"user"}]}')


async def test_a_hundred_at_once_cost_one_in_either_shape() -> None:
    gateway = Gateway()
    asks = [gateway.ask(CHAT if n % 2 else SAME, stream=n % 2 == 0) for n in range(100)]
    done = await asyncio.gather(*asks)
    assert gateway.generated == 1
    assert [verdict for verdict, _ in done].count("shared") == 99
    for n, (_, chunks) in enumerate(done):
        last = msgspec.json.decode(chunks[-1])
        assert len(chunks) == (3 if n % 2 == 0 else 1)
        assert last["usage"]["total_tokens"] == 3
    assert (await gateway.ask(SAME, stream=False))[0] == "hit"


async def test_of_a_hundred_only_those_fail_whose_own_attempt_failed() -> None:
    gateway = Gateway()
    gateway.failures = 2
    done = await asyncio.gather(*(gateway.ask(CHAT, stream=False) for _ in range(100)), return_exceptions=True)
    assert sum(isinstance(each, PenstockError) for each in done) == 2
    assert gateway.generated == 3
    assert len(gateway.flights) == 0


async def test_a_stale_answer_is_made_anew_once_behind() -> None:
    gateway = Gateway()
    await gateway.ask(CHAT, stream=True)
    gateway.clock.pass_by(70)
    done = await asyncio.gather(*(gateway.ask(CHAT, stream=True) for _ in range(50)))
    assert {verdict for verdict, _ in done} == {"stale"}
    deadline = time.monotonic() + 5
    while gateway.behind:
        assert time.monotonic() < deadline
        await asyncio.sleep(0)
    assert gateway.generated == 2
    assert (await gateway.ask(CHAT, stream=True))[0] == "hit"


async def test_what_a_client_says_holds() -> None:
    gateway = Gateway()
    await gateway.ask(CHAT, stream=True)
    assert (await gateway.ask(CHAT, stream=True, header="no-cache"))[0] == "refresh"
    assert (await gateway.ask(CHAT, stream=True, header="no-store"))[0] == "bypass"
    assert (await gateway.ask(call_of(messages=[]), stream=True))[0] == "bypass"
    assert gateway.generated == 4
    assert (await gateway.ask(CHAT, stream=True, header="max-age=5"))[0] == "hit"
    gateway.clock.pass_by(6)
    assert (await gateway.ask(CHAT, stream=True, header="max-age=5"))[0] == "miss"
