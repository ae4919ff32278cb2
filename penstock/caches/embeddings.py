"""Embeddings that were made once: each text of a model's version has one vector.

What is not known is embedded in batches of texts of about one length, short with short: an engine pads a batch to its
longest text, or reads it in one piece. Vectors lie packed as 32-bit floats, as engines make them.
"""

from __future__ import annotations

import asyncio
import hashlib
import struct
from collections.abc import Coroutine, Mapping, Sequence
from typing import Protocol

import msgspec

from penstock.caches.chain import Chain
from penstock.caches.flight import Flights, Seat
from penstock.core.clock import Clock
from penstock.core.errors import UPSTREAM_GARBLED, PenstockError

FORM = b"\x02"
"""The first byte of what is kept: a vector, packed so."""
# What it is, its tokens, when it was made, and for whom.
_HEAD = struct.Struct("<cId16s")
_UNKNOWN = 2**32 - 1
_NOBODY = bytes(16)


class Vector(msgspec.Struct, frozen=True):
    """An embedding: ``floats`` are 32-bit, little-endian, one after the other; ``tokens`` what the text had, None:
    nobody said."""

    floats: bytes
    tokens: int | None = None

    @classmethod
    def of(cls, values: Sequence[float], tokens: int | None = None) -> Vector:
        """From numbers. Raises ``struct.error`` or ``OverflowError`` for one that 32 bits do not hold."""
        return cls(struct.pack(f"<{len(values)}f", *values), tokens)

    def values(self) -> tuple[float, ...]:
        """Its numbers."""
        return struct.unpack(f"<{len(self.floats) // 4}f", self.floats)


class Dated(msgspec.Struct, frozen=True):
    """A vector that is kept: made at ``made_at``, in seconds since the epoch, first for the person ``subject`` (as
    ``subject_digest`` has it), empty: nobody."""

    vector: Vector
    made_at: float
    subject: str = ""


class Embed(Protocol):
    """Asks a model."""

    async def __call__(self, texts: Sequence[str], /) -> Sequence[Vector]:
        """The vector of each text, in order. Raises ``PenstockError``."""


class Embedded(msgspec.Struct, frozen=True):
    """``vectors`` in the order of the texts; ``made`` says which texts, by index, a model was asked for."""

    vectors: tuple[Vector, ...]
    made: tuple[int, ...]


