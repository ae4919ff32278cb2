"""What the audit is told of a request: what its client said and saw, where the policy wants that, and else nothing."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.access.book import Book
from penstock.access.config import OnFailure
from penstock.assembly.counting import OwnCounting
from penstock.core.chat import Call, Kind, Sink
from penstock.core.errors import JOURNAL_FULL, UPSTREAM_BROKEN, UPSTREAM_FAILED, PenstockError
from penstock.core.identity import Capture
from penstock.core.policy import Policy, Retry
from penstock.core.serving import Service
from penstock.core.usage import Act, Audited, JournalRecord, Settled
from penstock.gateway.chat import Gateway
from penstock.gateway.means import Means
from penstock.gateway.prepare import Preparing
from penstock.gateway.reserve import Reserving
from penstock.gateway.settle import Settling
from penstock.gateway.snapshot import Admission
from tests.gateway.doubles import (
    OWNER,
    ROLE,
    USAGE,
    OpenPlaces,
    OpenRoad,
    Records,
    Samples,
    ScriptedEngine,
    ScriptedUpstream,
    Step,
    StillClock,
    call,
    piece,
    snapshot,
    trials,
    uncounted,
    unlearned,
)

CHAT = Service("chat", ("main",), policy=Policy(retry=Retry(attempts=1)))
PROMPT = b'[{"role":"user","content":"hi"}]'


class House:
    """A gateway with a policy, and the journal of its worker."""

    def __init__(
        self,
        engine: ScriptedEngine,
        policy: Capture = "content",
        project: Capture = "",
        journal: Records | None = None,
    ) -> None:
        clock = StillClock()
        self.journal = Records() if journal is None else journal
        means = Means(
            OwnCounting(Book(), "w0", clock), self.journal, clock,
            gateway="g", on_failure=OnFailure(), cap=4096, count=uncounted, capture=policy,
        )  # fmt: skip
        self.principal = msgspec.structs.replace(OWNER, capture=project)
        self.of = snapshot([CHAT], {"main": engine})
        self.gateway = Gateway(
            snapshots=lambda: self.of,
            traffic=OpenRoad(),
            places=OpenPlaces(),
            reserving=Reserving(means, "w0"),
            settle=Settling(clock, Samples()),
            doors=lambda: None,
            learn=unlearned,
            clock=clock,
            prepare=Preparing(),
            trials=trials(clock),
        )

    async def ask(self, asked: Call, most: int = 1000) -> list[bytes]:
        """What the client got, who reads ``most`` times and leaves then."""
        reply = await self.gateway.chat(asked, Admission(self.of, self.principal, "192.0.2.7"))
        got: list[bytes] = []
        try:
            while most and (chunks := await reply.read()):
                got += chunks
                most -= 1
        finally:
            await reply.aclose()
        return got

    def acts(self) -> list[Act]:
        return [record.act for record in self.journal if isinstance(record, Audited)]

    def said(self) -> Any:
        (act,) = self.acts()
        return json.loads(act.content)


def seen(chunks: Sequence[bytes]) -> dict[int, str]:
    """The text of each choice, as an SDK would put it together."""
    texts: dict[int, str] = defaultdict(str)
    for chunk in chunks:
        for choice in json.loads(chunk)["choices"]:
            said = choice.get("delta") or choice.get("message") or {}
            texts[choice["index"]] += (choice.get("text") or "") + (said.get("content") or "")
    return {index: text for index, text in texts.items() if text}


def kept(said: Any) -> dict[int, str]:
    return {choice["index"]: choice["content"]["text"] for choice in said["reply"] if "content" in choice}


def sha256(text: str | bytes) -> str:
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()


async def test_a_streamed_answer_is_kept_with_who_asked_from_where_and_how_it_ended() -> None:
    house = House(ScriptedEngine([[ROLE], [piece("Hel"), piece("lo")], [piece(finish="stop"), USAGE]]))
    got = await house.ask(call())
    (act,) = house.acts()
    assert (act.kind, act.actor, act.project, act.target) == ("content", "admin", "default", "chat")
    assert (act.action, act.outcome, act.address, act.request_id) == ("requests.answered", "ok", "192.0.2.7", "req-1")
    assert act.at == StillClock().wall()
    said = house.said()
    assert kept(said) == seen(got) == {0: "Hello"}
    assert said["reply"] == [
        {"index": 0, "content": {"bytes": 5, "sha256": sha256("Hello"), "text": "Hello"}, "finish_reason": "stop"}
    ]
    request = b'{"model":"chat","messages":' + PROMPT + b"}"
    assert said["request"] == {"bytes": len(request), "sha256": sha256(request), "json": json.loads(request)}


async def test_of_hashes_nothing_else_is_kept() -> None:
    house = House(ScriptedEngine([[piece("Hello")], [piece(finish="stop")]]), policy="hashes")
    await house.ask(call())
    said = house.said()
    assert said["reply"] == [
        {"index": 0, "content": {"bytes": 5, "sha256": sha256("Hello")}, "finish_reason": "stop"}
    ]
    assert set(said["request"]) == {"bytes", "sha256"}
    assert b"hi" not in house.acts()[0].content


@pytest.mark.parametrize(
    ("policy", "project", "kind"),
    [
        ("none", "", None),
        ("content", "none", None),
        ("none", "hashes", "hashes"),
        ("hashes", "content", "content"),
        ("content", "hashes", "hashes"),
    ],
)
async def test_a_project_has_the_last_word(policy: Capture, project: Capture, kind: str | None) -> None:
    house = House(ScriptedEngine([[piece("Hello")]]), policy, project)
    await house.ask(call())
    if kind is None:
        assert not house.acts()
    else:
        assert ("text" in house.said()["reply"][0]["content"]) is (kind == "content")


async def test_it_is_in_the_journal_behind_what_was_used_before_the_reply_is_closed() -> None:
    house = House(ScriptedEngine([[piece("Hello")]]))
    await house.ask(call())
    assert [type(record).__name__ for record in house.journal] == ["Opened", "Settled", "Audited"]
    settled, audited = house.journal[1:]
    assert isinstance(settled, Settled)
    assert isinstance(audited, Audited)
    assert settled.lease == audited.id


async def test_a_client_that_leaves_is_held_to_what_it_got() -> None:
    house = House(ScriptedEngine([[piece("on")], [piece(" and")], [piece(" never")]]))
    got = await house.ask(call(), most=2)
    assert kept(house.said()) == seen(got) == {0: "on and"}
    assert (house.acts()[0].action, house.acts()[0].outcome) == ("requests.left", "client_gone")


async def test_an_answer_that_breaks_is_kept_as_far_as_it_came() -> None:
    house = House(ScriptedEngine([[piece("half")], PenstockError(UPSTREAM_BROKEN, "reset")]))
    with pytest.raises(PenstockError):
        await house.ask(call())
    assert kept(house.said()) == {0: "half"}
    assert (house.acts()[0].action, house.acts()[0].outcome) == ("requests.failed", UPSTREAM_BROKEN.code)


async def test_of_an_attempt_that_came_to_nothing_the_prompt_is_kept_and_of_none_nothing() -> None:
    house = House(ScriptedEngine(PenstockError(UPSTREAM_FAILED, "500")))
    with pytest.raises(PenstockError):
        await house.ask(call())
    assert house.said()["reply"] == []
    assert house.said()["request"]["json"]["messages"] == json.loads(PROMPT)
    nowhere = House(ScriptedEngine())
    nowhere.of = msgspec.structs.replace(
        nowhere.of, deployment=msgspec.structs.replace(nowhere.of.deployment, replicas={"main": ()})
    )
    with pytest.raises(PenstockError):
        await nowhere.ask(call())
    assert not nowhere.acts(), "nothing was sent to anybody"


async def test_what_another_attempt_had_said_before_is_not_the_clients() -> None:
    engine = ScriptedEngine([[ROLE], PenstockError(UPSTREAM_BROKEN, "reset")], [[piece("second")]])
    house = House(engine)
    patient = Service("chat", ("main",), policy=Policy(retry=Retry(attempts=2)))
    house.of = snapshot([patient], {"main": engine}, copies=2)
    got = await house.ask(call())
    assert kept(house.said()) == seen(got) == {0: "second"}


async def test_whole_answers_completions_and_embeddings() -> None:
    whole = b'{"id":"x","model":"m","choices":[{"index":0,"message":{"content":"Hi","tool_calls":[{"id":"c1",' \
        b'"type":"function","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"stop"}]}'  # fmt: skip
    house = House(ScriptedEngine([[whole]]))
    await house.ask(call(stream=False))
    (choice,) = house.said()["reply"]
    assert choice["content"]["text"] == "Hi"
    assert choice["tool_calls"] == [
        {"id": "c1", "name": "f", "arguments": {"bytes": 2, "sha256": sha256("{}"), "text": "{}"}}
    ]
    legacy = b'{"id":"x","model":"m","choices":[{"index":0,"text":"once","finish_reason":"length"}]}'
    house = House(ScriptedEngine([[legacy]]))
    await house.ask(call(stream=False, kind=Kind.COMPLETION))
    assert kept(house.said()) == {0: "once"}
    vectors = b'{"model":"m","object":"list","data":[{"index":0,"embedding":[0.25,0.5]}]}'
    house = House(ScriptedEngine([[vectors]]))
    await house.ask(call(stream=False, kind=Kind.EMBEDDING))
    assert house.said()["reply"] == []
    assert b"0.25" not in house.acts()[0].content


class _Spring(ScriptedUpstream):
    async def pour(self, sink: Sink) -> None:
        while self._steps:
            step = self._steps.pop(0)
            assert isinstance(step, list)
            if not sink(step):
                return


class _Springs(ScriptedEngine):
    async def start(self, *asked: object, connect_s: float | None = None) -> _Spring:
        upstream = _Spring(self._answers.pop(0))  # type: ignore[arg-type]
        self.upstreams.append(upstream)
        return upstream


async def test_what_is_poured_is_kept_too_once() -> None:
    house = House(_Springs([[piece("a")], [piece("b")], [piece("c")], [piece("d"), USAGE]]))
    reply = await house.gateway.chat(call(), Admission(house.of, house.principal))
    got = list(await reply.read())

    def sink(chunks: Sequence[bytes]) -> bool:
        got.extend(chunks)
        return len(got) != 2

    await reply.pour(sink)
    got += await reply.read()
    await reply.pour(sink)
    assert not await reply.read()
    await reply.aclose()
    assert kept(house.said()) == seen(got) == {0: "abcd"}


texts = st.lists(
    st.lists(
        st.tuples(st.integers(0, 2), st.text(max_size=8), st.sampled_from(["content", "reasoning_content", "refusal"])),
        min_size=1, max_size=3,
    ),
    min_size=1, max_size=8,
)  # fmt: skip


@given(reads=texts, leaves_after=st.integers(1, 9), batch=st.booleans())
def test_what_is_kept_is_what_the_client_saw(
    reads: list[list[tuple[int, str, str]]], leaves_after: int, batch: bool
) -> None:
    steps: list[Step] = [[piece("begins")]]
    for read in reads:
        chunks = [
            json.dumps(
                {"id": "up", "model": "m", "choices": [{"index": index, "delta": {name: text}}]},
                separators=(",", ":"),
                ensure_ascii=batch,
            ).encode()
            for index, text, name in read
        ]
        steps.append(chunks)
    house = House(ScriptedEngine(steps))
    got = asyncio.run(house.ask(call(), most=leaves_after))
    told: dict[tuple[int, str], str] = defaultdict(str)
    for chunk in got:
        for choice in json.loads(chunk)["choices"]:
            for name, text in choice["delta"].items():
                told[choice["index"], name.removesuffix("_content")] += text or ""
    said = house.said()
    found = {
        (choice["index"], name): choice[name]
        for choice in said["reply"]
        for name in ("content", "reasoning", "refusal")
        if name in choice
    }
    assert {place: text["text"] for place, text in found.items()} == {k: v for k, v in told.items() if v}
    assert all(text["sha256"] == sha256(text["text"]) for text in found.values())
    assert all(text["bytes"] == len(text["text"].encode()) for text in found.values())


class _Full(Records):
    """Takes nothing that settles until there is room."""

    room = False

    def write(self, record: JournalRecord) -> None:
        if not self.room and isinstance(record, Settled | Audited):
            raise PenstockError(JOURNAL_FULL, "full")
        super().write(record)


async def test_where_the_journal_had_no_room_it_is_written_later() -> None:
    journal = _Full()
    house = House(ScriptedEngine([[piece("first")]], [[piece("second")]]), journal=journal)
    await house.ask(call())
    assert not house.acts()
    journal.room = True
    await house.ask(call())
    assert [kept(json.loads(act.content)) for act in house.acts()] == [{0: "first"}, {0: "second"}]
