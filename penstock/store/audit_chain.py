"""The links of the audit's chain, and the signed statements of how far it reached. Pure.

Row 1 follows 32 zero bytes, every other row the digest of the one before. All digests are SHA-256, over:

- a content: ``penstock audit content 1`` NUL, the 32 random bytes of its salt, the content. The salt goes when the
  content is redacted, so that nobody can find out by trying whether it was a certain word. No content: 32 zero bytes.
- a row: ``penstock audit row 1`` NUL, the digest before, the digest of the content, the time as an IEEE 754 double,
  then ``id kind actor project action target outcome address request_id``, each in UTF-8 behind its length in 4 bytes,
  then the row's number in 8 bytes. Numbers are big-endian.

A head is signed with Ed25519 (RFC 8032) over ``penstock audit head 1`` NUL, the number in 8 bytes, the digest, the
time as a double.
"""

from __future__ import annotations

import hashlib
import secrets
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from penstock.core.usage import Act, AuditRow, Head

GENESIS = bytes(32)
"""What the first row follows."""
NOTHING = bytes(32)
"""The digest of no content."""
SALT_BYTES = 32

_CONTENT = b"penstock audit content 1\0"
_ROW = b"penstock audit row 1\0"
_HEAD = b"penstock audit head 1\0"
_REDACTS = "redacts:"

_double = struct.Struct(">d")
_length = struct.Struct(">I")
_number = struct.Struct(">q")


class Link(msgspec.Struct, frozen=True):
    """A row as kept. ``salt`` None: there is no content, or none any more; ``row.act.content`` is then empty."""

    row: AuditRow
    salt: bytes | None


class Written:
    """What a row's digest is made of, all but its number: ``at(number)`` is the digest it would have there."""

    def __init__(self, previous: bytes, content_digest: bytes, id_: str, act: Act) -> None:
        self._sum = hashlib.sha256(_ROW + previous + content_digest + _double.pack(act.at))
        words = (id_, act.kind, act.actor, act.project, act.action, act.target, act.outcome, act.address)
        for word in (*words, act.request_id):
            told = word.encode("utf-8", "surrogatepass")
            self._sum.update(_length.pack(len(told)) + told)

    def at(self, number: int) -> bytes:
        whole = self._sum.copy()
        whole.update(_number.pack(number))
        return whole.digest()


def content_digest(salt: bytes, content: bytes) -> bytes:
    """That of a content that is not empty. The salt has ``SALT_BYTES``, so that none of it passes for content."""
    return hashlib.sha256(_CONTENT + salt + content).digest()


def follow(previous: bytes, number: int, acts: Iterable[tuple[str, Act]]) -> Iterator[Link]:
    """The rows of these acts behind a chain of ``number`` rows that ends in ``previous``."""
    for id_, act in acts:
        number += 1
        salt = secrets.token_bytes(SALT_BYTES) if act.content else None
        sealed = content_digest(salt, act.content) if salt else NOTHING
        digest = Written(previous, sealed, id_, act).at(number)
        yield Link(
            AuditRow(number=number, id=id_, act=act, content_digest=sealed, previous=previous, digest=digest), salt
        )
        previous = digest


# -- heads -------------------------------------------------------------------------------------------------------


def key_name(key: Ed25519PublicKey) -> str:
    """The first 8 bytes of the SHA-256 of the raw public key, in hexadecimal."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def sign_head(key: Ed25519PrivateKey, number: int, digest: bytes, at: float) -> Head:
    """The statement that at ``at`` (seconds since the epoch) the chain had ``number`` rows, ``digest`` the last."""
    signature = key.sign(_stated(number, digest, at))
    return Head(number=number, digest=digest, at=at, key=key_name(key.public_key()), signature=signature)


def head_fault(head: Head, keys: Mapping[str, Ed25519PublicKey]) -> str:
    """Why the head cannot be believed; empty when it can. ``keys`` by ``key_name``."""
    key = keys.get(head.key)
    if key is None:
        return f"the head was signed with the key {head.key!r}, which is not known here; give its public key"
    try:
        key.verify(head.signature, _stated(head.number, head.digest, head.at))
    except InvalidSignature:
        return "the head was altered or forged: its signature does not fit"
    return ""


def _stated(number: int, digest: bytes, at: float) -> bytes:
    return _HEAD + _number.pack(number) + digest + _double.pack(at)


# -- what a redaction names --------------------------------------------------------------------------------------


def redaction_target(numbers: Sequence[int]) -> str:
    """The target of the act that redacts these rows, such as ``redacts:3,7-9``. It is part of the chain and stays."""
    return _REDACTS + ",".join(f"{a}-{b}" if b > a else str(a) for a, b in runs(sorted(set(numbers))))


def redacted_by(act: Act) -> Sequence[tuple[int, int]]:
    """The runs of rows (first and last) that an act redacts; none for another act."""
    if act.kind != "administrative" or not act.target.startswith(_REDACTS):
        return ()
    found = []
    for part in act.target.removeprefix(_REDACTS).split(","):
        first, _, last = part.partition("-")
        if not (first.isdecimal() and (not last or last.isdecimal())):
            return ()
        found.append((int(first), int(last or first)))
    return found


def runs(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Ascending numbers as runs of (first, last)."""
    first = last = None
    for number in numbers:
        if first is None or last is None or number != last + 1:
            if first is not None and last is not None:
                yield first, last
            first = number
        last = number
    if first is not None and last is not None:
        yield first, last
