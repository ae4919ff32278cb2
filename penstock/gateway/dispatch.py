"""Dispatch: the attempt loop. An attempt has won when the first chunk that may be released is ready.

Before that, a failed attempt is made again or passed on and the client never knows; after it, a failure is the
reply's to tell, and nothing is ever repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import msgspec

from penstock.core.chat import Call, Choice, Delta, Upstream, chunk_view
from penstock.core.clock import Clock
from penstock.core.errors import UPSTREAM_BROKEN, UPSTREAM_GARBLED, UPSTREAM_TIMEOUT, PenstockError
from penstock.core.policy import Deadlines
from penstock.core.trail import AttemptFailed, AttemptStarted, FirstChunk, Trail
from penstock.gateway.alarm import Alarm
from penstock.gateway.hedge import first_of
from penstock.gateway.lease import Lease
from penstock.gateway.plan import Attempt, Course
from penstock.gateway.snapshot import Engine
from penstock.gateway.tracing import Tracing
from penstock.gateway.tries import Try
from penstock.gateway.watch import Watcher

# A stream that says nothing for this many chunks is released as it is, so that what is held stays bounded.
_HELD_MOST = 64


class Won(msgspec.Struct, frozen=True):
    """The attempt that answers. ``first`` are the chunks it was won with, already watched by ``watch``. Whoever holds
    this closes ``upstream`` and ``attempt.running``."""

    attempt: Attempt
    tried: Try
    upstream: Upstream
    watch: tuple[Watcher, ...]
    first: Sequence[bytes]

    async def aclose(self) -> None:
        """For a winner that is not needed."""
        self.tried.broke_off(self.upstream)
        try:
            await self.upstream.aclose()
        finally:
            self.attempt.running.closed()


class Race:
    """What every attempt of one request has in common. ``watching`` makes the watchers of one attempt; ``tracing``
    is the request's trace, None: it has none."""

    __slots__ = ("call", "clock", "course", "deadlines", "engines", "lease", "tracing", "trail", "watching")

    def __init__(
        self,
        call: Call,
        course: Course,
        engines: Mapping[str, Engine],
        deadlines: Deadlines,
        watching: Callable[[Try], tuple[Watcher, ...]],
        lease: Lease,
        trail: Trail,
        clock: Clock,
        tracing: Tracing | None = None,
    ) -> None:
        self.call = call
        self.course = course
        self.engines = engines
        self.deadlines = deadlines
        self.watching = watching
        self.lease = lease
        self.trail = trail
        self.clock = clock
        self.tracing = tracing


async def dispatch(race: Race, alarm: Alarm, hedge_s: float | None) -> Won:
    """Makes attempts until one wins. Raises ``PenstockError``: the last one's, a client's own fault at once, or
    DEADLINE_EXCEEDED. Nothing is open then, nor when cancelled.

    With ``hedge_s``, a second row of attempts begins beside the first when that has not won within so many seconds.
    """
    if hedge_s is None:
        return await _until_won(race, alarm)
    return await first_of(lambda: _row(race, alarm), race.course.more, hedge_s)


async def _row(race: Race, of: Alarm) -> Won:
    alarm = of.another()
    try:
        return await _until_won(race, alarm)
    finally:
        alarm.close()


async def _until_won(race: Race, alarm: Alarm) -> Won:
    while True:
        attempt = race.course.attempt()
        try:
            tried = await _reserved(race, alarm, attempt)
        except BaseException:
            attempt.running.closed()
            raise
        try:
            return await _attempt(race, alarm, attempt, tried)
        except PenstockError as error:
            tried.failed(error.fault, race.clock.now())
            race.trail.add(AttemptFailed(race.clock.now(), attempt.number, error.fault.code, error.message))
            wait_s = race.course.failed(attempt, error, alarm.left())
        except BaseException:
            tried.ended = race.clock.now()
            attempt.running.closed()
            raise
        if wait_s:
            await _slept(race, alarm, wait_s)


async def _reserved(race: Race, alarm: Alarm, attempt: Attempt) -> Try:
    """What the attempt may use is held, and in the journal. Raises ``PenstockError``, which ends the request."""
    with alarm.begin():
        return await race.lease.attempt(attempt.number, attempt.model, attempt.replica)


async def _attempt(race: Race, alarm: Alarm, attempt: Attempt, tried: Try) -> Won:
    clock, deadlines = race.clock, race.deadlines
    call, span = (race.call, b"") if race.tracing is None else race.tracing.attempt(race.call)
    started = clock.now()
    race.trail.add(AttemptStarted(started, attempt.number, attempt.model, attempt.replica.id, span))
    watch = race.watching(tried)
    first_s = deadlines.first_token_s if call.stream else None
    try:
        with alarm.begin(first_s, lambda: _silent(attempt, first_s)):
            upstream = await race.engines[attempt.model].start(call, attempt.replica, connect_s=deadlines.connect_s)
            try:
                first = await _first(upstream, call, watch)
            except BaseException:
                tried.broke_off(upstream)
                raise
    finally:
        ended = clock.now()
        race.trail.away += ended - started
    attempt.running.first(ended - started)
    race.trail.add(FirstChunk(ended, attempt.number))
    return Won(attempt, tried, upstream, watch, first)


async def _slept(race: Race, alarm: Alarm, wait_s: float) -> None:
    began = race.clock.now()
    try:
        with alarm.begin():
            await asyncio.sleep(wait_s)
    finally:
        race.trail.away += race.clock.now() - began


def watched(chunks: Sequence[bytes], watch: tuple[Watcher, ...]) -> list[bytes]:
    """The chunks that every watcher lets go on, in order. Raises ``PenstockError`` when one will not have it."""
    if len(watch) == len(chunks) == 1:
        # As with nearly every chunk of nearly every request.
        passed = watch[0](chunks[0])
        return [] if passed is None else [passed]
    released: list[bytes] = []
    for chunk in chunks:
        passing: bytes | None = chunk
        for watcher in watch:
            if passing is None:
                break
            passing = watcher(passing)
        if passing is not None:
            released.append(passing)
    return released


async def _first(upstream: Upstream, call: Call, watch: tuple[Watcher, ...]) -> Sequence[bytes]:
    """What may go out first; the upstream is closed when this raises."""
    held: list[bytes] = []
    try:
        while chunks := await upstream.read():
            held.extend(watched(chunks, watch))
            if not call.stream or len(held) > _HELD_MOST or any(_says_something(chunk) for chunk in chunks):
                break
        else:
            raise PenstockError(UPSTREAM_BROKEN, "The engine ended its answer before it had said anything.")
    except BaseException:
        await asyncio.shield(upstream.aclose())
        raise
    return held


def _says_something(chunk: bytes) -> bool:
    try:
        choices = chunk_view(chunk).choices
    except msgspec.DecodeError as error:
        raise PenstockError(UPSTREAM_GARBLED, "The engine sent a chunk that is not a JSON object.") from error
    return any(_choice_says(choice) for choice in choices)


def _choice_says(choice: Choice) -> bool:
    return bool(choice.finish_reason or choice.text or (choice.delta and _delta_says(choice.delta)))


def _delta_says(delta: Delta) -> bool:
    return bool(delta.content or delta.reasoning_content or delta.refusal or delta.tool_calls or delta.function_call)


def _silent(attempt: Attempt, limit_s: float | None) -> PenstockError:
    return PenstockError(
        UPSTREAM_TIMEOUT,
        f"The model '{attempt.model}' said nothing within {limit_s:g} seconds. Raise `deadlines: first_token_s` of "
        "the service if that is too short for it.",
    )
