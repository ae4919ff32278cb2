"""What is kept of a request: its facts, where its time went, and what was said, as policies have it."""

from __future__ import annotations

import asyncio
import json
import logging

import msgspec
import pytest

from penstock.core.chat import Kind
from penstock.core.errors import (
    INVALID_JSON,
    MODEL_NOT_FOUND,
    RATE_LIMITED,
    STOPPING,
    UPSTREAM_BROKEN,
    UPSTREAM_FAILED,
    PenstockError,
)
from penstock.core.policy import Hedge, History, Policy, Queue, Retry
from penstock.core.requests import Marks, RequestRecord
from penstock.core.serving import Service
from penstock.core.usage import Tokens
from penstock.gateway.capture import Transcript
from penstock.gateway.inside import inner
from penstock.gateway.recording import Recording
from penstock.gateway.tape import Tape
from tests.gateway.doubles import ROLE, USAGE, ScriptedEngine, piece
from tests.gateway.leasing import Turned, limit
from tests.gateway.recorded import ADA, Log, SlowEngine, asked, observing
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


# -- what is kept ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keep", "took_s", "kept"),
    [
        ({"others": 0}, 0.1, False),
        ({"others": 0, "slow_s": 0.05}, 0.1, True),
        ({"others": 0, "slow_s": 0.05, "slow": 0}, 0.1, False),
        ({}, 0.1, True),
    ],
)
async def test_shares_say_what_is_kept(keep: dict[str, float], took_s: float, kept: bool) -> None:
    clock = Turned()
    log = Log(clock, {"main": answering(clock, took_s, 0)}, settings=observing(keep=keep, content="all"))
    await log.ask()
    assert log.record.kept is kept
    assert bool(log.contents) is kept
    assert log.record.content == ("all" if kept else "none")


async def test_a_share_is_drawn_by_the_id_and_is_that_share() -> None:
    clock = Turned()
    settings = observing(keep={"others": 0.3}, content="sampled", content_share=0.1)
    many = 600
    log = Log(clock, {"main": SlowEngine(clock, *[ANSWER] * many)}, settings=settings)
    for number in range(many):
        await log.ask(asked(id=f"req-{number}"))
    kept = [record.request_id for record in log.records if record.kept]
    assert 0.2 * many < len(kept) < 0.4 * many
    drawn = [content.request_id for content in log.contents]
    assert 0.04 * many < len(drawn) < 0.17 * many
    assert set(drawn) <= set(kept)
    assert {record.request_id for record in log.records if record.content == "sampled"} == set(drawn)
    again = Log(clock, {"main": SlowEngine(clock, ANSWER)}, settings=settings)
    await again.ask(asked(id=kept[0]))
    assert again.record.kept


@pytest.mark.parametrize(
    ("gateway", "service", "project", "kept"),
    [
        ("none", "", "", "none"),
        ("none", "all", "all", "none"),
        ("all", "", "", "all"),
        ("all", "masked", "", "masked"),
        ("all", "masked", "all", "masked"),
        ("all", "", "none", "none"),
        ("masked", "all", "", "masked"),
        ("sampled", "all", "masked", "masked"),
        ("sampled", "", "", "sampled"),
    ],
)
async def test_of_several_policies_the_most_private_holds(
    gateway: str, service: str, project: str, kept: str
) -> None:
    clock = Turned()
    log = Log(
        clock,
        {"main": SlowEngine(clock, [[piece("I am jane@example.com", "stop")], [USAGE]])},
        services=[Service("chat", ("main",), content=service)],
        settings=observing(content=gateway, content_share=1.0),
        who=msgspec.structs.replace(ADA, log=project),
    )
    await log.ask(asked("mail jane@example.com"))
    assert log.record.content == kept
    if kept == "none":
        assert not log.contents
        return
    request, reply = log.said()
    masked = kept == "masked"
    mail = "[EMAIL]" if masked else "jane@example.com"
    assert request == {"model": "chat", "messages": [{"role": "user", "content": f"mail {mail}"}]}
    assert reply[0]["content"]["text"] == f"I am {mail}"
    assert "sha256" not in json.dumps(reply)
    (content,) = log.contents
    assert content.masked is masked
    assert (content.request_id, content.at, content.project) == ("req-1", log.record.at, "red")


async def test_what_is_said_piece_by_piece_is_masked_as_a_whole_and_a_key_of_ours_never_stays() -> None:
    clock = Turned()
    key = "pk-ab12-" + "x" * 32
    steps = [[ROLE], [piece("jane@exa"), piece("mple.com")], [piece(finish="stop")]]
    log = Log(clock, {"main": SlowEngine(clock, steps)}, settings=observing(content="masked"))
    await log.ask()
    assert log.said()[1][0]["content"]["text"] == "[EMAIL]"
    log = Log(clock, {"main": SlowEngine(clock, steps)}, settings=EVERYTHING)
    await log.ask(asked(f"my key is {key}"))
    assert key.encode() not in log.contents[0].request


