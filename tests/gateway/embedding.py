"""An engine that embeds: each text by its length and the sum of its characters."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Sequence
from typing import Any

import msgspec

from penstock.caches.embeddings import Vector
from penstock.core.chat import Call, Kind
from penstock.core.serving import Replica
from penstock.core.splice import members
from tests.gateway.doubles import ScriptedEngine, ScriptedUpstream


def numbers(text: str) -> list[float]:
    return [float(len(text)), float(sum(map(ord, text)))]


def vector(text: str, tokens: int | None = None) -> Vector:
    return Vector.of(numbers(text), tokens)


def packed(text: str) -> str:
    return base64.b64encode(struct.pack("<2f", *numbers(text))).decode()


class Embedder(ScriptedEngine):
    """Counts a token for each character. ``asked`` are the texts of each request; ``packs``: it answers in base64,
    whatever is wanted; ``backwards``: in the other order; ``short_of`` so many are left out; ``instead`` is what it
    says in place of vectors;
    ``width`` how often each says the same."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[list[str]] = []
        self.packs = self.backwards = False
        self.short_of = 0
        self.width = 1
        self.instead: object = None

    async def start(self, call: Call, replica: Replica, *, connect_s: float | None = None) -> ScriptedUpstream:
        self.started.append((call, replica))
        said = msgspec.json.decode(call.fields["input"])
        texts: list[str] = [said] if isinstance(said, str) else [str(each) for each in said]
        self.asked.append(texts)
        self.upstreams.append(ScriptedUpstream([[self.answer(texts)]]))
        return self.upstreams[-1]

    def answer(self, texts: Sequence[str]) -> bytes:
        data: list[dict[str, Any]] = [
            {
                "object": "embedding",
                "index": n,
                "embedding": packed(text) if self.packs else numbers(text) * self.width,
            }
            for n, text in enumerate(texts)
        ][self.short_of :]
        if self.instead is not None:
            data = [{**each, "embedding": self.instead} for each in data]
        used = sum(map(len, texts))
        return json.dumps(
            {
                "object": "list",
                "data": data[::-1] if self.backwards else data,
                "model": "theirs",
                "usage": {"prompt_tokens": used, "total_tokens": used},
            }
        ).encode()


def asks(input: object, id: str = "req-1", **fields: Any) -> Call:
    body = {"model": "embed", "input": input, **fields}
    return Call(id, Kind.EMBEDDING, "embed", members(json.dumps(body).encode()), user=fields.get("user"))
