"""Vectors made of a text alone: the same text gives the same vector, texts that share words lie closer. Pure."""

from __future__ import annotations

import base64
import hashlib
import math
import struct

import msgspec

from penstock.core.chat import Call
from penstock.core.errors import INVALID_TYPE, INVALID_VALUE, PenstockError

_MOST = 1 << 16


class _Request(msgspec.Struct, frozen=True):
    input: str | list[str | int | list[int]]
    dimensions: int | None = None
    encoding_format: str | None = None


def embeddings(call: Call, model: str, dimensions: int) -> bytes:
    """The whole reply. Raises ``PenstockError`` when ``input`` or ``dimensions`` is not what the API takes."""
    try:
        request = msgspec.json.decode(msgspec.json.encode(call.fields), type=_Request)
    except msgspec.DecodeError as exc:
        raise PenstockError(INVALID_TYPE, f"The request for embeddings is malformed: {exc}", param="input") from exc
    length = dimensions if request.dimensions is None else request.dimensions
    if not 1 <= length <= _MOST:
        raise PenstockError(INVALID_VALUE, f"dimensions must lie between 1 and {_MOST}", param="dimensions")
    texts = _texts(request.input)
    if not texts:
        raise PenstockError(INVALID_VALUE, "input is empty; give at least one text", param="input")
    vectors = [vector(text, length) for text in texts]
    encoded = [_base64(one) if request.encoding_format == "base64" else one for one in vectors]
    count = sum(max(1, len(text.split())) for text in texts)
    return msgspec.json.encode(
        {
            "object": "list",
            "data": [{"object": "embedding", "index": at, "embedding": one} for at, one in enumerate(encoded)],
            "model": model,
            "usage": {"prompt_tokens": count, "total_tokens": count},
        }
    )


def vector(text: str, length: int) -> list[float]:
    """A unit vector: the sum of one fixed direction per word."""
    total = [0.0] * length
    for word in text.lower().split() or [""]:
        noise = struct.unpack(f"<{length}h", hashlib.shake_128(word.encode(errors="replace")).digest(2 * length))
        for at, value in enumerate(noise):
            total[at] += value + 0.5
    norm = math.sqrt(sum(value * value for value in total))
    return [value / norm for value in total] if norm else [1.0] + [0.0] * (length - 1)


def _texts(given: str | list[str | int | list[int]]) -> list[str]:
    if isinstance(given, str):
        return [given]
    if given and isinstance(given[0], int):
        # One text in tokens.
        return [" ".join(map(str, given))]
    return [one if isinstance(one, str) else str(one) for one in given]


def _base64(values: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