class Embeddings:
    """Vectors on a ``chain``, which others may use, too. For one event loop.

    A batch has ``most_texts`` texts at most, and ``most_characters`` when each counts as its longest; ``at_once``
    batches of one call are asked for at a time. A vector is kept for ``ttl_s`` seconds; a call waits ``wait_s`` at
    most for one that another call asked for.
    """

    def __init__(
        self,
        chain: Chain,
        *,
        clock: Clock,
        ttl_s: float,
        wait_s: float = 60.0,
        most_texts: int = 64,
        most_characters: int = 64_000,
        at_once: int = 4,
    ) -> None:
        self._chain = chain
        self._wall = clock.wall
        self._ttl_s = ttl_s
        self._wait_s = wait_s
        self._most_texts = most_texts
        self._most_characters = most_characters
        self._at_once = at_once
        self._flights: Flights[Vector] = Flights()

    async def known(self, space: str, texts: Sequence[str]) -> list[Dated | None]:
        """What is kept for each text, in order; ``space`` as ``get`` has it. Waits for the tiers' deadlines at most,
        and never raises."""
        stored = await self._chain.get([_key(space, text) for text in texts])
        return [None if value is None else unpacked(value) for value in stored]

    def keep(self, space: str, text: str, dated: Dated, *, for_s: float) -> None:
        """Keeps the vector of a text for ``for_s`` seconds after it was made; waits for nothing."""
        self._chain.put(_key(space, text), _packed(dated), dated.made_at + for_s)

    async def get(
        self, space: str, texts: Sequence[str], embed: Embed, *, subject: str = "", since: float = -1.0
    ) -> Embedded:
        """The vector of each text. ``space`` names the model's version and all that changes a vector, such as how
        many dimensions are wanted, and whose texts they are. Equal texts, in one call or several, are embedded once.
        What is made is kept as made for ``subject``; what was made at ``since`` or before is not used.

        Raises what ``embed`` raises; what came before is kept. Raises ``PenstockError(UPSTREAM_GARBLED)`` when it
        brings another number of vectors.
        """
        keys = [_key(space, text) for text in texts]
        wanted = dict(zip(keys, texts, strict=True))
        names = list(wanted)
        stored = await self._chain.get(names)
        found = {
            key: dated.vector
            for key, value in zip(names, stored, strict=True)
            if value is not None and (dated := unpacked(value)) is not None and dated.made_at > since
        }
        missing = {key: text for key, text in wanted.items() if key not in found}
        made = await self._made(missing, embed, found, subject) if missing else set[bytes]()
        first = {key: index for index, key in reversed(list(enumerate(keys)))}
        return Embedded(tuple(found[key] for key in keys), tuple(sorted(first[key] for key in made)))

    async def _made(
        self, missing: Mapping[bytes, str], embed: Embed, found: dict[bytes, Vector], subject: str
    ) -> set[bytes]:
        """Adds the vectors of ``missing`` to ``found``; tells which it asked the model for."""
        seats: dict[bytes, Seat[Vector]] = {}
        for key in missing:
            if (seat := self._flights.lead(key)) is not None:
                seats[key] = seat
        made = set(seats)

        async def follow(key: bytes) -> None:
            seat = await self._flights.seat(key, self._wait_s)
            if seat.value is not None:
                found[key] = seat.value
                return
            made.add(key)
            try:
                await self._ask({key: missing[key]}, embed, found, {key: seat}, subject)
            finally:
                seat.leave()

        # Each follows on its own: two calls that led while they wait for one another would wait for ever.
        try:
            await _all(
                [
                    self._ask(missing, embed, found, seats, subject),
                    *(follow(key) for key in missing if key not in seats),
                ]
            )
        finally:
            for seat in seats.values():
                seat.leave()
        return made

    async def _ask(
        self,
        texts: Mapping[bytes, str],
        embed: Embed,
        found: dict[bytes, Vector],
        seats: Mapping[bytes, Seat[Vector]],
        subject: str,
    ) -> None:
        """Embeds those of ``texts`` that have a seat."""
        turns = asyncio.Semaphore(self._at_once)

        async def ask(batch: Sequence[bytes]) -> None:
            async with turns:
                began = self._wall()
                vectors = await embed([texts[key] for key in batch])
            if len(vectors) != len(batch):
                raise PenstockError(
                    UPSTREAM_GARBLED,
                    f"The engine gave {len(vectors)} embeddings for {len(batch)} texts; see what it serves.",
                )
            for key, vector in zip(batch, vectors, strict=True):
                found[key] = vector
                self._chain.put(key, _packed(Dated(vector, began, subject)), began + self._ttl_s)
                seats[key].land(vector)

        await _all([ask(batch) for batch in self.batches({key: texts[key] for key in seats})])

    def batches(self, texts: Mapping[bytes, str]) -> list[list[bytes]]:
        """The keys of ``texts`` in batches, each of texts of about one length, the longest last."""
        batches: list[list[bytes]] = []
        for key, text in sorted(texts.items(), key=lambda item: len(item[1])):
            # By length, so that this one is the longest of its batch.
            last = batches[-1] if batches else []
            size = (len(last) + 1) * len(text)
            if (
                last
                and len(last) < self._most_texts
                and size <= self._most_characters
                and _alike(texts[last[0]], text)
            ):
                last.append(key)
            else:
                batches.append([key])
        return batches


async def _all(work: Sequence[Coroutine[object, object, None]]) -> None:
    """Does all at once. When one fails, or this is cancelled, the rest is stopped, and has ended."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _alike(shortest: str, text: str) -> bool:
    """Whether padding the one to the other's length wastes little."""
    return len(text) <= 2 * len(shortest) + 64


def _key(space: str, text: str) -> bytes:
    named = space.encode()
    digest = hashlib.blake2b(len(named).to_bytes(4, "big"), digest_size=20, person=b"penstock embed 1")
    digest.update(named)
    # A client's JSON may hold half of a surrogate pair; it is one text like another.
    digest.update(text.encode("utf-8", "surrogatepass"))
    return digest.digest()


def _packed(dated: Dated) -> bytes:
    vector, subject = dated.vector, bytes.fromhex(dated.subject) or _NOBODY
    tokens = _UNKNOWN if vector.tokens is None else min(vector.tokens, _UNKNOWN - 1)
    return _HEAD.pack(FORM, tokens, dated.made_at, subject) + vector.floats


def unpacked(value: bytes) -> Dated | None:
    """What was kept so; None when it is none of this form."""
    if value[:1] != FORM or len(value) <= _HEAD.size or (len(value) - _HEAD.size) % 4:
        return None
    _, tokens, made_at, subject = _HEAD.unpack_from(value)
    vector = Vector(value[_HEAD.size :], None if tokens == _UNKNOWN else tokens)
    return Dated(vector, made_at, "" if subject == _NOBODY else subject.hex())
