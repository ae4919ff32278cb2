"""Conversations that are summarised: what the summariser is asked, what is kept, and what happens when it fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import cast

import pytest

from penstock.core.chat import Call, Kind
from penstock.core.errors import UPSTREAM_FAILED, PenstockError
from penstock.core.policy import History
from penstock.core.splice import joined
from penstock.gateway.history import checked, conversation, tokens
from penstock.gateway.snapshot import Admission
from penstock.gateway.summaries import MOST_KEPT, Summaries

NOBODY = cast(Admission, None)
HISTORY = History(tokens=400, policy="summarise", summariser="small", summary_tokens=40)
CALL = Call("req_1", Kind.CHAT, "chat", {}, user="ada")


Step = str | PenstockError | asyncio.Event


class Writer:
    """A service that writes one summary after the other; an error is raised, an event waited for."""

    def __init__(self, *answers: Step) -> None:
        self._answers = list(answers)
        self.asked: list[Call] = []
        self.closed = 0

    async def chat(self, call: Call, admission: Admission) -> Written:
        self.asked.append(call)
        return Written(self, self._answers.pop(0))


class Written:
    """One answer."""

    def __init__(self, writer: Writer, *steps: Step) -> None:
        self._writer = writer
        self._steps = list(steps)

    async def read(self) -> Sequence[bytes]:
        if not self._steps:
            return ()
        step = self._steps.pop()
        if isinstance(step, PenstockError):
            raise step
        if isinstance(step, asyncio.Event):
            await step.wait()
            return ()
        return [json.dumps({"choices": [{"message": {"role": "assistant", "content": step}}]}).encode()]

    async def aclose(self) -> None:
        self._writer.closed += 1


def talk(turns: int, size: int = 60) -> list[bytes]:
    said = [{"role": "system", "content": "Be kind."}]
    for number in range(turns):
        said += [{"role": "user", "content": f"{number} " + "x" * size}, {"role": "assistant", "content": "y" * size}]
    return [json.dumps(each).encode() for each in [*said, {"role": "user", "content": "And now?"}]]


async def shortened(summaries: Summaries, turns: int, history: History = HISTORY) -> list[dict[str, str]]:
    found = checked(conversation(talk(turns)), history.tokens)
    messages = await summaries.shortened(CALL, found, history, NOBODY)
    assert sum(map(tokens, messages)) <= history.tokens
    return [json.loads(each) for each in messages]


async def test_a_summary_stands_for_the_turns_that_are_left_out() -> None:
    writer = Writer(" They spoke of x. ")
    said = await shortened(Summaries(writer.chat), 8)
    assert said[0]["role"] == "system"
    assert said[1] == {"role": "user", "content": "Summary of our conversation so far:\nThey spoke of x."}
    assert said[2]["role"] == "assistant"
    assert [each["role"] for each in said[3:]] == ["user", "assistant"] * (len(said[3:]) // 2) + ["user"]
    assert said[-1]["content"] == "And now?"
    (asked,) = writer.asked
    body = json.loads(joined(asked.fields))
    assert (asked.service, asked.kind, asked.max_tokens, asked.stream) == ("small", Kind.CHAT, 40, False)
    assert (body["model"], body["max_tokens"], asked.request_id) == ("small", 40, "req_1-summary")
    left_out = json.loads(body["messages"][1]["content"])
    assert [each["content"][:2] for each in left_out[::2]] == [f"{n} " for n in range(len(left_out) // 2)]
    assert left_out[-1]["content"] == "y" * 60
    assert len(left_out) + len(said) - 3 == 16 + 1
    assert writer.closed == 1


async def test_one_summary_serves_a_growing_conversation_and_the_next_is_made_of_it() -> None:
    writer = Writer(*(f"summary {n}" for n in range(20)))
    summaries = Summaries(writer.chat)
    history = History(tokens=1600, policy="summarise", summariser="small", summary_tokens=40)
    for turns in range(25, 45):
        said = await shortened(summaries, turns, history)
        assert said[1]["content"].endswith(f"summary {len(writer.asked) - 1}")
    assert 3 <= len(writer.asked) <= 6
    later = json.loads(json.loads(joined(writer.asked[-1].fields))["messages"][1]["content"])
    assert later[0]["content"].endswith(f"summary {len(writer.asked) - 2}")
    before = len(writer.asked)
    await shortened(summaries, 44, history)
    assert len(writer.asked) == before


async def test_what_is_too_long_is_cut() -> None:
    said = await shortened(Summaries(Writer("\n" * 5000).chat), 8)
    assert all(not each["content"].startswith("Summary") for each in said)
    said = await shortened(Summaries(Writer('"' + "s" * 5000).chat), 8)
    assert said[1]["content"].endswith("s")
    assert len(said[1]["content"]) < 200


@pytest.mark.parametrize(
    "answer", [PenstockError(UPSTREAM_FAILED, "no"), "", asyncio.Event()], ids=["failed", "empty", "late"]
)
async def test_without_a_summary_the_turns_are_left_out(answer: Step) -> None:
    writer = Writer(answer)
    history = History(tokens=400, policy="summarise", summariser="small", summary_tokens=40, within_s=0.01)
    said = await shortened(Summaries(writer.chat), 8, history)
    assert [each["role"] for each in said[:2]] == ["system", "user"]
    assert not said[1]["content"].startswith("Summary")
    assert writer.closed == 1
    alone = await shortened(Summaries(None), 8)
    assert said == alone


async def test_what_is_kept_is_bounded() -> None:
    summaries = Summaries(Writer(*["s"] * (MOST_KEPT + 9)).chat)
    for number in range(MOST_KEPT + 9):
        found = conversation([json.dumps({"role": "user", "content": f"{number}" + "x" * 600}).encode(), *talk(3)])
        await summaries.shortened(CALL, found, HISTORY, NOBODY)
    assert len(summaries._kept) == MOST_KEPT
