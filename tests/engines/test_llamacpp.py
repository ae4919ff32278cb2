"""The llama.cpp engine over its wire: the law of engines, what is asked of it, and what its answers become."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping

import msgspec
import pytest

from penstock.core import errors
from penstock.core.chat import Kind, chunk_view
from penstock.core.errors import Fault, PenstockError
from penstock.core.serving import Replica
from penstock.engines import config
from penstock.engines.llamacpp import LlamaCpp
from penstock.engines.llamacpp_settings import CONNECTIONS
from tests.contracts.double import Asked, Double, Played, Script
from tests.contracts.engine import KEY, TEXT, EngineContract, Scene, call, drained, finish, said, used
from tests.engines import llamacpp_wire as wire

SSE = {"Content-Type": "text/event-stream"}
JSON = {"Content-Type": "application/json"}
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def reply(asked: Asked) -> Played:
    """What llama.cpp says to a good request."""
    if asked.path == "/health":
        return Played(headers=JSON, pieces=[b'{"status":"ok"}'])
    if asked.path == "/v1/embeddings":
        return Played(headers=JSON, pieces=[wire.EMBEDDINGS])
    body = json.loads(asked.body)
    assert body["stream"] is True, "llama.cpp notices a client that leaves only when it streams"
    if asked.path == "/v1/chat/completions":
        return Played(headers=SSE, pieces=wire.chat())
    return Played(headers=SSE, pieces=wire.completion("logprobs" in body))


class LlamaBench:
    faults: Mapping[str, Fault] = {
        "image": errors.UNSUPPORTED_CONTENT,
        "audio": errors.UNSUPPORTED_CONTENT,
        "long": errors.CONTEXT_LENGTH_EXCEEDED,
        "schema": errors.INVALID_VALUE,
        "value": errors.BAD_REQUEST,
        "loading": errors.NO_REPLICA,
        "key": errors.UPSTREAM_REFUSED_KEY,
    }

    def __init__(self, double: Double, engine: LlamaCpp) -> None:
        self.engine = engine
        self.double = double
        self.replica = Replica("r", "mine", f"{double.url}/v1", key=KEY)

    def play(self, scene: Scene) -> None:
        def script(asked: Asked) -> Played:
            good = reply(asked)
            if scene is Scene.REPLY:
                return good
            if scene is Scene.SILENT:
                return Played(head=False, then="hang")
            then = "hang" if scene is Scene.ENDLESS else "cut"
            return Played(headers=good.headers, pieces=list(good.pieces)[:5], then=then)

        self.double.script = script

    def fail(self, name: str) -> None:
        status, body = wire.REFUSALS[name]
        self.double.script = lambda asked: Played(status=status, headers=JSON, pieces=[body])

    async def busy(self, count: int) -> None:
        await self.double.until(lambda double: double.working >= count)

    async def idle(self) -> None:
        await self.double.until(lambda double: double.working == 0)


def script(bench: LlamaBench, played: Script) -> None:
    bench.double.script = played


@pytest.fixture
async def bench() -> AsyncIterator[LlamaBench]:
    async with Double(reply) as double:
        engine = LlamaCpp("mine", config.LlamaCpp(weights="file:m.gguf"))
        yield LlamaBench(double, engine)
        await engine.aclose()


class TestContract(EngineContract):
    kinds = frozenset({Kind.CHAT, Kind.COMPLETION})


async def bodies(bench: LlamaBench, kind: Kind = Kind.CHAT, **fields: object) -> list[dict[str, object]]:
    """What goes upstream for a call."""
    await drained(await bench.engine.start(call(kind, **fields), bench.replica))
    return [json.loads(asked.body) for asked in bench.double.asked]


async def test_what_goes_upstream_is_streamed_signed_and_otherwise_the_clients(bench: LlamaBench) -> None:
    (body,) = await bodies(bench, temperature=0.1, stop=["x"], top_k=3, seed=None, user="u")
    assert body["model"] == "mine"
    assert body["stream_options"] == {"include_usage": True}
    assert (body["temperature"], body["stop"], body["top_k"]) == (0.1, ["x"], 3)
    assert "seed" not in body
    assert "user" not in body
    assert bench.double.asked[0].headers["authorization"] == f"Bearer {KEY}"


async def test_several_choices_are_asked_for_one_by_one(bench: LlamaBench) -> None:
    chunks = await drained(await bench.engine.start(call(n=3, seed=7), bench.replica))
    assert [json.loads(asked.body)["seed"] for asked in bench.double.asked] == [7, 8, 9]
    assert not any("n" in json.loads(asked.body) for asked in bench.double.asked)
    view = chunk_view(chunks[0])
    assert [choice.index for choice in view.choices] == [0, 1, 2]
    assert [said([view], choice) for choice in range(3)] == [TEXT] * 3
    (usage,) = used([view])
    assert (usage.prompt, usage.completion, usage.cached) == (31, 30, 7)


async def test_several_choices_stream_under_their_own_index(bench: LlamaBench) -> None:
    chunks = await drained(await bench.engine.start(call(stream=True, n=2), bench.replica))
    views = [chunk_view(chunk) for chunk in chunks]
    assert [said(views, choice) for choice in range(2)] == [TEXT] * 2
    assert finish(views) == ["stop", "stop"]
    assert len(used(views)) == 1
    assert views[-1].choices == ()


@pytest.mark.parametrize(
    ("prompt", "sent"),
    [
        ("a", ["a"]),
        (["a", "b"], ["a", "b"]),
        ([1, 2], [[1, 2]]),
        ([[1, 2], [3]], [[1, 2], [3]]),
    ],
)
async def test_prompts_are_texts_tokens_or_several_of_them(bench: LlamaBench, prompt: object, sent: object) -> None:
    assert [body["prompt"] for body in await bodies(bench, Kind.COMPLETION, prompt=prompt)] == sent


async def test_several_prompts_are_all_counted(bench: LlamaBench) -> None:
    chunks = await drained(await bench.engine.start(call(Kind.COMPLETION, prompt=["a", "b"], n=2), bench.replica))
    (usage,) = used([chunk_view(chunks[0])])
    assert (usage.prompt, usage.completion) == (62, 40)


async def test_log_probabilities_of_a_completion_have_the_shape_of_completions(bench: LlamaBench) -> None:
    chunks = await drained(await bench.engine.start(call(Kind.COMPLETION, logprobs=1), bench.replica))
    logprobs = json.loads(chunks[0])["choices"][0]["logprobs"]
    assert logprobs["tokens"] == wire.WORDS
    assert logprobs["text_offset"] == [len("".join(wire.WORDS[:place])) for place in range(len(wire.WORDS))]
    assert logprobs["token_logprobs"] == [-0.5] * len(wire.WORDS)
    assert logprobs["top_logprobs"][0] == {"x": -1.0}


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_forced_tool_call_is_held_to_its_schema_and_comes_as_a_call(
    bench: LlamaBench, choice: object, stream: bool
) -> None:
    pieces = ['{"na', 'me": "get_weather",', ' "arguments": {"city": ', '"Be}rn"', "}", "\n}"]
    script(bench, lambda asked: Played(headers=SSE, pieces=wire.chat(pieces)))
    started = await bench.engine.start(call(stream=stream, tools=[TOOL], tool_choice=choice), bench.replica)
    views = [chunk_view(chunk) for chunk in await drained(started)]
    body = json.loads(bench.double.asked[0].body)
    schema = body["response_format"]["json_schema"]["schema"]
    assert schema["$defs"]["t0"] == TOOL["function"]["parameters"]  # type: ignore[index]
    assert body["tool_choice"] == "none"
    calls = [
        piece
        for view in views
        for each in view.choices
        for piece in (each.delta or each.message or msgspec.UNSET).tool_calls or ()  # type: ignore[union-attr]
    ]
    assert [piece.id for piece in calls if piece.id] != []
    assert "".join(piece.function.name or "" for piece in calls if piece.function) == "get_weather"
    arguments = "".join(piece.function.arguments or "" for piece in calls if piece.function)
    assert json.loads(arguments) == {"city": "Be}rn"}
    assert finish(views) == ["tool_calls"]


@pytest.mark.parametrize(
    ("kind", "fields", "param"),
    [
        (Kind.CHAT, {"functions": [{"name": "f"}]}, "functions"),
        (Kind.CHAT, {"tool_choice": "required"}, "tool_choice"),
        (Kind.CHAT, {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice"),
        (Kind.CHAT, {"tools": [{"type": "web_search"}]}, "tools[0].type"),
        (Kind.CHAT, {"tools": [TOOL], "tool_choice": "required", "response_format": {"type": "json_object"}},
         "response_format"),
        (Kind.CHAT, {"n": 65}, "n"),
        (Kind.CHAT, {"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        (Kind.CHAT, {"logprobs": True, "tools": [TOOL]}, "logprobs"),
        (Kind.COMPLETION, {"logprobs": 99999}, "logprobs"),
        (Kind.COMPLETION, {"echo": True}, "echo"),
        (Kind.COMPLETION, {"suffix": "x"}, "suffix"),
        (Kind.COMPLETION, {"best_of": 3}, "best_of"),
        (Kind.COMPLETION, {"prompt": []}, "prompt"),
        (Kind.COMPLETION, {"prompt": {"a": 1}}, "prompt"),
    ],
)  # fmt: skip
async def test_what_llamacpp_would_leave_out_is_refused_by_name(
    bench: LlamaBench, kind: Kind, fields: dict[str, object], param: str
) -> None:
    with pytest.raises(PenstockError) as refused:
        await bench.engine.start(call(kind, **fields), bench.replica)
    assert refused.value.param == param
    assert refused.value.fault.status == 400
    assert bench.double.asked == []


async def test_a_prompt_that_is_too_long_is_told_both_numbers(bench: LlamaBench) -> None:
    bench.fail("long")
    with pytest.raises(PenstockError, match="holds 8192 tokens; the request has 20031"):
        await bench.engine.start(call(), bench.replica)


async def test_a_model_does_what_its_task_is(bench: LlamaBench) -> None:
    with pytest.raises(PenstockError, match="does not make embeddings; its task is 'chat'"):
        await bench.engine.start(call(Kind.EMBEDDING), bench.replica)
    embedder = LlamaCpp("vec", config.LlamaCpp(weights="file:m.gguf", task="embedding"))
    chunks = await drained(await embedder.start(call(Kind.EMBEDDING, input=["a", "b"]), bench.replica))
    assert len(json.loads(chunks[0])["data"]) == 2
    with pytest.raises(PenstockError, match="does not chat"):
        await embedder.start(call(), bench.replica)
    await embedder.aclose()


async def test_a_copy_is_given_no_more_than_it_takes_and_places_come_back(bench: LlamaBench) -> None:
    bench.play(Scene.ENDLESS)
    many = [await bench.engine.start(call(stream=True, n=64), bench.replica) for _ in range(CONNECTIONS // 64)]
    with pytest.raises(PenstockError) as full:
        await bench.engine.start(call(stream=True), bench.replica)
    assert full.value.fault is errors.UPSTREAM_OVERLOADED
    assert full.value.retry_after
    await asyncio.gather(*(each.aclose() for each in many))
    await bench.idle()
    for name in bench.faults:
        bench.fail(name)
        with pytest.raises(PenstockError):
            await bench.engine.start(call(n=64), bench.replica)
    bench.play(Scene.REPLY)
    again = [await bench.engine.start(call(n=64), bench.replica) for _ in range(CONNECTIONS // 64)]
    await asyncio.gather(*(each.aclose() for each in again))


async def test_one_choice_that_breaks_ends_them_all(bench: LlamaBench) -> None:
    played = iter(
        [
            Played(headers=SSE, pieces=wire.chat()[:5], then="hang"),
            Played(headers=SSE, pieces=wire.chat()[:5], then="cut"),
        ]
    )
    script(bench, lambda asked: next(played))
    started = await bench.engine.start(call(n=2), bench.replica)
    with pytest.raises(PenstockError) as broken:
        await started.read()
    assert broken.value.fault is errors.UPSTREAM_BROKEN
    await started.aclose()
    await bench.idle()
    assert bench.double.left == 1


async def test_the_developer_speaks_as_the_system(bench: LlamaBench) -> None:
    messages = [
        {"role": "developer", "content": "x", "name": "n"},
        {"role": "user", "content": '"role": "developer"'},
    ]
    (body,) = await bodies(bench, messages=messages)
    assert body["messages"] == [{**messages[0], "role": "system"}, messages[1]]


@pytest.mark.parametrize(("asked", "sent"), [({}, 1), ({"top_logprobs": 0}, 1), ({"top_logprobs": 5}, 5)])
async def test_log_probabilities_come_with_as_many_alternatives_as_asked_for(
    bench: LlamaBench, asked: dict[str, int], sent: int
) -> None:
    (body,) = await bodies(bench, logprobs=True, **asked)
    assert body["top_logprobs"] == sent


@pytest.mark.parametrize(("asked", "sent"), [({}, 16), ({"max_tokens": 3}, 3)])
async def test_a_completion_ends_after_16_tokens_unless_it_says_otherwise(
    bench: LlamaBench, asked: dict[str, int], sent: int
) -> None:
    (body,) = await bodies(bench, Kind.COMPLETION, **asked)
    assert body["max_tokens"] == sent


async def test_a_random_seed_stays_random_and_no_other_word_for_n_goes_up(bench: LlamaBench) -> None:
    sent = await bodies(bench, n=2, seed=-1, n_cmpl=3)
    assert [body["seed"] for body in sent] == [-1, -1]
    assert not any("n_cmpl" in body for body in sent)


async def test_many_texts_are_embedded_a_few_at_a_time_and_a_client_that_goes_ends_it(bench: LlamaBench) -> None:
    def embedding(asked: Asked) -> Played:
        texts = json.loads(asked.body)["input"]
        data = [{"object": "embedding", "index": at, "embedding": [float(text)]} for at, text in enumerate(texts)]
        reply = {"object": "list", "model": "m", "data": data, "usage": {"prompt_tokens": 2, "total_tokens": 2}}
        return Played(headers=JSON, pieces=[json.dumps(reply).encode()])

    script(bench, embedding)
    embedder = LlamaCpp("vec", config.LlamaCpp(weights="file:m.gguf", task="embedding"))
    texts = [str(number) for number in range(40)]
    (chunk,) = await drained(await embedder.start(call(Kind.EMBEDDING, input=texts), bench.replica))
    reply = json.loads(chunk)
    assert [(datum["index"], datum["embedding"]) for datum in reply["data"]] == [(n, [float(n)]) for n in range(40)]
    assert reply["usage"] == {"prompt_tokens": 6, "total_tokens": 6}
    assert len(bench.double.asked) == 3
    begun = await embedder.start(call(Kind.EMBEDDING, input=texts), bench.replica)
    await begun.aclose()
    assert await begun.read() == ()
    assert len(bench.double.asked) == 4
    with pytest.raises(PenstockError, match="leave dimensions out"):
        await embedder.start(call(Kind.EMBEDDING, dimensions=5), bench.replica)
    await embedder.aclose()
