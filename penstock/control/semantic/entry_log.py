"""The entries of one scope on disk: what was kept and what was dropped, one frame after the other.

A frame is big-endian: length of what follows the head (four bytes), CRC-32 of it and of the number (four), one byte
(1: kept, 2: dropped), the number (eight); of one that was kept MessagePack follows. What follows the first
frame that is not whole is cut off.
"""

from __future__ import annotations

import os
import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from penstock.caches.answers import unpacked
from penstock.caches.invalidations import Invalidations
from penstock.caches.semantic.nearest import Vector
from penstock.control.semantic.shelf import Item, about

_HEAD: Final = struct.Struct(">IIBQ")
_KEPT, _DROPPED = 1, 2
_LONGEST: Final = 64 << 20


class _Kept(msgspec.Struct, array_like=True):
    embedder: str
    release: str
    rest: bytes
    text: str
    vector: bytes
    packed: bytes
    until: float


_pack = msgspec.msgpack.Encoder()
_unpack = msgspec.msgpack.Decoder(_Kept)


class Standing(msgspec.Struct, frozen=True):
    """What lies in a log: how many frames, the numbers that are kept, and the first number that was never used."""

    frames: int
    numbers: frozenset[int]
    following: int
    size: int


def kept(item: Item, vector: Vector, embedder: str) -> bytes:
    """The frame of an item that is kept, its vector in half precision."""
    half = vector.astype(np.float16).tobytes()
    body = _pack.encode(_Kept(embedder, item.release, item.rest, item.text, half, item.packed, item.until))
    return _frame(_KEPT, item.number, body)


def dropped(number: int) -> bytes:
    """The frame of an item that was dropped."""
    return _frame(_DROPPED, number, b"")


def standing(path: Path) -> Standing:
    """Looks through the log, cutting off what is not whole. Raises ``OSError``."""
    numbers: set[int] = set()
    frames = following = end = 0
    if path.exists():
        for kind, number, at, body in _frames(path):
            frames, following, end = frames + 1, max(following, number + 1), at + _HEAD.size + len(body)
            if kind == _KEPT:
                numbers.add(number)
            else:
                numbers.discard(number)
        os.truncate(path, end)
    return Standing(frames, frozenset(numbers), following, end)


def items(path: Path, of: Standing, embedder: str, dimensions: int) -> Iterator[tuple[Item, Vector]]:
    """What was kept and not dropped, in the order of the log, if it is of this embedder and so many dimensions.
    Raises ``OSError``."""
    if not of.numbers:
        return
    for kind, number, at, body in _frames(path):
        if at >= of.size:
            return
        if kind != _KEPT or number not in of.numbers:
            continue
        found = _item(number, body)
        if found is None or found[0].embedder != embedder:
            continue
        vector = np.frombuffer(found[0].vector, np.float16).astype(np.float32)
        if len(vector) == dimensions:
            yield found[1], vector


def append(path: Path, frames: bytes) -> None:
    """Raises ``OSError``."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as file:
        file.write(frames)


def rewrite(path: Path, live: frozenset[int]) -> int:
    """Leaves only what is ``live``; tells how many frames those are. Raises ``OSError``."""
    if not path.exists():
        return 0
    fresh = path.with_suffix(".entries-new")
    count = 0
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        for kind, number, _, body in _frames(path):
            if kind == _KEPT and number in live:
                file.write(_frame(kind, number, body))
                count += 1
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    return count


def erase(path: Path, invalid: Invalidations, wall: float) -> None:
    """Leaves only what may be served at ``wall``. Raises ``OSError``."""
    live = frozenset(
        number
        for kind, number, _, body in _frames(path)
        if kind == _KEPT and (item := _item(number, body)) is not None
        if item[1].until > wall and not invalid.covers(item[1].about)
    )
    rewrite(path, live & standing(path).numbers)


def _item(number: int, body: bytes) -> tuple[_Kept, Item] | None:
    try:
        each = _unpack.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    entry = unpacked(each.packed)
    if entry is None:
        return None
    release = sys.intern(each.release)
    return each, Item(number, release, each.rest, each.text, each.packed, about(entry), each.until)


def _frame(kind: int, number: int, body: bytes) -> bytes:
    return _HEAD.pack(len(body), zlib.crc32(body, number & 0xFFFFFFFF), kind, number) + body


def _frames(path: Path) -> Iterator[tuple[int, int, int, bytes]]:
    """Kind, number, where it begins, and the body."""
    at = 0
    with path.open("rb") as file:
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            length, checked, kind, number = _HEAD.unpack(head)
            if length > _LONGEST or kind not in (_KEPT, _DROPPED):
                return
            body = file.read(length)
            if len(body) != length or zlib.crc32(body, number & 0xFFFFFFFF) != checked:
                return
            yield kind, number, at, body
            at += _HEAD.size + length
