"""What is kept of a request: its facts, where its time went, and what was said, as policies have it."""

from __future__ import annotations

import asyncio
import logging

import msgspec
import pytest

from penstock.core.errors import (
    BAD_REQUEST,
    INVALID_JSON,
    MODEL_NOT_FOUND,
    RATE_LIMITED,
    STOPPING,
    UPSTREAM_BROKEN,
    UPSTREAM_FAILED,
    PenstockError,
)
from penstock.core.policy import Hedge, Policy, Queue, Retry
from penstock.core.requests import Marks, RequestRecord, subject_named
from penstock.core.serving import Service
from penstock.core.usage import Tokens
from penstock.gateway.record import LONGEST_MESSAGE
from penstock.gateway.recording import Recording
from tests.gateway.doubles import ROLE, USAGE, ScriptedEngine, piece
from tests.gateway.leasing import Turned, limit
from tests.gateway.recorded import Log, SlowEngine, asked, observing
from tests.gateway.releasing import CANDIDATE, mirrored, said, shared, watched

ANSWER = [[ROLE], [piece("Hel"), piece("lo")], [piece(finish="stop"), USAGE]]
QUEUED = Policy(retry=Retry(attempts=1), queue=Queue(concurrency=2))
EVERYTHING = observing(content="all")


def answering(clock: Turned, start_s: float = 0.2, read_s: float = 0.1) -> SlowEngine:
    return SlowEngine(clock, ANSWER, start_s=start_s, read_s=read_s)


async def test_the_facts_of_a_stream_and_where_its_time_went() -> None:
    clock = Turned()
    log = Log(clock, {"main": answering(clock)}, services=[Service("chat", ("main",), policy=QUEUED)], wait_s=0.5)
    at = clock.wall()
    await log.ask(asked(user="customer-7"))
    record = log.record
    assert msgspec.structs.astuple(record.marks) == pytest.approx((0.0, 0.0, 0.0, 0.0, 0.5, 0.9, 1.0))
    (attempt,) = record.attempts
    assert (attempt.began_s, attempt.first_s, attempt.ended_s) == pytest.approx((0.5, 0.9, 1.0))
    assert (record.duration_s, record.first_chunk_s, record.queued_s) == pytest.approx((1.0, 0.9, 0.5))
    assert record.between_s == pytest.approx(0.1 / 2)
    assert record.overhead_s == pytest.approx(0.0)
    plain = msgspec.structs.replace(
        record,
        marks=Marks(),
        attempts=(),
        duration_s=0,
        first_chunk_s=None,
        queued_s=None,
        between_s=None,
        overhead_s=0,
    )
    assert plain == RequestRecord(
        request_id="req-1",
        at=at,
        gateway="gw",
        worker=3,
        project="red",
        key_id="k1",
        user="u_ada",
        team="ops",
        subject="customer-7",
        asked="chat",
        service="chat",
        model="main",
        replica="main-0",
        kind="chat",
        dialect="chat/completions",
        stream=True,
        ending="complete",
        status=200,
        tokens=Tokens(input=7, cached_read=2, output=3),
    )
    assert not log.contents


async def test_what_the_gateway_takes_for_itself_is_the_rest() -> None:
    clock = Turned()
    log = Log(clock, {"main": answering(clock)})
    prepare = log.door._prepare

    async def slowly(*given: object) -> object:
        clock.time += 0.03
        return await prepare(*given)  # type: ignore[arg-type]

    log.door._prepare = slowly  # type: ignore[assignment]
    await log.ask()
    assert log.record.overhead_s == pytest.approx(0.03)
    assert log.record.marks.prepared == pytest.approx(0.03)


async def test_what_was_tried_and_failed_is_told() -> None:
    clock = Turned()
    broken = PenstockError(UPSTREAM_FAILED, "The upstream of jane@example.com said 500")
    service = Service("chat", ("main", "spare"), policy=Policy(retry=Retry(attempts=1)))
    log = Log(clock, {"main": SlowEngine(clock, broken, start_s=0.3), "spare": answering(clock)}, services=[service])
    await log.ask()
    record = log.record
    assert (record.model, record.ending, record.status) == ("spare", "complete", 200)
    first, second = record.attempts
    assert (first.model, first.code, first.message) == (
        "main",
        UPSTREAM_FAILED.code,
        "The upstream of [EMAIL] said 500",
    )
    assert first.ended_s == pytest.approx(0.3)
    assert first.first_s is None
    assert second.began_s == pytest.approx(0.3)
    assert record.overhead_s == pytest.approx(0.0)


async def test_the_slower_of_two_attempts_ends_when_it_is_left() -> None:
    clock = Turned()
    engine = ScriptedEngine(asyncio.Event(), ANSWER)
    service = Service("chat", ("main", "spare"), policy=Policy(hedge=Hedge(after_s=0.02)))
    log = Log(clock, {"main": engine, "spare": SlowEngine(clock, ANSWER, read_s=0.1)}, services=[service])
    await log.ask()
    record = log.record
    assert record.model == "spare"
    assert [(each.model, each.code) for each in record.attempts] == [("main", ""), ("spare", "")]
    assert record.attempts[0].ended_s < record.duration_s == record.attempts[1].ended_s


async def test_a_stream_that_breaks_and_a_client_that_leaves() -> None:
    clock = Turned()
    log = Log(clock, {"main": SlowEngine(clock, [[ROLE], [piece("a")], PenstockError(UPSTREAM_BROKEN, "reset")])})
    with pytest.raises(PenstockError):
        await log.ask()
    record = log.record
    assert (record.ending, record.status, record.code, record.message) == (
        "failed", UPSTREAM_BROKEN.status, UPSTREAM_BROKEN.code, "reset",
    )  # fmt: skip
    assert record.estimated
    assert record.between_s is None
    clock = Turned()
    log = Log(clock, {"main": answering(clock)})
    await log.ask(most=1)
    assert (log.record.ending, log.record.status) == ("client_gone", 499)


