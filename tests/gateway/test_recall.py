"""The way of a request whose answer is there already, or will be: what the client gets, what it costs, who waits."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from penstock.core.caching import CachePolicy, Invalidation
from penstock.core.errors import (
    BAD_REQUEST,
    DEADLINE_EXCEEDED,
    NOT_CACHED,
    UPSTREAM_FAILED,
    PenstockError,
)
from penstock.core.policy import Terms
from tests.gateway.doubles import OWNER, Step, piece
from tests.gateway.recalling import COST, EXACT, RED, asked, heard, street, terms, text
from tests.gateway.releasing import said


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
async def test_who_goes_past_is_told_why(fields: dict[str, Any], why: str) -> None:
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


async def test_who_takes_no_answer_that_is_there_does_not_wait_for_one() -> None:
    wait = asyncio.Event()
    of = street([wait, *said("slow")], said("new"), said("new"))
    first = asyncio.create_task(heard(of))
    await of.engines["main"].until_started(1)
    for control in ("max-age=0", "min-fresh=10000"):
        reply, chunks = await heard(of, asked("req-2"), terms(control))
        assert (reply.headers["x-penstock-cache"], text(chunks)) == ("refresh", "new")
    of.clock.time += 1
    with pytest.raises(PenstockError) as caught:
        await heard(of, asked("req-3"), terms("only-if-cached, max-age=0"))
    assert caught.value.fault is NOT_CACHED
    wait.set()
    await first


async def test_when_two_have_failed_the_others_do_not_go_one_after_the_other() -> None:
    down, third = PenstockError(UPSTREAM_FAILED, "down"), asyncio.Event()
    gates = [asyncio.Event() for _ in range(2)]
    of = street(*([gate, down] for gate in gates), *([third, down] for _ in range(8)))
    asks = [asyncio.create_task(heard(of, asked(f"req-{n}"))) for n in range(10)]
    for count, gate in enumerate(gates, 1):
        await of.engines["main"].until_started(count)
        assert len(of.engines["main"].started) == count
        gate.set()
    await of.engines["main"].until_started(10)
    third.set()
    done = await asyncio.gather(*asks, return_exceptions=True)
    assert all(isinstance(each, PenstockError) and each.fault is UPSTREAM_FAILED for each in done)


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


async def test_behind_one_key_each_person_has_its_own() -> None:
    of = street(said("ann's"), said("ben's"), said("nobody's"), cache=CachePolicy(exact=EXACT, per_caller=True))
    for who in ({"user": "ann"}, {"safety_identifier": "ben"}, {}):
        call = asked(**who)
        call = msgspec.structs.replace(call, user=who.get("user"))
        first, again = await heard(of, call), await heard(of, call)
        assert text(first[1]) == text(again[1]) == f"{next(iter(who.values()), 'nobody')}'s"


@pytest.mark.parametrize("tags", [b",".join(b"%d" % n for n in range(9)), b"x" * 129])
async def test_an_answer_with_tags_that_nobody_could_name_is_not_kept(tags: bytes) -> None:
    of = street(said("a"), said("b"))
    for expected in ("a", "b"):
        reply, chunks = await heard(of, on=Terms(headers={b"x-penstock-cache-tags": tags}))
        assert (reply.headers["x-penstock-cache"], text(chunks)) == ("bypass; why=tags", expected)


@pytest.mark.parametrize(("tag", "sent"), [("mine", b"mine"), ("größe", "größe".encode()), ("größe", b"gr\xf6\xdfe")])
async def test_what_was_invalidated_is_not_served_and_tags_name_it(tag: str, sent: bytes) -> None:
    of = street(said("a"), said("b"), cache=CachePolicy(exact=EXACT, tags=["faq"]))
    await heard(of, on=Terms(headers={b"x-penstock-cache-tags": sent + b", yours"}))
    record = Invalidation(scope="tag", value=tag, at=of.clock.wall())
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
