"""The way of a request whose answer is there already, or will be: what the client gets, what it costs, who waits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from penstock.caches.answers import Answers
from penstock.caches.chain import Chain
from penstock.caches.tier_memory import MemoryTier
from penstock.core.caching import CacheFallback, CachePolicy, Exact, Invalidation
from penstock.core.chat import Call, Kind
from penstock.core.clock import Clock
from penstock.core.errors import (
    BAD_REQUEST,
    DEADLINE_EXCEEDED,
    NOT_CACHED,
    UPSTREAM_FAILED,
    PenstockError,
)
from penstock.core.identity import Principal
from penstock.core.money import Price, Rates
from penstock.core.policy import Policy, Retry, Terms
from penstock.core.releases import WHOLE, Range
from penstock.core.serving import Service
from penstock.core.splice import members
from penstock.gateway.prepare import Preparing
from penstock.gateway.recall import Recall
from penstock.gateway.reply import Reply
from tests.caches.doubles import Sums
from tests.gateway.doubles import OWNER, ScriptedEngine, Step, piece
from tests.gateway.releasing import CANDIDATE, CHAMPION, OnePrice, Street, assignment, said, user_of

EXACT = Exact(ttl_s=60, stale_s=30)
PRICE = OnePrice(Price(model="main", rates=Rates(input=1_000_000, output=2_000_000)))
COST = 7 * 1000 + 10 * 2000
"""Of one answer, in nano-dollars."""
RED = Principal(key_id="k1", project="red", role="developer", permissions=frozenset({"call"}))


def chat_service(cache: CachePolicy, **more: object) -> Service:
    policy = Policy(retry=Retry(attempts=1), cache=cache)
    return Service("chat", ("main",), policy=policy, **more)  # type: ignore[arg-type]


def street(
    *answers: Sequence[Step] | PenstockError | asyncio.Event,
    cache: CachePolicy | None = None,
    services: Sequence[Service] = (),
    **engines: ScriptedEngine,
) -> Street:
    def recall(clock: Clock, prepare: Preparing) -> Recall:
        chain = Chain(MemoryTier(1 << 20, clock), clock=clock, meter=Sums())
        found.append(Answers(chain, clock=clock))
        return Recall(found[0], clock, prepare)

    found: list[Answers] = []
    made = Street(
        services or [chat_service(cache or CachePolicy(exact=EXACT))],
        {"main": ScriptedEngine(*answers), **engines},
        prices=PRICE,
        recall=recall,
    )
    made.answers = found[0]  # type: ignore[attr-defined]
    return made


def asked(id: str = "req-1", stream: bool = True, **fields: Any) -> Call:
    body = {"model": "chat", "messages": [{"role": "user", "content": "hi"}], "temperature": 0, **fields}
    return Call(id, Kind.CHAT, "chat", members(json.dumps(body).encode()), stream=stream)


def terms(control: str = "", **headers: str) -> Terms:
    said = {"cache-control": control} if control else {}
    return Terms(headers={name.encode(): value.encode() for name, value in {**said, **headers}.items()})


async def heard(of: Street, call: Call | None = None, on: Terms | None = None) -> tuple[Reply, list[bytes]]:
    reply = await of.door.chat(call or asked(), of.admission, on or Terms())
    chunks: list[bytes] = []
    try:
        while more := await reply.read():
            chunks.extend(more)
    finally:
        await reply.aclose()
    assert of.recall is not None
    await of.recall.idle()
    return reply, chunks


def text(chunks: Sequence[bytes]) -> str:
    return "".join(
        choice.get("delta", choice.get("message", {})).get("content") or ""
        for chunk in chunks
        for choice in msgspec.json.decode(chunk)["choices"]
    )


async def test_an_equal_request_gets_the_answer_and_pays_nothing() -> None:
    of = street(said("once"))
    first, _ = await heard(of)
    of.clock.time += 12
    second, chunks = await heard(of, asked("req-2", user="someone"))
    assert first.headers["x-penstock-cache"] == "miss"
    assert second.headers["x-penstock-cache"] == "hit; source=exact; age=12"
    assert len(second.headers["x-penstock-cache-key"]) == 40
    assert second.headers["x-penstock-attempts"] == "0"
    assert text(chunks) == "once"
    assert {msgspec.json.decode(chunk)["id"] for chunk in chunks} == {"chatcmpl-req-2"}
    assert {msgspec.json.decode(chunk)["model"] for chunk in chunks} == {"chat"}
    assert not any(b'"usage"' in chunk for chunk in chunks)
    assert len(of.engines["main"].started) == 1
    made, given = of.rows()
    assert (made.attempt, made.cache, made.cost_nano, made.saved_nano) == (1, "", COST, 0)
    assert (given.attempt, given.cache, given.cost_nano, given.saved_nano) == (0, "hit", 0, COST)
    assert (given.tokens.input, given.tokens.output, given.model) == (7, 10, "main")
    assert second.summary is not None
    assert (second.summary.cache, second.summary.cost_nano, second.summary.usage) == ("hit", 0, None)
    assert of.meter.total("penstock_cache_requests", "hit") == 1
    assert of.meter.total("penstock_cache_saved_dollars") == pytest.approx(COST / 1e9)
    assert of.meter.total("penstock_tokens") == 17
    assert of.places.held == 0


async def test_a_service_may_charge_a_share_of_what_the_answer_cost() -> None:
    of = street(said(), cache=CachePolicy(exact=EXACT, price_percent=10))
    await heard(of)
    reply, _ = await heard(of, asked("req-2"))
    assert (of.rows()[1].cost_nano, of.rows()[1].saved_nano) == (COST // 10, COST - COST // 10)
    assert reply.summary is not None
    assert reply.summary.cost_nano == COST // 10


async def test_a_stream_and_a_whole_answer_are_one_with_the_usage_of_when_it_was_made() -> None:
    of = street(said("once"))
    await heard(of)
    _, chunks = await heard(of, asked(stream=False))
    [whole] = [msgspec.json.decode(chunk) for chunk in chunks]
    assert whole["object"] == "chat.completion"
    assert whole["usage"]["total_tokens"] == 17
    assert text(chunks) == "once"
    wants_usage = msgspec.structs.replace(asked("req-3"), usage_chunk=True)
    _, chunks = await heard(of, wants_usage)
    last = msgspec.json.decode(chunks[-1])
    assert (last["usage"]["total_tokens"], last["usage"]["cost"]) == (17, 0)


async def test_a_hundred_at_once_cost_one() -> None:
    wait = asyncio.Event()
    of = street([wait, *said("once")])
    asks = [asyncio.create_task(heard(of, asked(f"req-{n}", stream=n % 2 == 0))) for n in range(100)]
    await of.engines["main"].until_started(1)
    wait.set()
    done = await asyncio.gather(*asks)
    assert len(of.engines["main"].started) == 1
    assert all(text(chunks) == "once" for _, chunks in done)
    verdicts = [reply.headers["x-penstock-cache"].split(";")[0] for reply, _ in done]
    assert (verdicts.count("miss"), verdicts.count("shared")) == (1, 99)
    assert sum(row.cost_nano for row in of.rows()) == COST


async def test_when_the_first_fails_or_leaves_the_next_one_asks() -> None:
    failed, gone = asyncio.Event(), asyncio.Event()
    of = street([failed, PenstockError(UPSTREAM_FAILED, "no")], [gone, *said("never")], said("third"))
    asks = [asyncio.create_task(heard(of, asked(f"req-{n}"))) for n in range(4)]
    await of.engines["main"].until_started(1)
    failed.set()
    await of.engines["main"].until_started(2)
    asks[1].cancel()
    done = await asyncio.gather(*asks, return_exceptions=True)
    assert isinstance(done[0], PenstockError)
    assert isinstance(done[1], asyncio.CancelledError)
    assert [text(each[1]) for each in done[2:] if isinstance(each, tuple)] == ["third", "third"]
    assert len(of.engines["main"].started) == 3


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"temperature": 1}, "sampled"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"seed": 7, "temperature": 1, "n": 1}, ""),
    ],
)
async def test_who_goes_past_is_told_why(fields: dict[str, object], why: str) -> None:
    of = street(said("a"), said("b"))
    await heard(of, asked(**fields))
    reply, _ = await heard(of, asked("req-2", **fields))
    expected = f"bypass; why={why}" if why else "hit; source=exact; age=0"
    assert reply.headers["x-penstock-cache"] == expected


async def test_a_client_may_want_a_new_answer_none_kept_or_nothing_else() -> None:
    of = street(said("a"), said("b"), said("c"))
    with pytest.raises(PenstockError) as refused:
        await heard(of, on=terms("only-if-cached"))
    assert refused.value.fault is NOT_CACHED
    assert text((await heard(of))[1]) == "a"
    reply, chunks = await heard(of, on=terms("no-cache"))
    assert (reply.headers["x-penstock-cache"], text(chunks)) == ("refresh", "b")
    reply, chunks = await heard(of, on=terms("only-if-cached"))
    assert (reply.headers["x-penstock-cache"].split(";")[0], text(chunks)) == ("hit", "b")
    reply, chunks = await heard(of, on=terms("no-store"))
    assert (reply.headers["x-penstock-cache"], text(chunks)) == ("bypass; why=no-store", "c")
    assert text((await heard(of))[1]) == "b"


async def test_a_stale_answer_is_served_at_once_and_made_anew_once_by_the_gateway_itself() -> None:
    of = street(said("old"), said("new"))
    await heard(of)
    of.clock.time += 70
    done = await asyncio.gather(*(heard(of, asked(f"req-{n}")) for n in range(20)))
    assert {text(chunks) for _, chunks in done} == {"old"}
    assert {reply.headers["x-penstock-cache"].split(";")[0] for reply, _ in done} == {"stale"}
    assert len(of.engines["main"].started) == 2
    assert text((await heard(of, asked("req-z")))[1]) == "new"
    [behind] = [row for row in of.rows() if row.purpose == "internal"]
    assert (behind.request_id, behind.project) == ("req-0:fresh", "_internal")


async def test_what_failed_to_be_made_anew_is_tried_again_at_the_next_request() -> None:
    of = street(said("old"), PenstockError(UPSTREAM_FAILED, "no"), said("new"))
    await heard(of)
    of.clock.time += 70
    assert text((await heard(of, asked("req-2")))[1]) == "old"
    assert text((await heard(of, asked("req-3")))[1]) == "old"
    assert text((await heard(of, asked("req-4")))[1]) == "new"


async def test_errors_and_answers_that_break_off_are_not_kept() -> None:
    broken: list[Step] = [[piece("half")], PenstockError(UPSTREAM_FAILED, "gone")]
    of = street(PenstockError(BAD_REQUEST, "no"), broken, said("whole"))
    for _ in range(2):
        with pytest.raises(PenstockError):
            await heard(of)
    assert text((await heard(of))[1]) == "whole"


async def test_an_answer_that_was_left_is_not_kept() -> None:
    of = street([[piece("half")], [piece("rest", "stop")]], said("whole"))
    reply = await of.door.chat(asked(), of.admission)
    await reply.read()
    await reply.aclose()
    assert text((await heard(of))[1]) == "whole"


async def test_what_a_fallback_answers_is_not_kept_as_the_models_own() -> None:
    policy = Policy(retry=Retry(attempts=1), cache=CachePolicy(exact=EXACT))
    service = Service("chat", ("main", "spare"), policy=policy)
    down = PenstockError(UPSTREAM_FAILED, "down")
    of = street(down, said("main"), services=[service], spare=ScriptedEngine(said("spare")))
    assert text((await heard(of))[1]) == "spare"
    assert text((await heard(of))[1]) == "main"


async def test_each_project_and_where_wanted_each_caller_has_its_own() -> None:
    of = street(said("red"), said("blue"))
    await heard(of)
    of.admission = msgspec.structs.replace(of.admission, principal=RED)
    assert text((await heard(of))[1]) == "blue"
    each = street(said("one"), said("two"), cache=CachePolicy(exact=EXACT, per_caller=True))
    await heard(each)
    other = msgspec.structs.replace(OWNER, key_id="another")
    each.admission = msgspec.structs.replace(each.admission, principal=other)
    assert text((await heard(each))[1]) == "two"


async def test_a_changed_prompt_or_model_is_another_answer() -> None:
    of = street(said("old"), said("new"))
    await heard(of)
    changed = chat_service(CachePolicy(exact=EXACT), defaults=b'{"top_p":0.5}')
    deployment = msgspec.structs.replace(of.snapshot.deployment, services={"chat": changed})
    of.snapshot = msgspec.structs.replace(of.snapshot, deployment=deployment)
    of.admission = msgspec.structs.replace(of.admission, snapshot=of.snapshot)
    assert text((await heard(of))[1]) == "new"


async def test_what_changes_while_an_answer_is_made_anew_is_not_kept_for_what_was_before() -> None:
    of = street(said("old"), said("other"), said("third"))
    await heard(of)
    of.clock.time += 70
    changed = chat_service(CachePolicy(exact=EXACT), defaults=b'{"top_p":0.5}')
    before = of.admission
    deployment = msgspec.structs.replace(of.snapshot.deployment, services={"chat": changed})
    of.snapshot = msgspec.structs.replace(of.snapshot, deployment=deployment)
    assert text((await heard(of, asked("req-2")))[1]) == "old"
    of.snapshot = before.snapshot
    reply, chunks = await heard(of, asked("req-3"))
    assert (reply.headers["x-penstock-cache"].split(";")[0], text(chunks)) == ("stale", "old")


async def test_releases_never_share_answers_and_their_hits_are_no_scores() -> None:
    policy = Policy(retry=Retry(attempts=1), cache=CachePolicy(exact=EXACT))
    variants = {
        CHAMPION: Service("chat", ("main",), policy=policy, release=CHAMPION),
        CANDIDATE: Service("chat", ("next",), policy=policy, release=CANDIDATE),
    }
    shared = Service("chat", ("main",), policy=policy, assignment=assignment(variants=variants))
    of = street(said("old"), services=[shared], next=ScriptedEngine(said("new")))

    def by(release: str, id: str) -> Call:
        return msgspec.structs.replace(asked(id), user=user_of(release))

    for n in range(3):
        assert text((await heard(of, by(CHAMPION, f"a{n}")))[1]) == "old"
        assert text((await heard(of, by(CANDIDATE, f"b{n}")))[1]) == "new"
    assert [row.release for row in of.rows() if not row.cache] == [CHAMPION, CANDIDATE]


async def test_an_old_answer_serves_when_every_attempt_fails() -> None:
    down = PenstockError(UPSTREAM_FAILED, "down")
    of = street(said("old"), down, down, cache=CachePolicy(exact=EXACT, fallback=CacheFallback(within_s=600)))
    await heard(of)
    of.clock.time += 300
    reply, chunks = await heard(of, asked("req-2"))
    assert text(chunks) == "old"
    assert reply.headers["x-penstock-cache"] == "fallback; source=exact; age=300"
    assert reply.summary is not None
    assert (reply.summary.cache, reply.summary.status) == ("fallback", 200)
    assert of.meter.total("penstock_attempts_failed") == 1
    of.clock.time += 400
    with pytest.raises(PenstockError) as failed:
        await heard(of, asked("req-3"))
    assert failed.value.fault is UPSTREAM_FAILED
    assert of.places.held == 0


async def test_another_release_of_the_split_may_serve_as_fallback() -> None:
    policy = Policy(retry=Retry(attempts=1), cache=CachePolicy(exact=EXACT, fallback=CacheFallback(within_s=600)))
    variants = {
        CHAMPION: Service("chat", ("main",), policy=policy, release=CHAMPION),
        CANDIDATE: Service("chat", ("next",), policy=policy, release=CANDIDATE),
    }
    shared = Service("chat", ("main",), policy=policy, assignment=assignment(variants=variants))
    down = PenstockError(UPSTREAM_FAILED, "down")
    of = street(said("old"), services=[shared], next=ScriptedEngine(down, down))
    await heard(of, msgspec.structs.replace(asked(), user=user_of(CHAMPION)))
    _, chunks = await heard(of, msgspec.structs.replace(asked("req-2"), user=user_of(CANDIDATE)))
    assert text(chunks) == "old"
    gone = msgspec.structs.replace(
        shared, assignment=msgspec.structs.replace(assignment(variants=variants), ranges=(Range(WHOLE, CANDIDATE),))
    )
    deployment = msgspec.structs.replace(of.snapshot.deployment, services={"chat": gone})
    of.admission = msgspec.structs.replace(
        of.admission, snapshot=msgspec.structs.replace(of.snapshot, deployment=deployment)
    )
    with pytest.raises(PenstockError):
        await heard(of, asked("req-3"))


async def test_a_clients_own_fault_has_no_fallback() -> None:
    of = street(
        said("old"),
        PenstockError(BAD_REQUEST, "no"),
        cache=CachePolicy(exact=Exact(ttl_s=60), fallback=CacheFallback()),
    )
    await heard(of)
    of.clock.time += 61
    with pytest.raises(PenstockError) as refused:
        await heard(of)
    assert refused.value.fault is BAD_REQUEST


async def test_what_was_invalidated_is_not_served_and_tags_name_it() -> None:
    of = street(said("a"), said("b"), cache=CachePolicy(exact=EXACT, tags=["faq"]))
    await heard(of, on=terms(**{"x-penstock-cache-tags": "mine, yours"}))
    record = Invalidation(scope="tag", value="mine", at=of.clock.wall())
    of.answers.invalidate((record,))  # type: ignore[attr-defined]
    of.clock.time += 1
    assert text((await heard(of))[1]) == "b"


async def test_who_waits_for_another_has_a_deadline_of_its_own() -> None:
    wait = asyncio.Event()
    of = street([wait, *said("late")], said("own"))
    first = asyncio.create_task(heard(of))
    await of.engines["main"].until_started(1)
    with pytest.raises(PenstockError) as late:
        await heard(of, asked("req-2"), Terms(timeout_s=0.02))
    assert late.value.fault is DEADLINE_EXCEEDED
    wait.set()
    assert text((await first)[1]) == "late"


async def test_a_hit_counts_as_a_request_and_no_tokens() -> None:
    of = street(said())
    await heard(of)
    await heard(of, asked("req-2"))
    assert of.meter.total("penstock_requests") == 2
    assert of.meter.total("penstock_request_tokens") == 17


async def test_which_answer_was_given_is_known_by_the_id_of_the_request() -> None:
    of = street(said())
    await heard(of)
    reply, _ = await heard(of, asked("req-2"))
    assert of.recall is not None
    assert of.recall.gave("req-2", "default") == reply.headers["x-penstock-cache-key"]
    assert of.recall.gave("req-2", "red") is None
    assert of.recall.gave("req-1", "default") is None