async def test_who_is_refused_is_recorded_as_far_as_is_known() -> None:
    clock = Turned()
    log = Log(clock, {"main": answering(clock)}, limits=(limit(amount=0),))
    with pytest.raises(PenstockError):
        await log.ask()
    record = log.record
    assert (record.status, record.code, record.service) == (429, RATE_LIMITED.code, "chat")
    assert record.marks.prepared is not None
    assert record.marks.reserved is None
    assert record.tokens is None
    unknown = msgspec.structs.replace(asked(), service="nobody" * 100)
    log = Log(clock, {"main": answering(clock)})
    with pytest.raises(PenstockError):
        await log.ask(unknown)
    record = log.record
    assert (record.code, record.service, record.asked) == (MODEL_NOT_FOUND.code, "", unknown.service[:256])
    assert (record.project, record.key_id) == ("red", "k1")
    assert record.marks.assigned is None
    log = Log(clock, {"main": answering(clock)}, shut=PenstockError(STOPPING, "Stopping."))
    with pytest.raises(PenstockError):
        await log.ask()
    assert (log.record.code, log.record.marks.admitted) == (STOPPING.code, None)


def test_a_request_that_cannot_be_read_is_recorded() -> None:
    clock = Turned()
    log = Log(clock, {"main": answering(clock)})
    log.door.refused(
        "req-9", log.admission, PenstockError(INVALID_JSON, "No JSON."), took_s=0.25, dialect="embeddings"
    )
    record = log.record
    assert (record.request_id, record.project, record.key_id) == ("req-9", "red", "k1")
    assert (record.status, record.code, record.ending, record.dialect) == (
        400,
        INVALID_JSON.code,
        "failed",
        "embeddings",
    )
    assert (record.at, record.duration_s) == (clock.wall() - 0.25, 0.25)


async def test_a_gateway_that_records_nothing_answers_all_the_same() -> None:
    clock = Turned()
    log = Log(clock, {"main": answering(clock)})
    log.door._recording = None
    assert len(await log.ask()) == 4
    log.door.refused("req-9", log.admission, PenstockError(INVALID_JSON, "No JSON."), took_s=0.1)
    assert not log.kept


async def test_a_fault_in_recording_is_said_and_ends_no_request(caplog: pytest.LogCaptureFixture) -> None:
    clock = Turned()
    log = Log(clock, {"main": answering(clock)})

    def fail(_: object) -> None:
        raise RuntimeError("no spool")

    log.door._recording = Recording(fail, clock, gateway="g", worker=0, settings=EVERYTHING)
    with caplog.at_level(logging.ERROR):
        assert len(await log.ask()) == 4
    assert "req-1 is missing in the log" in caplog.text


async def test_a_rollout_goes_in_and_its_copies_are_internal() -> None:
    clock = Turned()
    service = shared(mirror=mirrored(), watched=watched(), ranges=shared().assignment.ranges)  # type: ignore[union-attr]
    engines = {"main": ScriptedEngine(*[said()] * 9), "next": ScriptedEngine(*[said()] * 9)}
    log = Log(clock, dict(engines), services=[service])
    for user in "abcdefgh":
        await log.ask(asked(user=user, id=f"req-{user}"))
    mine = [each for each in log.records if each.purpose == "client"]
    copies = [each for each in log.records if each.purpose == "internal"]
    assert {each.rollout for each in mine} == {"ro_1"}
    assert {each.release for each in mine} > {CANDIDATE}
    assert copies
    assert all(each.request_id.endswith(":copy") and each.release == CANDIDATE for each in copies)


@pytest.mark.parametrize(
    ("more", "user", "subject"),
    [
        (b'{"safety_identifier":"s-1"}', "u-1", "s-1"),
        (b'{"safety_identifier":""}', "u-1", "u-1"),
        (b'{"safety_identifier":7}', "u-1", "u-1"),
        (b"{}", None, ""),
        (b"{}", "x" * 128, "x" * 128),
        (b"{}", "x" * 500, subject_named("x" * 500)),
    ],
)
async def test_whom_a_client_asks_for(more: bytes, user: str | None, subject: str) -> None:
    clock = Turned()
    log = Log(clock, {"main": answering(clock)})
    await log.ask(asked(user=user, more=more))
    assert log.record.subject == subject


async def test_secrets_in_messages_and_in_names_of_services_that_are_not_are_masked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    key = "sk-proj-abcdefghijklmnop1234"
    clock = Turned()
    # A key that the end of what is kept would cut in two.
    log = Log(clock, {"main": ScriptedEngine(PenstockError(BAD_REQUEST, f"{'x' * (LONGEST_MESSAGE - 10)} {key}"))})
    with pytest.raises(PenstockError):
        await log.ask()
    assert "sk-" not in log.record.message
    assert "sk-" not in log.record.attempts[0].message
    assert "[KEY]" in caplog.text
    assert "sk-" not in caplog.text
    with pytest.raises(PenstockError):
        await log.ask(msgspec.structs.replace(asked(), service=f"chat {key} for jane@example.com"))
    assert log.records[-1].asked == "chat [KEY] for [EMAIL]"


async def test_the_dialect_is_that_of_the_route() -> None:
    clock = Turned()
    log = Log(clock, {"main": answering(clock)})
    await log.ask(asked(dialect="responses"))
    assert log.record.dialect == "responses"
