"""Counting against a real llama.cpp: prompts before they are sent, and answers that are broken off."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
from collections.abc import Iterator

import msgspec
import pytest

from penstock.access.bounds import bound_of
from penstock.core.chat import Call, Counting, Kind, Usage, chunk_view
from penstock.core.serving import Replica
from penstock.engines import config
from penstock.engines.llamacpp import LlamaCpp
from penstock.engines.telemetry_http import MetricsPages
from tests.contracts.engine import call, drained, used
from tests.control.timing import until
from tests.models import chat_weights, embedding_weights

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "What the weather is.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string", "enum": ["Köln", "東京"]}}},
    },
}
CHAT = config.LlamaCpp(weights="file:m.gguf", slots=2, context=2048)
EMBEDDING = config.LlamaCpp(weights="file:m.gguf", task="embedding", slots=1, context=512)


@pytest.fixture(scope="module")
def chat() -> Iterator[Replica]:
    yield from running(CHAT)


@pytest.fixture(scope="module")
def embedding() -> Iterator[Replica]:
    yield from running(EMBEDDING)


def running(settings: config.LlamaCpp) -> Iterator[Replica]:
    launch = LlamaCpp("mine", settings).launch(chat_weights() if settings.task == "chat" else embedding_weights())
    child = subprocess.Popen(launch.argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(launch.stdin + b"\n")
        child.stdin.flush()
        yield Replica("r", "mine", json.loads(child.stdout.readline())["base_url"], key=launch.key)
        child.stdin.close()


def user(text: str) -> list[dict[str, object]]:
    return [{"role": "user", "content": text}]


ASKED = [
    call(messages=user("Say hello."), max_tokens=1),
    call(messages=[{"role": "system", "content": ""}, *user("\n\n\t 🦊 狐\u200d")], max_tokens=1),
    call(messages=user("What is it like?"), tools=[TOOL], max_tokens=1),
    call(messages=user("hi"), tools=[TOOL], tool_choice="required", max_tokens=1),
    call(messages=user("x"), n=2, max_tokens=1),
    call(Kind.COMPLETION, prompt="Once <|im_start|> upon", max_tokens=1),
    call(Kind.COMPLETION, prompt=["Once", "upon a time"], max_tokens=1),
    call(Kind.COMPLETION, prompt=[[5, 6, 7], [8]], max_tokens=1),
    call(Kind.COMPLETION, prompt=[5, 6, 7, 9], max_tokens=1),
]


async def test_a_prompt_is_counted_as_it_will_be_charged_and_bounded(chat: Replica) -> None:
    engine = LlamaCpp("mine", CHAT)
    for asked in ASKED:
        counted = await engine.count(asked, chat)
        (usage,) = used([chunk_view(chunk) for chunk in await drained(await engine.start(asked, chat))])
        assert counted == usage.prompt, asked.fields
        assert usage.prompt <= bound_of(asked, price=None, cap=1).input
    await engine.aclose()


async def test_embeddings_are_counted_too(embedding: Replica) -> None:
    engine = LlamaCpp("mine", EMBEDDING)
    for asked in (
        call(Kind.EMBEDDING, input="Ünïcode 東京 🦊"),
        call(Kind.EMBEDDING, input=["a", "b c", "unbelievable"]),
        call(Kind.EMBEDDING, input=[""]),
    ):
        counted = await engine.count(asked, embedding)
        (answer,) = await drained(await engine.start(asked, embedding))
        assert counted == json.loads(answer)["usage"]["prompt_tokens"]
        bound = bound_of(asked, price=None, cap=1)
        assert counted <= bound.input
        assert bound.output == 0
    assert await engine.count(call(), embedding) is None
    await engine.aclose()


PIECES = [
    "a",
    " ",
    "\n",
    "\t",
    "the ",
    "🦊",
    "👩‍👩‍👧‍👦",
    "東京",
    "\u0000",
    "\u200b",
    "{",
    '"',
    "\\",
    "<|im_end|>",
    "é",
    "ﷺ",
    "0",
    "١",
    "\ufffd",
    "  " * 9,
]


async def test_no_text_has_more_tokens_than_its_bound(chat: Replica) -> None:
    engine = LlamaCpp("mine", CHAT)
    chance = random.Random(4)
    asked: list[Call] = []
    for number in range(150):
        text = "".join(chance.choices(PIECES, k=chance.randrange(60)))
        asked.append(call(messages=user(text)))
        if number % 3 == 0:
            called = {
                "type": "function",
                "id": "c",
                "function": {"name": "f", "arguments": json.dumps({"a": text, "b": [0] * number})},
            }
            asked.append(
                call(
                    messages=[*user(text), {"role": "assistant", "tool_calls": [called]}],
                    tools=[TOOL] * (number // 3),
                )
            )
        if number % 3 == 1:
            asked.append(call(Kind.COMPLETION, prompt=[text, text[:7]]))
        if number % 3 == 2:
            written = {"messages": msgspec.Raw(json.dumps(user(text)).encode())}
            asked.append(msgspec.structs.replace(asked[-1], fields=written))
    counted = [await engine.count(each, chat) for each in asked]
    assert sum(count is not None for count in counted) > len(asked) * 0.9
    for each, count in zip(asked, counted, strict=True):
        assert (count or 0) <= bound_of(each, price=None, cap=1).input, each.fields
    await engine.aclose()


@pytest.mark.parametrize("kind", [Kind.CHAT, Kind.COMPLETION])
@pytest.mark.parametrize("choices", [1, 2])
async def test_a_broken_off_stream_tells_what_it_has_used(chat: Replica, kind: Kind, choices: int) -> None:
    engine = LlamaCpp("mine", CHAT)
    asked = call(kind, stream=True, max_tokens=200, n=choices, temperature=0, ignore_eos=True)
    prompt = await engine.count(asked, chat)
    answer = await engine.start(asked, chat)
    assert isinstance(answer, Counting)
    texts = [0] * choices
    async with asyncio.timeout(60):
        while min(texts) < 5:
            for chunk in await answer.read():
                assert b'"timings"' not in chunk
                for choice in chunk_view(chunk).choices:
                    texts[choice.index] += bool(choice.text or (choice.delta and choice.delta.content))
    await answer.aclose()
    usage = answer.so_far()
    assert usage is not None
    assert (usage.prompt, usage.completion) == (prompt, sum(texts))
    await engine.aclose()


async def test_a_whole_reply_that_is_cancelled_tells_it_too(chat: Replica) -> None:
    engine = LlamaCpp("mine", CHAT)
    answer = await engine.start(call(max_tokens=2000, ignore_eos=True), chat)
    assert isinstance(answer, Counting)

    reading = asyncio.create_task(answer.read())  # type: ignore[arg-type]
    await until(lambda: (answer.so_far() or Usage()).completion > 0, 60.0)
    assert (answer.so_far() or Usage()).prompt == await engine.count(call(), chat)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await answer.aclose()
    await engine.aclose()


async def test_the_clients_own_bound_wins_over_llamacpps_word_for_it(chat: Replica) -> None:
    engine = LlamaCpp("mine", CHAT)
    for fields, most in (
        ({"max_tokens": 2, "n_predict": 9}, 2),
        ({"n_predict": 3}, 3),
        ({"max_tokens": 2, "n_predict": -1}, 2),
    ):
        asked = call(ignore_eos=True, **fields)
        (usage,) = used([chunk_view(chunk) for chunk in await drained(await engine.start(asked, chat))])
        assert usage.completion == most
    await engine.aclose()


async def test_a_copy_that_does_not_answer_counts_nothing() -> None:
    engine = LlamaCpp("mine", CHAT)
    assert await engine.count(call(), Replica("r", "mine", "http://127.0.0.1:9/v1")) is None
    await engine.aclose()


async def test_its_metrics_page_says_what_it_is_at(chat: Replica) -> None:
    engine, pages = LlamaCpp("mine", CHAT), MetricsPages()
    answer = await engine.start(call(stream=True, max_tokens=200, temperature=0, ignore_eos=True), chat)
    await answer.read()
    told = await pages.ask(chat)
    await answer.aclose()
    assert told is not None
    assert (told.engine, told.running, told.waiting, told.notes) == ("llama.cpp", 1, 0, ())
    # Nothing was drafted, and this version does not say how full its cache is.
    assert (told.drafted_tokens, told.kv_use) == (0.0, None)
    await pages.aclose()
    await engine.aclose()
