"""The way of an embedding request of which some texts were embedded before: what it costs, and what the client gets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from penstock.caches.answers import Answers
from penstock.caches.chain import Chain
from penstock.caches.embeddings import Embeddings
from penstock.caches.tier_memory import MemoryTier
from penstock.core.caching import CachePolicy, Exact, Invalidation
from penstock.core.clock import Clock
from penstock.core.errors import NOT_CACHED, UPSTREAM_GARBLED, PenstockError
from penstock.core.money import Price, Rates
from penstock.core.policy import Policy, Retry, Terms
from penstock.core.serving import Service
from penstock.core.usage import Audited
from penstock.gateway.prepare import Preparing
from penstock.gateway.recall import Recall
from penstock.gateway.reply import Reply
from penstock.gateway.snapshot import Admission
from penstock.gateway.vectors import Vectors
from tests.caches.doubles import Sums
from tests.gateway.doubles import OWNER
from tests.gateway.embedding import Embedder, asks, numbers
from tests.gateway.releasing import OnePrice, Street

POLICY = Policy(retry=Retry(attempts=1), cache=CachePolicy(exact=Exact(ttl_s=60)))
PRICE = OnePrice(Price(model="main", rates=Rates(input=1_000_000, output=1)))
NANO = 1000
"""Of one token."""
TEXTS = [f"text {n}" for n in range(10)]


class Way:
    """A gateway with a cache, and what its model was asked for."""

    def __init__(self) -> None:
        def recall(clock: Clock, prepare: Preparing) -> Recall:
            chain = Chain(MemoryTier(1 << 20, clock), clock=clock, meter=Sums())
            self.answers = Answers(chain, clock=clock)
            vectors = Vectors(Embeddings(chain, clock=clock, ttl_s=60), self.answers, clock)
            return Recall(self.answers, clock, prepare, vectors=vectors)

        self.model = Embedder()
        self.street = Street(
            [Service("embed", ("main",), policy=POLICY)], {"main": self.model}, prices=PRICE, recall=recall
        )

    async def ask(
        self, texts: object, control: str = "", *, terms: Terms | None = None, **fields: Any
    ) -> tuple[Reply, dict[str, Any]]:
        call = asks(texts, f"req-{len(self.street.rows())}", **fields)
        terms = terms or Terms(headers={b"cache-control": control.encode()} if control else {})
        reply = await self.street.door.chat(call, self.street.admission, terms)
        chunks: list[bytes] = []
        try:
            while more := await reply.read():
                chunks += more
        finally:
            await reply.aclose()
        return reply, msgspec.json.decode(chunks[0])


def embedded(answer: dict[str, Any]) -> Sequence[object]:
    return [item["embedding"] for item in sorted(answer["data"], key=lambda item: item["index"])]


async def test_of_ten_texts_of_which_seven_are_known_three_are_paid_for() -> None:
    way = Way()
    await way.ask(TEXTS[3:])
    reply, answer = await way.ask(TEXTS)
    assert way.model.asked == [TEXTS[3:], TEXTS[:3]]
    assert embedded(answer) == [numbers(text) for text in TEXTS]
    assert answer["model"] == "embed"
    assert answer["usage"]["prompt_tokens"] == 18
    assert reply.headers["x-penstock-cache"] == "miss; known=7"
    first, second = way.street.rows()
    assert (first.tokens.input, second.tokens.input) == (42, 18)
    assert (second.cost_nano, second.attempt) == (18 * NANO, 1)
    assert way.street.places.held == 0


async def test_the_whole_answer_is_kept_for_an_equal_request() -> None:
    way = Way()
    await way.ask(TEXTS[3:])
    await way.ask(TEXTS)
    way.answers.invalidate((Invalidation(scope="tag", value="other", at=0.0),))
    reply, answer = await way.ask(TEXTS, user="somebody")
    assert reply.headers["x-penstock-cache"].startswith("hit; source=exact")
    assert embedded(answer) == [numbers(text) for text in TEXTS]
    assert len(way.model.asked) == 2


async def test_where_all_are_known_nobody_is_asked_and_nothing_is_paid() -> None:
    way = Way()
    await way.ask(TEXTS)
    way.street.clock.time += 9
    reply, answer = await way.ask(TEXTS[4::-1])
    assert reply.headers["x-penstock-cache"] == "hit; source=vectors; age=9"
    assert reply.headers["x-penstock-attempts"] == "0"
    assert embedded(answer) == [numbers(text) for text in TEXTS[4::-1]]
    assert answer["model"] == "embed"
    assert len(way.model.asked) == 1
    row = way.street.rows()[1]
    assert (row.attempt, row.cache, row.cost_nano, row.tokens.input) == (0, "hit", 0, 0)
    assert reply.summary is not None
    assert reply.summary.cache == "hit"
    only, _ = await way.ask(TEXTS[:2], "only-if-cached")
    assert only.headers["x-penstock-cache"] == "hit; source=vectors; age=9"


async def test_an_answer_of_vectors_alone_is_kept_by_nobody_as_one() -> None:
    way = Way()
    await way.ask(TEXTS)
    done = await asyncio.gather(*(way.ask(TEXTS[:5]) for _ in range(5)))
    assert {reply.headers["x-penstock-cache"] for reply, _ in done} == {"hit; source=vectors; age=0"}


async def test_what_a_client_has_tagged_is_kept_whole_alone() -> None:
    way = Way()
    tagged = Terms(headers={b"x-penstock-cache-tags": b"mine"})
    await way.ask(TEXTS[:5], terms=tagged)
    await way.ask(TEXTS[:5], terms=tagged)
    assert len(way.model.asked) == 1
    way.answers.invalidate((Invalidation(scope="tag", value="mine", at=way.street.clock.wall()),))
    way.street.clock.time += 1
    reply, _ = await way.ask(TEXTS[:5], terms=tagged)
    assert reply.headers["x-penstock-cache"] == "miss"
    assert len(way.model.asked) == 2


async def test_what_the_client_says_of_caches_holds_for_its_texts() -> None:
    way = Way()
    await way.ask(TEXTS)
    with pytest.raises(PenstockError) as caught:
        await way.ask([*TEXTS, "new"], "only-if-cached")
    assert caught.value.fault is NOT_CACHED
    for control, said in (("no-cache", "refresh"), ("no-store", "bypass; why=no-store")):
        reply, _ = await way.ask(TEXTS[:5], control)
        assert reply.headers["x-penstock-cache"] == said
        assert way.model.asked[-1] == TEXTS[:5]
    reply, _ = await way.ask(["secret"], "no-store")
    reply, _ = await way.ask(["secret", "also"])
    assert way.model.asked[-1] == ["secret", "also"]


async def test_equal_requests_at_once_wait_for_one_and_others_know_what_it_brought() -> None:
    way = Way()
    await way.ask(TEXTS[:5])
    done = await asyncio.gather(*(way.ask(TEXTS) for _ in range(20)))
    assert way.model.asked == [TEXTS[:5], TEXTS[5:]]
    assert all(embedded(answer) == [numbers(text) for text in TEXTS] for _, answer in done)


async def test_an_answer_that_cannot_be_put_together_is_none_and_is_not_kept() -> None:
    way = Way()
    await way.ask(TEXTS[:5])
    way.model.short_of = 1
    with pytest.raises(PenstockError) as caught:
        await way.ask(TEXTS)
    assert caught.value.fault is UPSTREAM_GARBLED
    way.model.short_of = 0
    reply, answer = await way.ask(TEXTS)
    assert reply.headers["x-penstock-cache"] == "miss; known=5"
    assert embedded(answer) == [numbers(text) for text in TEXTS]


async def test_tokens_in_the_place_of_texts_are_kept_by_whole_requests() -> None:
    way = Way()
    await way.ask(TEXTS[:2])
    call = [[1, 2], [3]]
    for verdict in ("miss", "hit; source=exact; age=0"):
        way.model.asked.clear()
        terms = Terms()
        reply = await way.street.door.chat(asks(call), way.street.admission, terms)
        await reply.read()
        await reply.aclose()
        assert reply.headers["x-penstock-cache"] == verdict
    assert way.model.asked == []


async def test_the_audit_has_all_that_the_client_asked() -> None:
    way = Way()
    way.street.admission = Admission(way.street.snapshot, msgspec.structs.replace(OWNER, capture="content"))
    await way.ask(TEXTS[3:])
    await way.ask(TEXTS)
    told = [record.act.content for record in way.street.journal if isinstance(record, Audited)]
    assert len(told) == 2
    assert json.dumps(TEXTS[0])[1:-1] in told[1].decode()
    assert TEXTS[9] in told[1].decode()
