"""What is live on a page of the console: one stream of events for each tab that is looked at."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable

import msgspec

from penstock.core.administration import Answer
from penstock.core.errors import OUT_OF_RESOURCES, PenstockError
from penstock.edge.http.exchange import Exchange
from penstock.edge.http.pump import start_stream

MOST = 256
"""Streams of one worker."""
MOST_EACH = 32
"""Of them for one who is signed in, so that nobody takes those of all others."""
EVERY_S = 2.0
"""How often a page is asked for again."""

_PING = b": ping\n\n"
_BYE = b"event: bye\ndata: {}\n\n"
_STALE = b"event: stale\ndata: {}\n\n"

Ask = Callable[[], Awaitable[Answer]]
"""Asks for the page's live parts again, in the name of whoever is signed in now. Raises ``PenstockError``: when
nobody is any more (status 401 or 403), or when it cannot be had just now."""


class _Live(msgspec.Struct):
    regions: dict[str, str]


class Streams:
    """All of one worker. ``pace`` waits between two looks. ``open`` are those that are watched, ``waiting`` those of
    them that ask for nothing just now."""

    def __init__(
        self,
        every_s: float = EVERY_S,
        most: int = MOST,
        pace: Callable[[float], Awaitable[None]] = asyncio.sleep,
        each: int = MOST_EACH,
    ) -> None:
        self._every_s = every_s
        self._most = most
        self._each = each
        self._pace = pace
        self.open = self.waiting = 0
        self._whose: Counter[str] = Counter()

    async def run(self, exchange: Exchange, ask: Ask, ending: Callable[[], bool], whose: str = "") -> None:
        """Sends what changes until the client leaves, the session ends or the gateway stops. ``whose`` names who is
        signed in.

        Raises ``PenstockError(OUT_OF_RESOURCES)`` when there are too many.
        """
        if self.open >= self._most:
            raise PenstockError(
                OUT_OF_RESOURCES,
                f"{self._most} pages are live at this worker already. Close some, or reload this one by hand.",
                retry_after=10.0,
            )
        if self._whose[whose] >= self._each:
            raise PenstockError(
                OUT_OF_RESOURCES,
                f"{self._each} of your pages are live at this worker already. Close some, or reload this by hand.",
                retry_after=10.0,
            )
        self.open += 1
        self.waiting += 1
        self._whose[whose] += 1
        try:
            start_stream(exchange, [])
            exchange.silent = lambda: exchange.write(_PING)
            exchange.write(b"retry: 3000\n\n")
            await self._sent(exchange, ask, ending)
        finally:
            exchange.silent = None
            self.open -= 1
            self.waiting -= 1
            self._whose[whose] -= 1
            if not self._whose[whose]:
                del self._whose[whose]

    async def _sent(self, exchange: Exchange, ask: Ask, ending: Callable[[], bool]) -> None:
        known: dict[str, bytes] = {}
        while not ending():
            try:
                answer = await self._asked(ask)
            except PenstockError as error:
                if error.fault.status in (401, 403):
                    exchange.write(_BYE, more=False)
                    return
                exchange.write(_STALE)
            else:
                if (event := _changed(answer, known)) is not None:
                    exchange.write(event)
            if exchange.full:
                await exchange.room()
            await self._pace(self._every_s)
        exchange.write(b"", more=False)

    async def _asked(self, ask: Ask) -> Answer:
        self.waiting -= 1
        try:
            return await ask()
        finally:
            self.waiting += 1


def _changed(answer: Answer, known: dict[str, bytes]) -> bytes | None:
    """The event that tells what is not as it was sent before; None: all is."""
    if answer.status != 200:
        return _STALE
    try:
        live = msgspec.json.decode(answer.body, type=_Live)
    except msgspec.DecodeError:
        return _STALE
    fresh: dict[str, str] = {}
    for id, html in live.regions.items():
        digest = hashlib.blake2b(html.encode(), digest_size=16).digest()
        if known.get(id) != digest:
            known[id] = digest
            fresh[id] = html
    return b"event: regions\ndata: %b\n\n" % msgspec.json.encode(fresh) if fresh else None
