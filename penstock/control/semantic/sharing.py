"""Answers of other gateways: each tells what it was taught, and hears of what the others were, a second later.

Every gateway finds near questions in its own memory, and counts and proves by itself: only answers are shared. What
goes wrong here is a line in the log, and tried again.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from penstock.caches import TierFailed
from penstock.caches.answers import unpacked
from penstock.caches.invalidations import Invalidations
from penstock.caches.seal import Damaged, opened, seal
from penstock.core.caching import DeskScope, Taught
from penstock.core.clock import Clock

_log = logging.getLogger(__name__)

_WITHIN_S: Final = 5.0
_ERASED_WITHIN_S: Final = 300.0
_AT_ONCE: Final = 32
"""Answers of one scope that are read at once: some are large."""
_ROUNDS: Final = 16
_WAITING: Final = 1_000
_WAITING_BYTES: Final = 16 << 20
_COMPRESS_FROM: Final = 1024


class Shared(Protocol):
    """Streams of values by name, of which the oldest may be forgotten at any time. All calls raise
    ``caches.TierFailed`` and nothing else, and may wait for ever."""

    async def put(self, items: Sequence[tuple[str, bytes, float]]) -> None:
        """Appends values, each to the stream of its name, which is forgotten after so many seconds without one."""

    async def after(self, places: Mapping[str, str], most: int) -> Mapping[str, Sequence[tuple[str, bytes]]]:
        """What of each stream came after its place (empty: all), with the place of each: the oldest ``most``."""

    def names(self) -> AsyncIterator[str]:
        """All streams; one may come twice."""

    async def remove(self, name: str, places: Sequence[str]) -> None:
        """Forgets what is at these."""

    async def aclose(self) -> None:
        """Idempotent."""


class _Told(msgspec.Struct, frozen=True, array_like=True):
    gateway: str
    what: Taught


class Sharing:
    """``gateway`` is the name of this one. For one event loop, and one call of ``turn`` or ``erase`` at a time."""

    def __init__(self, shared: Shared, gateway: str, clock: Clock) -> None:
        self._shared = shared
        self._gateway = gateway
        self._clock = clock
        self._waiting: deque[tuple[str, bytes, float]] = deque()
        self._bytes = 0
        self._places: dict[str, tuple[str, str]] = {}
        self._failing = False

    def put(self, what: Taught) -> None:
        """Is told to the others at the next turn. Of what cannot be told for long the oldest is forgotten."""
        name, for_s = named(what.scope), what.semantic.ttl_s
        value = msgspec.msgpack.encode(_Told(self._gateway, what))
        sealed = seal(name.encode(), value, self._clock.wall() + for_s, compress_from=_COMPRESS_FROM)
        self._wait((name, sealed, for_s))

    async def turn(self, scopes: Iterable[tuple[DeskScope, str]]) -> AsyncIterator[Taught]:
        """Tells what waits, and hears of what others were taught for these scopes, each with a word: with another
        word it is a new one, and hears of all that is there."""
        words = {named(scope): word for scope, word in scopes}
        self._places = {
            name: (word, self._places[name][1] if self._places.get(name, ("",))[0] == word else "")
            for name, word in words.items()
        }
        try:
            await self._put()
            for _ in range(_ROUNDS):
                async with asyncio.timeout(_WITHIN_S):
                    found = await self._shared.after({name: at for name, (_, at) in self._places.items()}, _AT_ONCE)
                for name, rows in found.items():
                    for place, sealed in rows:
                        told = self._read(name, sealed)
                        if told is not None and told.gateway != self._gateway:
                            yield told.what
                        self._places[name] = (words[name], place)
                if all(len(rows) < _AT_ONCE for rows in found.values()):
                    break
        except (TimeoutError, TierFailed) as error:
            self._failed(error)
        else:
            self._failing = False

    async def erase(self, invalid: Invalidations) -> None:
        """What was invalidated or is past its time is forgotten, of all scopes."""
        try:
            async with asyncio.timeout(_ERASED_WITHIN_S):
                async for name in self._shared.names():
                    await self._erased(name, invalid)
        except (TimeoutError, TierFailed) as error:
            self._failed(error)

    async def aclose(self) -> None:
        """Tells what waits yet. Idempotent."""
        try:
            await self._put()
        except (TimeoutError, TierFailed) as error:
            self._failed(error)
        await self._shared.aclose()

    def _wait(self, item: tuple[str, bytes, float]) -> None:
        self._waiting.append(item)
        self._bytes += len(item[1])
        while len(self._waiting) > _WAITING or self._bytes > _WAITING_BYTES:
            self._bytes -= len(self._waiting.popleft()[1])

    async def _put(self) -> None:
        waiting, self._waiting, self._bytes = self._waiting, deque(), 0
        if not waiting:
            return
        done = False
        try:
            async with asyncio.timeout(_WITHIN_S):
                await self._shared.put(waiting)
            done = True
        finally:
            if not done:
                later, self._waiting, self._bytes = self._waiting, deque(), 0
                for item in (*waiting, *later):
                    self._wait(item)

    async def _erased(self, name: str, invalid: Invalidations) -> None:
        at, more = "", True
        while more:
            rows = (await self._shared.after({name: at}, _AT_ONCE)).get(name, ())
            dead = [place for place, sealed in rows if self._dead(name, sealed, invalid)]
            if dead:
                await self._shared.remove(name, dead)
            more = len(rows) == _AT_ONCE
            at = rows[-1][0] if rows else at

    def _dead(self, name: str, sealed: bytes, invalid: Invalidations) -> bool:
        told = self._read(name, sealed)
        entry = None if told is None else unpacked(told.what.entry)
        return entry is None or invalid.covers(entry)

    def _read(self, name: str, sealed: bytes) -> _Told | None:
        try:
            found = opened(name.encode(), sealed)
            told = msgspec.msgpack.decode(found.value, type=_Told)
        except (Damaged, msgspec.DecodeError, UnicodeDecodeError):
            return None
        return told if found.until > self._clock.wall() and named(told.what.scope) == name else None

    def _failed(self, error: Exception) -> None:
        if not self._failing:
            _log.warning(
                "answers to similar questions are not shared with other gateways: %s; trying again",
                str(error) or "the server did not answer in time",
            )
        self._failing = True


def named(scope: DeskScope) -> str:
    """A scope as others see it, who are not to read whose it is: 32 hexadecimal digits."""
    return hashlib.blake2b(msgspec.msgpack.encode(scope), digest_size=16, person=b"penstock desk").hexdigest()
