"""Questions that mean the same, in the whole way of a request: what the client gets, what the ledger has, and that
each ticket of the desk is answered once, however the request ends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
import pytest

from penstock.caches.answers import Answers, unpacked
from penstock.caches.chain import Chain
from penstock.caches.tier_memory import MemoryTier
from penstock.core import errors
from penstock.core.caching import CachePolicy, Exact, Learnt, Seek, Semantic, Sought
from penstock.core.chat import Call
from penstock.core.clock import Clock
from penstock.core.errors import PenstockError
from penstock.core.policy import Policy, Retry
from penstock.core.serving import Service
from penstock.gateway.answered_by import release_of
from penstock.gateway.likeness import Likenesses
from penstock.gateway.prepare import Preparing
from penstock.gateway.recall import Recall
from penstock.gateway.reserve import Reserving
from tests.caches.doubles import Sums
from tests.gateway.doubles import ScriptedEngine, Step, piece
from tests.gateway.likening import Desks, Words, asking, entry, policy, sought, whole
from tests.gateway.releasing import Street, said

SEMANTIC = policy().cache
BOTH = CachePolicy(exact=Exact(), semantic=Semantic(max_error=0.02))


class Way:
    """A gateway whose service ``chat`` has a semantic cache, with ``desks`` that say what a test wants."""

    def __init__(
        self,
        *answers: Sequence[Step] | PenstockError | asyncio.Event,
        cache: CachePolicy | None = SEMANTIC,
        desks: Desks | None = None,
    ) -> None:
        self.desks = desks or Desks(sought(ticket="", reason="alone"))
        self.main = ScriptedEngine(*answers)
        once = Policy(retry=Retry(attempts=1))
        services = [
            Service("chat", ("main",), policy=msgspec.structs.replace(once, cache=cache)),
            Service("embed", ("embed",), policy=once),
        ]
        self.street = Street(services, {"main": self.main, "embed": ScriptedEngine()}, recall=self._recall)
        self.release = release_of(services[0], self.street.snapshot.deployment)

    def _recall(self, clock: Clock, prepare: Preparing) -> Recall:
        answers = Answers(Chain(MemoryTier(1 << 20, clock), clock=clock, meter=Sums()), clock=clock)
        self.likeness = Likenesses(
            self.desks,
            Words(),
            lambda *about, **more: self.street.door.ask(*about, **more),
            clock,
            Sums(),
            invalid=answers.covers,
        )
        return Recall(answers, clock, prepare, self.likeness)

    def says(self, **more: object) -> None:
        """Of the nearest answer, ``Canberra``."""
        self.desks.says = sought(entry(release=self.release, at=self.street.clock.time - 29.0), **more)

    async def ask(self, call: Call | None = None) -> tuple[str, str]:
        """The verdict, and the text."""
        reply = await self.street.door.chat(call or asking(), self.street.admission)
        text = ""
        try:
            while chunks := await reply.read():
                for chunk in chunks:
                    for choice in msgspec.json.decode(chunk)["choices"]:
                        text += choice.get("delta", choice.get("message", {})).get("content") or ""
        finally:
            await reply.aclose()
        await self.likeness.idle()
        return reply.headers["x-penstock-cache"], text

    def learnt(self) -> list[bool | None]:
        return [each.same for each in self.desks.learnt]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_miss_is_answered_compared_and_taught(stream: bool) -> None:
    of = Way(said("Canberra!") if stream else whole("Canberra!"))
    of.says(reason="risk", distance=0.24, confidence=0.61)
    assert await of.ask(asking(stream=stream)) == ("miss; distance=0.240; confidence=0.610; why=risk", "Canberra!")
    assert of.learnt() == [True]
    (taught,) = of.desks.taught
    kept = unpacked(taught.entry)
    assert kept is not None
    assert (kept.release, kept.project, kept.model) == (of.release, "default", "main")
    assert kept.created_at == of.street.clock.time


@pytest.mark.parametrize("stream", [True, False])
async def test_a_hit_is_given_and_its_audit_is_none_of_the_clients(stream: bool) -> None:
    of = Way(said("Sydney") if stream else whole("Sydney"))
    of.says(hit=True, audited=True, reason="serves", distance=0.081, confidence=0.984)
    told = await of.ask(asking(stream=stream))
    assert told == ("similar; source=semantic; age=29; distance=0.081; confidence=0.984", "Canberra")
    assert of.learnt() == [False]
    given, audit = of.street.rows()
    assert (given.cache, given.purpose, given.attempt) == ("similar", "client", 0)
    assert (audit.request_id, audit.cache, audit.purpose) == ("req-1:audit", "", "internal")
    # The audit itself is not looked for in the cache.
    assert len(of.desks.asked) == 1


async def test_what_is_past_the_cache_says_why() -> None:
    of = Way(said("Here."))
    assert await of.ask(asking("Where is my order?")) == ("bypass; why=own", "Here.")
    assert of.desks.asked == []


async def test_equal_requests_reach_no_desk() -> None:
    of = Way(said("Canberra"), cache=BOTH)
    same = {"more": {"temperature": 0}}
    assert (await of.ask(asking(**same)))[0].startswith("miss")
    assert (await of.ask(asking(**same, request_id="req-2")))[0].startswith("hit; source=exact")
    assert len(of.desks.asked) == 1


async def test_what_was_learnt_of_a_request_that_failed_is_nothing() -> None:
    of = Way(PenstockError(errors.UPSTREAM_FAILED, "500"))
    of.says()
    with pytest.raises(PenstockError):
        await of.ask()
    assert (of.learnt(), of.desks.taught) == ([None], [])


async def test_nor_of_one_that_broke() -> None:
    of = Way([[piece("Can")], PenstockError(errors.UPSTREAM_BROKEN, "reset")])
    of.says()
    with pytest.raises(PenstockError):
        await of.ask()
    assert (of.learnt(), of.desks.taught) == ([None], [])


async def test_nor_of_one_whose_client_left() -> None:
    of = Way([[piece("Can")], asyncio.Event()])
    of.says()
    reply = await of.street.door.chat(asking(), of.street.admission)
    await reply.read()
    await reply.aclose()
    await of.likeness.idle()
    assert (of.learnt(), of.desks.taught) == ([None], [])


async def test_a_client_that_leaves_while_the_desk_is_asked_leaves_no_ticket_open() -> None:
    of = Way()
    of.says(hit=True, audited=True)
    of.desks.hold = asyncio.Event()
    asked = asyncio.create_task(of.ask())
    await of.desks.begun.wait()
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    of.desks.hold.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert of.learnt() == [None]
    assert of.street.places.held == 0


async def test_a_hit_that_nobody_reads_is_audited_all_the_same() -> None:
    of = Way(said("Canberra"))
    of.says(hit=True, audited=True)
    reply = await of.street.door.chat(asking(), of.street.admission)
    await reply.aclose()
    await of.likeness.idle()
    assert of.learnt() == [True]


class Tickets(Desks):
    """Gives each question a ticket of its own; every third is an audited hit."""

    def __init__(self) -> None:
        super().__init__(sought())
        self.open: dict[str, int] = {}

    async def seek(self, ask: Seek) -> Sought:
        number = len(self.asked)
        self.asked.append(ask)
        self.open[f"t-{number}"] = 0
        await asyncio.sleep(0)
        assert isinstance(self.says, Sought)
        hit = number % 3 == 0
        return msgspec.structs.replace(self.says, ticket=f"t-{number}", hit=hit, audited=hit)

    def learn(self, what: Learnt) -> None:
        self.open[what.ticket] += 1
        super().learn(what)


async def test_of_many_requests_that_end_in_every_way_each_ticket_is_answered_once() -> None:
    hold = asyncio.Event()
    endings: list[Sequence[Step] | PenstockError] = [
        said("Canberra"),
        PenstockError(errors.UPSTREAM_FAILED, "500"),
        [[piece("Can")], PenstockError(errors.UPSTREAM_BROKEN, "reset")],
        [[piece("Can")], hold, [piece("berra", "stop")]],
    ]
    desks = Tickets()
    of = Way(*(endings[number % 4] for number in range(400)), desks=desks)
    of.says()
    asks = [asyncio.create_task(of.ask(asking(request_id=f"req-{number}"))) for number in range(120)]
    for number, ask in enumerate(asks[::5]):
        # Each at another place of its way.
        if number % 3:
            await asyncio.sleep(0)
        ask.cancel()
    hold.set()
    ends = await asyncio.gather(*asks, return_exceptions=True)
    assert {type(end) for end in ends} >= {tuple, PenstockError, asyncio.CancelledError}
    await of.likeness.aclose()
    assert set(desks.open.values()) == {1}
    assert len(desks.open) > 60
    assert of.street.places.held == 0


async def test_whom_a_limit_refuses_costs_no_embedding_and_no_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise PenstockError(errors.RATE_LIMITED, "no more")

    of = Way()
    of.says(hit=True, audited=True, reason="serves")
    monkeypatch.setattr(Reserving, "open", refuse)
    with pytest.raises(PenstockError):
        await of.ask()
    assert (of.desks.asked, of.learnt(), of.street.rows()) == ([], [], [])
