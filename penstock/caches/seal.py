"""How a value lies in a tier that may damage it, mix it up or keep it too long: sealed for its key.

A seal is one magic byte (what follows, and how it is packed), eight bytes of time (big-endian double, seconds since
the epoch, from which the value is not served), four of the length before packing, sixteen of BLAKE2b over the key and
all of it, and the value, deflated (RFC 1950) where that makes it smaller.
"""

from __future__ import annotations

import hashlib
import struct
import zlib

import msgspec

PLAIN = 0xC7
DEFLATED = 0xC8
MOST_BYTES = 1 << 30
"""No value is larger."""
_HEAD = struct.Struct(">BdI")
_SUM = 16
_START = _HEAD.size + _SUM
_LEVEL = 1


class Damaged(Exception):
    """The bytes are not what was sealed for this key."""


class Opened(msgspec.Struct, frozen=True):
    """A value, and when its time is over, in seconds since the epoch."""

    value: bytes
    until: float


def seal(key: bytes, value: bytes, until: float, *, compress_from: int) -> bytes:
    """``value`` for ``key``; deflated when it has ``compress_from`` bytes or more. Raises ``ValueError`` when it is
    larger than ``MOST_BYTES``."""
    if len(value) > MOST_BYTES:
        raise ValueError(f"a value of {len(value)} bytes; a tier takes at most {MOST_BYTES}")
    packed, magic = value, PLAIN
    if len(value) >= compress_from:
        deflated = zlib.compress(value, _LEVEL)
        if len(deflated) < len(value):
            packed, magic = deflated, DEFLATED
    head = _HEAD.pack(magic, until, len(value))
    return head + _sum(key, head, packed) + packed


def opened(key: bytes, sealed: bytes) -> Opened:
    """What was sealed for ``key``. Raises ``Damaged`` when a bit of it differs, or it was sealed for another key."""
    if len(sealed) < _START:
        raise Damaged
    head, packed = sealed[: _HEAD.size], sealed[_START:]
    magic, until, length = _HEAD.unpack(head)
    if sealed[_HEAD.size : _START] != _sum(key, head, packed) or magic not in (PLAIN, DEFLATED):
        raise Damaged
    return Opened(_inflated(packed, length) if magic == DEFLATED else packed, until)


def _inflated(packed: bytes, length: int) -> bytes:
    inflating = zlib.decompressobj()
    try:
        value = inflating.decompress(packed, length or 1)
    except zlib.error as error:
        raise Damaged from error
    if len(value) != length or not inflating.eof:
        raise Damaged
    return value


def _sum(key: bytes, head: bytes, packed: bytes) -> bytes:
    hashed = hashlib.blake2b(key, digest_size=_SUM, person=b"penstock seal 1")
    hashed.update(head)
    hashed.update(packed)
    return hashed.digest()
