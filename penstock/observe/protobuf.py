"""The wire format of Protocol Buffers, as far as writing needs it: https://protobuf.dev/programming-guides/encoding/.

Each function gives one field, its number included. Ours because the library costs every process several megabytes and
a compiled schema for what is a page of code.
"""

from __future__ import annotations

import struct

_VARINT, _FIXED64, _BYTES = 0, 1, 2
_DOUBLE = struct.Struct("<d")


def varint(value: int) -> bytes:
    """At least 0, without a field number: lengths, too, are written so."""
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def zigzag(value: int) -> int:
    """A signed number as ``sint32`` and ``sint64`` have it, small where its size is."""
    return value << 1 if value >= 0 else (-value << 1) - 1


def unsigned(field: int, value: int) -> bytes:
    """``uint64``, ``uint32``, an enum or a bool."""
    return varint(field << 3 | _VARINT) + varint(value)


def signed(field: int, value: int) -> bytes:
    """``sint32`` or ``sint64``."""
    return varint(field << 3 | _VARINT) + varint(zigzag(value))


def double(field: int, value: float) -> bytes:
    return varint(field << 3 | _FIXED64) + _DOUBLE.pack(value)


def message(field: int, body: bytes) -> bytes:
    """Bytes, or a message inside another."""
    return varint(field << 3 | _BYTES) + varint(len(body)) + body


def text(field: int, value: str) -> bytes:
    return message(field, value.encode())
