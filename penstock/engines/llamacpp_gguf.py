"""The head of a GGUF file: the few facts that settings are chosen from, read without the tensors.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little-endian).
"""

from __future__ import annotations

import math
import mmap
import struct
from pathlib import Path

import msgspec

from penstock.core.errors import ENGINE_START_FAILED, PenstockError

_STRING, _ARRAY = 8, 9
_SCALARS = {
    0: struct.Struct("<B"),
    1: struct.Struct("<b"),
    2: struct.Struct("<H"),
    3: struct.Struct("<h"),
    4: struct.Struct("<I"),
    5: struct.Struct("<i"),
    6: struct.Struct("<f"),
    7: struct.Struct("<?"),
    10: struct.Struct("<Q"),
    11: struct.Struct("<q"),
    12: struct.Struct("<d"),
}
_U32 = _SCALARS[4]
_U64 = _SCALARS[10]
_MOST_KEPT = 4096
"""Arrays longer than this are vocabularies; they are skipped."""

_Value = bool | int | float | str | tuple["_Value", ...]


class Gguf(msgspec.Struct, frozen=True):
    """What a GGUF says of its model. ``kv_token_bytes`` is what one token of context costs in 16-bit floats, in
    bytes; 0 when the file does not say. ``context`` is the length the model was trained for, 0 when unsaid."""

    architecture: str = ""
    parameters: int = 0
    context: int = 0
    kv_token_bytes: int = 0
    chat_template: str = ""
    file_bytes: int = 0


def read_gguf(path: Path) -> Gguf:
    """Raises ``PenstockError`` (ENGINE_START_FAILED) when ``path`` cannot be read, is not GGUF, or is cut short."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            return _facts(_Reader(text), len(text))
    except OSError as exc:
        raise PenstockError(ENGINE_START_FAILED, f"{path} cannot be read ({exc.strerror}); check the file") from exc
    except ValueError as exc:
        raise PenstockError(
            ENGINE_START_FAILED, f"{path} is not a whole GGUF file ({exc}); fetch it again, or name another"
        ) from exc


class _Reader:
    """Walks the file. Raises ``ValueError`` where it does not hold what it says."""

    __slots__ = ("_at", "_text")

    def __init__(self, text: mmap.mmap) -> None:
        self._text = text
        self._at = 0

    def take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._text):
            raise ValueError("it ends too early")
        taken = self._text[self._at : end]
        self._at = end
        return taken

    def number(self, kind: struct.Struct) -> int:
        return int(kind.unpack(self.take(kind.size))[0])

    def string(self) -> str:
        return self.take(self.number(_U64)).decode("utf-8", "replace")

    def value(self) -> _Value | None:
        return self._value(self.number(_U32))

    def _value(self, kind: int) -> _Value | None:
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            inner, count = self.number(_U32), self.number(_U64)
            if count > _MOST_KEPT:
                self._skip(inner, count)
                return None
            kept = (self._value(inner) for _ in range(count))
            return tuple(value for value in kept if value is not None)
        scalar = _SCALARS.get(kind)
        if scalar is None:
            raise ValueError(f"unknown value type {kind}")
        taken: bool | int | float = scalar.unpack(self.take(scalar.size))[0]
        return taken

    def _skip(self, kind: int, count: int) -> None:
        if kind in _SCALARS:
            self._jump(_SCALARS[kind].size * count)
        elif kind == _STRING:
            for _ in range(count):
                self._jump(self.number(_U64))
        else:
            raise ValueError(f"a long array of type {kind}")

    def _jump(self, size: int) -> None:
        self._at += size
        if self._at > len(self._text):
            raise ValueError("it ends too early")


def _facts(reader: _Reader, size: int) -> Gguf:
    if reader.take(4) != b"GGUF":
        raise ValueError("it does not begin with GGUF")
    version = reader.number(_U32)
    if version not in (2, 3):
        raise ValueError(f"version {version}; versions 2 and 3 are read")
    tensors, pairs = reader.number(_U64), reader.number(_U64)
    said: dict[str, _Value | None] = {}
    for _ in range(pairs):
        name = reader.string()
        said[name] = reader.value()
    parameters, last = 0, 0
    for _ in range(tensors):
        reader.string()
        dims = [reader.number(_U64) for _ in range(reader.number(_U32))]
        parameters += math.prod(dims)
        reader.number(_U32)
        last = max(last, reader.number(_U64))
    if last > size:
        raise ValueError("it ends before its last tensor")
    architecture = said.get("general.architecture")
    template = said.get("tokenizer.chat_template")
    return Gguf(
        architecture=architecture if isinstance(architecture, str) else "",
        parameters=parameters,
        context=_largest(said, f"{architecture}.context_length"),
        kv_token_bytes=_kv_token_bytes(said, f"{architecture}."),
        chat_template=template if isinstance(template, str) else "",
        file_bytes=size,
    )


def _largest(said: dict[str, _Value | None], name: str) -> int:
    """A number, or the largest of an array of one per layer; 0 when there is none."""
    value = said.get(name)
    values = value if isinstance(value, tuple) else (value,)
    return max((int(one) for one in values if isinstance(one, (int, float))), default=0)


def _kv_token_bytes(said: dict[str, _Value | None], prefix: str) -> int:
    heads = _largest(said, f"{prefix}attention.head_count")
    width = _largest(said, f"{prefix}embedding_length") // heads if heads else 0
    kv_heads = _largest(said, f"{prefix}attention.head_count_kv") or heads
    key = _largest(said, f"{prefix}attention.key_length") or width
    value = _largest(said, f"{prefix}attention.value_length") or width
    return _largest(said, f"{prefix}block_count") * kv_heads * (key + value) * 2
