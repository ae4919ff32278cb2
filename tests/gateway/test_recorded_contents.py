"""What of a request is kept, and what of what was said, as shares and policies have it."""

from __future__ import annotations

import json

import msgspec
import pytest

from penstock.core.chat import Kind
from penstock.core.policy import History, Policy
from penstock.core.serving import Service
from penstock.gateway.capture import KEPT_BYTES, Transcript
from penstock.gateway.inside import inner
from penstock.gateway.tape import Tape
from tests.gateway.doubles import ROLE, USAGE, piece
from tests.gateway.leasing import Turned
from tests.gateway.recorded import ADA, Log, SlowEngine, asked, observing

ANSWER = [[ROLE], [piece("Hel"), piece("lo")], [piece(finish="stop"), USAGE]]
EVERYTHING = observing(content="all")


def answering(clock: Turned, start_s: float = 0.2, read_s: float = 0.1) -> SlowEngine:
    return SlowEngine(clock, ANSWER, start_s=start_s, read_s=read_s)


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
        ("none", "", "all", "none"),
        ("none", "all", "", "all"),
        ("none", "all", "all", "all"),
        ("none", "all", "masked", "masked"),
        ("all", "", "", "all"),
        ("all", "masked", "", "masked"),
        ("all", "masked", "all", "masked"),
        ("all", "none", "all", "none"),
        ("all", "", "none", "none"),
        ("masked", "all", "", "all"),
        ("masked", "all", "sampled", "sampled"),
        ("sampled", "all", "masked", "masked"),
        ("sampled", "", "", "sampled"),
    ],
)
async def test_a_service_has_its_own_word_and_a_project_may_make_it_more_private(
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


@pytest.mark.parametrize("before", range(0, 25, 4))
@pytest.mark.parametrize("said", ["jane.doe@example.com", "4111 1111 1111 1111", "pk-ab12-" + "x" * 32])
async def test_what_is_cut_leaves_no_half_of_what_would_be_masked(said: str, before: int) -> None:
    clock = Turned()
    words = "well " * 60_000
    request_room = KEPT_BYTES - before - len('{"model":"chat","messages":[{"role": "user", "content": "')
    prompt = f"{words[:request_room]} {said} {words}"
    answer = f"{words[: KEPT_BYTES - before]} {said} {words}"
    engine = SlowEngine(clock, [[ROLE], [piece(answer[:70_000]), piece(answer[70_000:])], [piece(finish="stop")]])
    log = Log(clock, {"main": engine}, settings=observing(content="masked"))
    await log.ask(asked(prompt))
    request, reply = log.said()
    kept = reply[0]["content"]["text"]
    assert KEPT_BYTES - 3000 < len(request) < KEPT_BYTES
    assert KEPT_BYTES - 3000 < len(kept) < KEPT_BYTES
    assert reply[0]["content"]["cut"]
    for text in (request.partition('"content"')[2], kept):
        assert not set(text) & set("jxp@0123456789")


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
