"""JSON libraries at what the gateway does with it: a request's model exchanged, and a whole reply's usage read."""

from __future__ import annotations

import json
import statistics
import timeit
from collections.abc import Callable

import msgspec
import orjson

from penstock.core import splice
from penstock.core.chat import ChunkView

ROUNDS = 7
TIMES = 5000
REQUEST = json.dumps(
    {"model": "a", "messages": [{"role": "user", "content": "word " * 400}], "temperature": 0.5, "tools": []}
).encode()
REPLY = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "b",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "word " * 100}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 400, "completion_tokens": 100, "total_tokens": 500},
    }
).encode()

_view = msgspec.json.Decoder(ChunkView)


def _by_msgspec() -> None:
    splice.joined(splice.members(REQUEST), model="other")
    _view.decode(REPLY)


def _by_orjson() -> None:
    request = orjson.loads(REQUEST)
    request["model"] = "other"
    orjson.dumps(request)
    orjson.loads(REPLY)["usage"]


def _by_json() -> None:
    request = json.loads(REQUEST)
    request["model"] = "other"
    json.dumps(request).encode()
    json.loads(REPLY)["usage"]


WAYS: dict[str, Callable[[], None]] = {"msgspec": _by_msgspec, "orjson": _by_orjson, "json": _by_json}


def main() -> None:
    """Prints a row for each library."""
    rounds: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(ROUNDS):
        for name, way in WAYS.items():
            rounds[name].append(timeit.timeit(way, number=TIMES) / TIMES * 1e6)
    print(f"us for a request and a reply, median of {ROUNDS} interleaved rounds")
    for name, found in rounds.items():
        print(f"{name:>8}  {statistics.median(found):6.2f}")