async def test_the_request_is_kept_as_the_client_sent_it_and_a_long_one_by_its_beginning() -> None:
    clock = Turned()
    service = Service("chat", ("main",), defaults=b'{"temperature":0.5}')
    log = Log(clock, {"main": answering(clock)}, services=[service], settings=EVERYTHING)
    await log.ask(asked(more=b'{ "tools" : [ ] }'))
    assert log.engines["main"].started[0][0].fields["temperature"] == msgspec.Raw(b"0.5")
    assert set(log.said()[0]) == {"model", "messages", "tools"}
    log = Log(clock, {"main": answering(clock)}, settings=EVERYTHING)
    await log.ask(asked("ä" * 300_000))
    request, _ = log.said()
    assert isinstance(request, str)
    assert request.startswith('{"model":"chat"')
    assert len(log.contents[0].request) < 400_000


async def test_what_is_no_utf_8_is_kept_as_what_is() -> None:
    clock = Turned()
    log = Log(clock, {"main": answering(clock)}, settings=EVERYTHING)
    fields = {**asked().fields, "x": msgspec.Raw(b'"\xff\xc3\xa4"')}
    await log.ask(msgspec.structs.replace(asked(), fields=fields))
    assert log.said()[0]["x"] == "\ufffdä"


async def test_vectors_are_not_kept() -> None:
    clock = Turned()
    answer = b'{"object":"list","data":[{"embedding":[0.1]}],"usage":{"prompt_tokens":5,"total_tokens":5}}'
    log = Log(clock, {"main": SlowEngine(clock, [[answer]])}, settings=EVERYTHING)
    await log.ask(asked(stream=False, kind=Kind.EMBEDDING))
    assert (log.record.kind, log.record.dialect, log.record.between_s) == ("embedding", "embeddings", None)
    assert log.said()[1] == []


async def test_what_the_gateway_asks_for_itself_is_internal_and_says_nothing() -> None:
    clock = Turned()
    log = Log(clock, {"main": answering(clock)}, settings=EVERYTHING, who=inner())
    await log.ask(asked(more=b'{"x":1}'))
    assert log.record.purpose == "internal"
    assert not log.contents
    history = History(tokens=150, policy="summarise", summariser="chat", summary_tokens=16)
    long = b'{"messages":[{"role":"user","content":"%b"},{"role":"user","content":"b"}]}' % (b"a" * 900)
    summary = b'{"choices":[{"index":0,"message":{"content":"short"},"finish_reason":"stop"}]}'
    services = [Service("talk", ("main",), policy=Policy(history=history)), Service("chat", ("main",))]
    log = Log(clock, {"main": SlowEngine(clock, [[summary]], ANSWER)}, services=services, settings=EVERYTHING)
    await log.ask(msgspec.structs.replace(asked(more=long), service="talk"))
    assert [(each.service, each.purpose, each.content) for each in log.records] == [
        ("chat", "internal", "none"),
        ("talk", "client", "all"),
    ]


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
        (b"{}", "x" * 500, "x" * 128),
    ],
)
async def test_whom_a_client_asks_for(more: bytes, user: str | None, subject: str) -> None:
    clock = Turned()
    log = Log(clock, {"main": answering(clock)})
    await log.ask(asked(user=user, more=more))
    assert log.record.subject == subject


@pytest.mark.parametrize(
    "chunks",
    [
        [],
        [piece("Hel"), piece("lö"), piece(finish="stop"), USAGE],
        [ROLE, piece("x" * 300_000)],
        [ROLE, piece("ä" * 200_000), piece("b")],
        [piece("Hel"), b"not json"],
        [
            b'{"choices":[{"index":0,"message":{"content":"a","tool_calls":[],"refusal":null},"finish_reason":"stop"}]}'
        ],
        [b'{"choices":[{"index":0,"message":{"content":null,"refusal":"no"},"finish_reason":"stop"}]}'],
        [b'{"choices":[{"index":1,"delta":{"content":"b"}},{"index":0,"delta":{"content":"a"}}]}'],
        [b'{"choices":[{"index":0,"delta":{"reasoning_content":"hm"}}]}', piece("so")],
        [b'{"choices":[{"text":"a"}]}', b'{"choices":[{"text":"b","finish_reason":"length"}]}'],
        [b'{"choices":[{"delta":{"tool_calls":[{"id":"c","function":{"name":"f","arguments":"{}"}}]}}]}'],
        [b'{"choices":[{"index":0,"delta":{}}]}'],
    ],
)
def test_the_quick_way_through_a_tape_reads_what_a_transcript_does(chunks: list[bytes]) -> None:
    tape, transcript = Tape(), Transcript(whole=True, hashed=False)
    tape.take(chunks)
    transcript.take(chunks)
    assert tape.reply() == transcript.reply()


def test_a_tape_reads_on_its_way_what_would_be_much_to_hold() -> None:
    tape = Tape()
    for _ in range(3000):
        tape.take([piece("word "), piece("word ")])
    assert sum(map(len, tape._chunks)) < 600_000
    (choice,) = json.loads(tape.reply())
    assert choice["content"]["text"] == "word " * 6000


async def test_the_dialect_is_that_of_the_route() -> None:
    clock = Turned()
    log = Log(clock, {"main": answering(clock)})
    await log.ask(asked(dialect="responses"))
    assert log.record.dialect == "responses"
