"""One running server for every outside judge: scripted answers beside real llama.cpp, and a name for every name."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import OpenAI

from tests.e2e.running import Penstock, running
from tests.models import chat_weights, embedding_weights

ADMIN_KEY = "My API Key"
JOKE = {"setup": "Why did the cat sit on the computer?", "punchline": "To keep an eye on the mouse."}


def _calls(name: str, **arguments: object) -> dict[str, str]:
    return {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}


ANSWERS = [
    {"when": "magic_function(3)", "tool_calls": [_calls("magic_function", input=3)]},
    {"when": "magic_function_no_args()", "tool_calls": [_calls("magic_function_no_args")]},
    {"when": "Hello!", "tool_calls": [_calls("magic_function", input=1)]},
    {"when": "Pirate greeting", "tool_calls": [_calls("greeting_generator", answer_style="pirate")]},
    {"when": "3 + 4", "tool_calls": [_calls("my_adder_tool", a=3, b=4)]},
    {"when": "weather in", "tool_calls": [_calls("get_weather", location="San Francisco, CA")]},
    {
        "when": "你好啊集团",
        "tool_calls": [_calls("unicode_customer", customer_name="你好啊集团", description="技术")],
    },
    {
        "when": "こんにちは株式会社",
        "tool_calls": [_calls("unicode_customer", customer_name="こんにちは株式会社", description="日本")],
    },
    {"when": "joke about cats", "text": json.dumps(JOKE), "tool_calls": [_calls("Joke", **JOKE)]},
    {"when": "two tools", "tool_calls": [_calls("add", a=1, b=2), _calls("get_weather", location="Zürich")]},
    {"text": "Hello there, this is a scripted answer."},
]


def deployment() -> str:
    """JSON is YAML."""
    return json.dumps(
        {
            "models": {
                "scripted": {"engine": "fake", "answers": ANSWERS},
                "small": {"engine": "llamacpp", "weights": f"file:{chat_weights()}", "slots": 2, "context": 2048},
                "embedder": {"engine": "llamacpp", "task": "embedding", "weights": f"file:{embedding_weights()}"},
            },
            "services": {
                "*": {"model": "scripted"},
                "scripted": {"model": "scripted", "aliases": ["scripted-latest", "team/scripted"]},
                "assistant": {"model": "small"},
                "embed": {"model": "embedder"},
            },
        },
        ensure_ascii=False,
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One loop for a file: LangChain keeps the OpenAI client's connections between tests, and they belong to a loop."""
    for item in items:
        here = item.path.is_relative_to(Path(__file__).parent)
        if here and isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.function):
            item.add_marker(pytest.mark.asyncio(loop_scope="module"), append=False)


@pytest.fixture(scope="session")
def server() -> Iterator[Penstock]:
    with running(deployment(), env={"PENSTOCK_ADMIN_KEY": ADMIN_KEY}) as penstock:
        yield penstock
        assert "Traceback" not in penstock.said()


@pytest.fixture(scope="session")
def client(server: Penstock) -> Iterator[OpenAI]:
    with OpenAI(
        base_url=server.base_url, api_key=ADMIN_KEY, max_retries=0, timeout=120, _strict_response_validation=True
    ) as opened:
        yield opened
