"""Whether the answer to another question serves a request: who is asked, and what the desk hears of it, exactly once."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable

import msgspec
import pytest

from penstock.caches.answers import unpacked
from penstock.caches.embeddings import Vector
from penstock.core import errors
from penstock.core.caching import Agreement, CachePolicy, DeskScope, Entry, Semantic, Sought, subject_digest
from penstock.core.errors import PenstockError
from penstock.core.policy import Policy
from penstock.core.serving import Service
from penstock.gateway import likeness_seeking
from penstock.gateway.likeness import Near
from tests.gateway.doubles import OWNER, ScriptedEngine, piece
from tests.gateway.likening import DIMENSIONS, HIT, MISS, RELEASE, UNAUDITED, Likening, asking, entry, sought
from tests.gateway.releasing import said

# -- asking ------------------------------------------------------------------------------------------------------------


async def test_a_question_is_asked_of_its_scope_as_a_vector_of_length_1() -> None:
    here = Likening(MISS)
    near = await here.near(asking("one two two"))
    (ask,) = here.desks.asked
    assert ask.scope == DeskScope("default", "chat")
    assert (ask.release, ask.request_id, ask.text, ask.may_hit) == (RELEASE, "req-1", "one two two", True)
    assert here.words.asked == [("embed", ("one two two",))]
    values = Vector(ask.vector).values()
    assert len(values) == DIMENSIONS
    assert sum(each * each for each in values) == pytest.approx(1.0)
    assert (near.entry, near.distance, near.confidence, near.reason) == (None, 0.1, 0.9, "risk")


async def test_each_caller_has_a_scope_of_its_own_where_the_service_wants_that() -> None:
    apart = CachePolicy(semantic=Semantic(max_error=0.02), per_caller=True)
    here = Likening(MISS, service=Service("chat", ("main",), policy=Policy(cache=apart)))
    here.street.admission = msgspec.structs.replace(
        here.street.admission, principal=msgspec.structs.replace(OWNER, user="ada")
    )
    await here.near()
    here.street.admission = msgspec.structs.replace(here.street.admission, principal=OWNER)
    await here.near()
    callers = [ask.scope.caller for ask in here.desks.asked]
    assert callers == [subject_digest("ada"), subject_digest("admin")]


async def test_what_is_past_the_cache_says_why_and_reaches_no_desk() -> None:
    here = Likening(MISS)
    for call, service, why in (
        (asking("Where is my order?"), here.service, "own"),
        (asking(), here.service, ""),
        (asking(), Service("chat", ("main",)), "off"),
    ):
        assert here.all.past(call, service, call) == why
    assert await here.seek(asking("Where is my order?")) is None
    assert (here.desks.asked, here.words.asked) == ([], [])


@pytest.mark.parametrize("stream", [True, False])
async def test_a_hit_serves_streaming_or_not(stream: bool) -> None:
    here = Likening(UNAUDITED)
    near = await here.near(asking(stream=stream))
    assert near.entry == entry()
    near.given()
    await here.rest()
    # Nobody audits it, so nothing can be learnt, and nothing was made.
    assert (here.learnt(), here.desks.taught, here.street.engines["main"].started) == ([], [], [])


async def test_nobody_can_tell_when_the_text_is_not_embedded() -> None:
    here = Likening(MISS)
    here.words.fails = PenstockError(errors.UPSTREAM_FAILED, "500")
    assert await here.seek() is None
    assert here.desks.asked == []
    assert here.street.meter.total("penstock_cache_unsought", "embedding") == 1


async def test_what_is_embedded_is_forgotten_with_whom_it_was_for() -> None:
    here = Likening(MISS, agreement=Agreement())
    (await here.near(asking(user="ada"))).made(entry("Sydney"))
    here.desks.says = sought(entry(subject="bob"), ticket="t-2")
    (await here.near(asking(user="ada"))).made(entry("Sydney"))
    await here.rest()
    ada = subject_digest("ada")
    assert here.words.subjects == [ada, ada, ada, "", ada, "bob"]


async def test_nor_when_there_is_nobody_who_embeds() -> None:
    here = Likening(MISS, embedder="gone")
    assert await here.seek() is None
    assert here.words.asked == []
    assert here.street.meter.total("penstock_cache_unsought", "embedding") == 1


async def test_nor_by_a_vector_of_no_direction() -> None:
    here = Likening(MISS)
    here.words.weight = 0.0
    assert await here.seek() is None
    assert here.desks.asked == []


async def test_nor_when_the_supervisor_does_not_say_who_is_then_left_alone_for_a_moment() -> None:
    here = Likening(PenstockError(errors.INTERNAL, "away"))
    for _ in range(10):
        assert await here.seek() is None
    assert here.street.meter.total("penstock_cache_unsought", "desk") == len(here.desks.asked) == 3
    assert here.street.meter.total("penstock_cache_unsought", "resting") == 7
    here.desks.says = MISS
    here.street.clock.time += 1.0
    for _ in range(10):
        assert await here.seek() is not None


async def test_a_text_that_cannot_be_embedded_is_no_reason_to_rest() -> None:
    here = Likening(MISS)
    here.words.fails = PenstockError(errors.CONTEXT_LENGTH_EXCEEDED, "too long")
    for _ in range(10):
        assert await here.seek() is None
    here.words.fails = None
    assert await here.seek() is not None


@pytest.mark.parametrize("gone", [False, True])
async def test_what_a_desk_says_too_late_is_answered_too(gone: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(likeness_seeking, "WITHIN_S", 10.0 if gone else 0.01)
    here = Likening(HIT)
    here.desks.hold = asyncio.Event()
    asked = asyncio.create_task(here.seek())
    await here.desks.begun.wait()
    if gone:
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
    else:
        assert await asked is None
        assert here.street.meter.total("penstock_cache_unsought", "late") == 1
    assert here.learnt() == []
    here.desks.hold.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert here.learnt() == [("t-1", None)]
    await here.all.aclose()


# -- what may not serve ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        entry(at=1_800_000_000.0 - 3601.0),
        entry(release="other"),
        entry(project="other"),
        entry(chunks=(b"{}",)),
        entry(chunks=(piece("", "stop"),)),
    ],
)
async def test_a_hit_that_may_not_be_served_is_a_miss_that_is_lost_at_once(bad: Entry) -> None:
    here = Likening(sought(bad, hit=True, audited=True))
    near = await here.near()
    assert (near.entry, near.reason, here.learnt()) == (None, "gone", [("t-1", None)])
    near.made(entry("Canberra"))
    await here.rest()
    assert here.learnt() == [("t-1", None)]
    assert len(here.desks.taught) == 1


async def test_damaged_or_invalidated_it_is_the_same() -> None:
    here = Likening(sought(hit=True, audited=True))
    here.desks.says = msgspec.structs.replace(HIT, entry=b"\x00junk")
    assert (await here.near()).entry is None
    here.desks.says = HIT
    here.invalid.append(entry())
    assert (await here.near()).entry is None
    assert here.learnt() == [("t-1", None)] * 2


async def test_a_time_to_live_that_was_lowered_holds_for_what_is_there() -> None:
    here = Likening(UNAUDITED, ttl_s=60.0)
    here.street.clock.time += 61.0
    assert (await here.near()).entry is None


# -- what is learnt ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("answer", "same"), [("canberra!", True), ("Sydney", False)])
async def test_a_miss_is_compared_with_the_nearest_and_taught(answer: str, same: bool) -> None:
    here = Likening(MISS, ttl_s=7200.0)
    near = await here.near()
    made = entry(answer, key=b"m" * 20, stale_for_s=9.0, fallback_for_s=8.0)
    near.made(made)
    await here.rest()
    assert here.learnt() == [("t-1", same)]
    (taught,) = here.desks.taught
    (ask,) = here.desks.asked
    assert (taught.scope, taught.release, taught.semantic, taught.text, taught.rest, taught.vector) == (
        ask.scope,
        ask.release,
        ask.semantic,
        ask.text,
        ask.rest,
        ask.vector,
    )
    kept = unpacked(taught.entry)
    assert kept is not None
    assert kept == msgspec.structs.replace(
        made, fresh_for_s=7200.0, stale_for_s=0.0, fallback_for_s=0.0, streamed=False, chunks=kept.chunks
    )
    (chunk,) = kept.chunks
    assert json.loads(chunk)["choices"][0]["message"]["content"] == answer
    assert here.street.meter.total("penstock_cache_comparisons", "same" if same else "different") == 1


async def test_where_nothing_is_near_the_answer_is_taught_all_the_same() -> None:
    here = Likening(sought(ticket="", distance=None, confidence=None, reason="alone"))
    (await here.near()).made(entry())
    await here.rest()
    assert (here.learnt(), len(here.desks.taught)) == ([], 1)


async def test_what_is_no_text_is_neither_compared_nor_taught() -> None:
    here = Likening(MISS)
    called = b'{"choices":[{"index":0,"message":{"tool_calls":[{"id":"c","function":{"name":"f","arguments":""}}]}}]}'
    (await here.near()).made(entry(chunks=(called,), streamed=False))
    await here.rest()
    assert (here.learnt(), here.desks.taught) == ([("t-1", None)], [])


@pytest.mark.parametrize(("answer", "same"), [("Canberra Canberra it", True), ("Canberra it is", False)])
async def test_similar_answers_are_the_same_by_their_embeddings(answer: str, same: bool) -> None:
    """Cosines of 2 / sqrt 5 = .894 and 1 / sqrt 3 = .577."""
    here = Likening(MISS, agreement=Agreement(at_least=0.7))
    (await here.near()).made(entry(answer))
    await here.rest()
    assert here.words.asked[1:] == [("embed", (answer,)), ("embed", ("Canberra",))]
    assert here.words.names == ["req-1:like", "req-1:near:made", "req-1:near:kept"]
    assert here.learnt() == [("t-1", same)]


# -- races -------------------------------------------------------------------------------------------------------------

ENDS: tuple[Callable[[Near], None], ...] = (Near.given, lambda near: near.made(entry("Sydney")), Near.lost)


@pytest.mark.parametrize("says", [HIT, UNAUDITED, MISS, sought(hit=True), sought(reason="alone")])
@pytest.mark.parametrize("ends", list(itertools.product(range(3), repeat=2)))
@pytest.mark.parametrize("shut", [False, True])
async def test_every_ticket_is_answered_exactly_once(says: Sought, ends: tuple[int, int], shut: bool) -> None:
    here = Likening(says, main=ScriptedEngine(said("Canberra"), said("Canberra")))
    near = await here.near()
    for each in ends:
        ENDS[each](near)
    if not shut:
        await here.rest()
    await here.all.aclose()
    served = near.entry is not None and ends[0] == 0 and not says.audited
    assert len(here.desks.learnt) == (0 if served else 1)


async def test_what_is_open_when_the_worker_stops_is_lost() -> None:
    here = Likening(MISS)
    await here.near()
    await here.all.aclose()
    assert here.learnt() == [("t-1", None)]
