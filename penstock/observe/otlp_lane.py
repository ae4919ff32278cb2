"""One batch on its way to the collector: tried again as OTLP says, within bounds."""

from __future__ import annotations

import asyncio
import email.utils
import gzip
import ipaddress
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from penstock.core.clock import Clock

Sleep = Callable[[float], Awaitable[None]]

_AGAIN = frozenset({429, 502, 503, 504})
_SAY_EVERY_S = 60.0
# Beyond it a fifth less is sent for twice the time.
_LEVEL = 1

_log = logging.getLogger(__name__)


class Unreached(Exception):
    """There was no answer: no connection, or it broke, or took too long."""


class Reply(msgspec.Struct, frozen=True):
    """``headers`` by name in lower case. ``body`` is as much of it as is read."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Wire(Protocol):
    """Who posts."""

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], within_s: float) -> Reply:
        """Raises ``Unreached``, after ``within_s`` seconds at the latest."""

    async def aclose(self) -> None:
        """Lets go of the connections. Idempotent."""


class Pace(msgspec.Struct, frozen=True):
    """Bounds, in seconds, spans and bytes. ``linger_s`` is how long spans wait for more of them. ``give_up_s`` after
    its first try a batch is dropped. ``first_s`` is the wait after the first failure, doubled up to ``longest_s``."""

    linger_s: float = 1.0
    batch_spans: int = 2048
    batch_bytes: int = 1 << 20
    most_bytes: int = 32 << 20
    answer_s: float = 10.0
    give_up_s: float = 120.0
    first_s: float = 1.0
    longest_s: float = 30.0


class Batch(msgspec.Struct, frozen=True):
    """``count`` is how many things it has, for who counts them."""

    signal: str
    url: str
    body: bytes
    count: int


Note = Callable[[str, str, int], None]
"""Hears the signal, why it was lost (empty: it was not), and how many."""


class _Partial(msgspec.Struct, frozen=True, rename="camel"):
    rejected_spans: int | str = 0
    rejected_data_points: int | str = 0
    error_message: str = ""


class _Answer(msgspec.Struct, frozen=True, rename="camel"):
    partial_success: _Partial | None = None


_answers = msgspec.json.Decoder(_Answer)


class Delivery:
    """Posts batches, each until it is taken or given up."""

    def __init__(
        self,
        wire: Wire,
        headers: Mapping[str, str],
        clock: Clock,
        sleep: Sleep,
        pace: Pace,
        note: Note,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._wire = wire
        self._headers = {
            **headers,
            "content-type": "application/json",
            "user-agent": "OTel-OTLP-Exporter-Penstock",
        }
        self._clock = clock
        self._sleep = sleep
        self._pace = pace
        self._note = note
        self._draw = draw
        self._said_at = clock.now() - _SAY_EVERY_S

    async def __call__(self, batch: Batch, outdated: Callable[[], bool]) -> None:
        """Returns when it is over. A batch that is ``outdated`` is not tried again, and is no loss."""
        began, failures = self._clock.now(), 0
        packed, headers = batch.body, self._headers
        if not near(batch.url):
            packed = await asyncio.to_thread(gzip.compress, batch.body, _LEVEL)
            headers = {**headers, "content-encoding": "gzip"}
        while True:
            try:
                reply = await self._wire.post(batch.url, packed, headers, self._pace.answer_s)
            except Unreached as error:
                why, asked = str(error), None
            else:
                if 200 <= reply.status < 300:
                    self._taken(batch, reply.body)
                    return
                why = f"it answered with status {reply.status}"
                if reply.status not in _AGAIN:
                    self._lost(batch, "refused", f"{why}: {reply.body[:200].decode(errors='replace')}")
                    return
                asked = _retry_after(reply.headers.get("retry-after", ""), self._clock.wall())
            failures += 1
            wait = self._wait(failures) if asked is None else asked
            if self._clock.now() - began + wait > self._pace.give_up_s:
                self._lost(batch, "unreachable", why)
                # What comes next is not for a collector that has asked to be left alone, either.
                await self._sleep(min(wait, self._pace.give_up_s))
                return
            await self._sleep(wait)
            if outdated():
                return

    def _wait(self, failures: int) -> float:
        longest: float = min(self._pace.longest_s, self._pace.first_s * 2.0 ** min(failures - 1, 20))
        # Several gateways that lost one collector shall not come back in step.
        return longest * (0.5 + self._draw() / 2)

    def _taken(self, batch: Batch, body: bytes) -> None:
        try:
            partial = _answers.decode(body).partial_success if body else None
        except (msgspec.DecodeError, UnicodeDecodeError):
            # It has taken it; what it says beside that is not for us.
            partial = None
        rejected = 0
        if partial is not None:
            rejected = min(batch.count, max(_number(partial.rejected_spans), _number(partial.rejected_data_points)))
        if rejected:
            assert partial is not None
            self._lost(msgspec.structs.replace(batch, count=rejected), "rejected", partial.error_message[:200])
        if batch.count - rejected:
            self._note(batch.signal, "", batch.count - rejected)

    def _lost(self, batch: Batch, reason: str, why: str) -> None:
        self._note(batch.signal, reason, batch.count)
        if self._clock.now() - self._said_at >= _SAY_EVERY_S:
            self._said_at = self._clock.now()
            _log.warning(
                "the collector at %s has not taken %s: %s. Requests are served on; look at the collector, or at "
                "`observe: otlp:`.",
                # The address may have a login in it.
                urlsplit(batch.url).hostname,
                batch.signal,
                why,
            )


def near(url: str) -> bool:
    """Whether that is on this machine: to pack what is only copied takes longer than to copy it."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _number(said: int | str) -> int:
    try:
        return int(said)
    except ValueError:
        return 0


def _retry_after(said: str, wall: float) -> float | None:
    """Seconds, from a number or a date; None: nothing that can be read."""
    if said.strip().isdecimal():
        return float(said)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(said).timestamp() - wall)
    except (ValueError, TypeError):
        return None
