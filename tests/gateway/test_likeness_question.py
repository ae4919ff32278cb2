"""Which requests the semantic cache is asked about, and which are alike in everything but the question's wording."""

from __future__ import annotations

import msgspec
import pytest

from penstock.core.caching import CachePolicy, Exact
from penstock.core.chat import Call, Kind
from penstock.core.errors import PenstockError
from penstock.core.policy import Policy
from penstock.core.serving import Service
from penstock.gateway.likeness_question import Question, question, space, within
from penstock.gateway.snapshot import Snapshot
from tests.gateway.doubles import ScriptedEngine, snapshot
from tests.gateway.likening import asking, policy

SERVICE = Service("chat", ("main",), policy=policy())
TEXT = "What is the capital of Australia?"
SYSTEM = {"role": "system", "content": "You are brief."}


def of(call: Call, sent: Call | None = None, service: Service = SERVICE) -> Question | str:
    return question(call, sent or call, service)


def beside(call: Call, **raw: bytes) -> Call:
    more = {name: msgspec.Raw(value) for name, value in raw.items()}
    return msgspec.structs.replace(call, fields={**call.fields, **more})


def user(text: object) -> dict[str, object]:
    return {"role": "user", "content": text}


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (asking("What's the weather in Oslo?"), "now"),
        (asking("Where is my order?"), "own"),
        (asking("Tell me a joke"), "varied"),
        (asking("?!"), "empty"),
        (asking("why " * 2000), "long"),
        (asking(more={"tools": [{"type": "function", "function": {"name": "f"}}]}), "tools"),
        (asking(more={"web_search_options": {}}), "tools"),
        (
            asking([user([{"type": "text", "text": TEXT}, {"type": "image_url", "image_url": {"url": "x"}}])]),
            "images",
        ),
        (asking([user([{"type": "image_url", "image_url": {"url": "x"}}]), user(TEXT)]), "images"),
        (asking(more={"modalities": ["text", "audio"], "audio": {"voice": "alloy"}}), "images"),
        (
            asking([user("Who wrote Hamlet?"), {"role": "assistant", "content": "Shakespeare"}, user("And when?")]),
            "leans",
        ),
        (asking([user(TEXT), {"role": "assistant", "content": "The capital of Australia is"}]), "leans"),
        (asking(choices=2), "choices"),
        (asking(more={"logprobs": True}), "logprobs"),
        (asking(more={"top_logprobs": 3}), "logprobs"),
        (asking(kind=Kind.COMPLETION), "kind"),
        (asking([]), "form"),
        (beside(asking(), temperature=b"1e999"), "form"),
        (Call("r", Kind.CHAT, "chat", {}), "form"),
        (beside(asking(), messages=b'[{"role":"user","content":"Who wrote Hamlet?","n\xc3":1}]'), "form"),
        (beside(asking(), messages=b'[{"role":"user","content":"Who?","deep":' + b"[" * 99999), "form"),
        (
            beside(
                asking(),
                messages=b'[{"role":"user","content":"Who wrote Hamlet?","x":' + b"[" * 9999 + b"]" * 9999 + b"}]",
            ),
            "form",
        ),
        (Call("r", Kind.CHAT, "chat", {"messages": msgspec.Raw(b'[{"role":"user","content":7}]')}), "form"),
    ],
)
def test_these_are_not_compared_with_others(call: Call, why: str) -> None:
    assert of(call) == why


@pytest.mark.parametrize("of_service", [None, CachePolicy(exact=Exact())])
def test_a_service_without_a_semantic_cache_has_none(of_service: CachePolicy | None) -> None:
    assert of(asking(), service=Service("chat", ("main",), policy=Policy(cache=of_service))) == "off"


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"tools": [], "tool_choice": "none"},
        {"logprobs": False},
        {"temperature": 1.0, "n": 1},
        {"response_format": {"type": "json_object"}},
    ],
)
def test_these_are(more: dict[str, object]) -> None:
    found = of(asking(more=more))
    assert isinstance(found, Question)
    assert found.text == TEXT


def test_a_prompts_own_examples_are_no_conversation() -> None:
    examples = [user("Who wrote Hamlet?"), {"role": "assistant", "content": "Shakespeare"}]
    sent = asking("How long is it to the moon?")
    prepared = asking([SYSTEM, *examples, user("How long is it to the moon?")])
    assert isinstance(of(prepared, sent), Question)
    assert of(prepared, prepared) == "leans"


def rest(call: Call) -> bytes:
    found = of(call)
    assert isinstance(found, Question)
    return found.rest


@pytest.mark.parametrize(
    "alike",
    [
        asking("Who wrote Hamlet?"),
        asking(stream=False),
        asking(
            more={"stream": True, "stream_options": {"include_usage": True}, "user": "ada", "metadata": {"a": "b"}}
        ),
        asking([user([{"type": "text", "text": "Who wrote"}, {"type": "text", "text": "Hamlet?"}])]),
        asking([{"content": TEXT, "role": "user"}]),
    ],
)
def test_only_the_wording_may_differ(alike: Call) -> None:
    assert rest(alike) == rest(asking())


@pytest.mark.parametrize(
    "other",
    [
        asking([SYSTEM, user(TEXT)]),
        asking([user("Who wrote Hamlet?"), {"role": "assistant", "content": "Shakespeare"}, user(TEXT)]),
        asking([{**user(TEXT), "name": "ada"}]),
        asking([user([{"type": "text", "text": TEXT, "detail": "high"}])]),
        asking(more={"max_tokens": 5}),
        asking(more={"temperature": 0.5}),
        asking(more={"response_format": {"type": "json_object"}}),
        asking(more={"model": "other"}),
    ],
)
def test_nothing_else_may(other: Call) -> None:
    assert rest(other) != rest(asking())


def test_messages_before_the_question_are_compared_in_order_and_whole() -> None:
    one = asking([SYSTEM, user("Who wrote Hamlet?"), {"role": "assistant", "content": "Shakespeare"}, user(TEXT)])
    other = asking([SYSTEM, user("Who wrote Faust?"), {"role": "assistant", "content": "Shakespeare"}, user(TEXT)])
    assert rest(one) != rest(other)


def test_vectors_of_another_model_are_not_near() -> None:
    def deployed(model: str) -> Snapshot:
        return snapshot([Service("embed", (model,), aliases=("near",))], {model: ScriptedEngine()})

    first, second = (space("near", deployed(model)) for model in ("a", "b"))
    assert within(b"rest", first) == within(b"rest", space("embed", deployed("a")))
    assert within(b"rest", first) != within(b"rest", second)
    with pytest.raises(PenstockError):
        space("gone", deployed("a"))
