"""Dispatch: the attempt loop. An attempt has won when the first chunk that may be released is ready.

Before that, a failed attempt is passed on to the next and the client never knows; after it, a failure is the
reply's to tell, and nothing is ever repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import msgspec

from penstock.core.chat import Call, Choice, Delta, Upstream, chunk_view
from penstock.core.clock import Clock
from penstock.core.errors import INTERNAL, UPSTREAM_BROKEN, UPSTREAM_GARBLED, PenstockError
from penstock.core.trail import AttemptFailed, AttemptStarted, FirstChunk, Trail
from penstock.gateway.plan import Attempt
from penstock.gateway.snapshot import Engine
from penstock.gateway.watch import Watcher

# A stream that says nothing for this many chunks is released as it is, so that what is held stays bounded.
_HELD_MOST = 64


class Won(msgspec.Struct, frozen=True):
    """The attempt that answers. ``first`` are the chunks it was won with, already watched. ``number`` counts attempts
    from 1. Whoever holds this closes ``upstream``."""

    attempt: Attempt
    number: int
    upstream: Upstream
    first: Sequence[bytes]


async def dispatch(
    attempts: Sequence[Attempt],
    call: Call,
    engines: Mapping[str, Engine],
    watch: tuple[Watcher, ...],
    trail: Trail,
    clock: Clock,
) -> Won:
    """Tries each attempt until one wins. Raises the last one's ``PenstockError``; a client's fault at once."""
    failure = PenstockError(INTERNAL, "No attempt was planned.")
    for number, attempt in enumerate(attempts, 1):
        trail.add(AttemptStarted(clock.now(), number, attempt.model, attempt.replica.id))
        try:
            upstream = await engines[attempt.model].start(call, attempt.replica)
            first = await _first(upstream, call, watch)
        except PenstockError as error:
            trail.add(AttemptFailed(clock.now(), number, error.fault.code, error.message))
            if not error.fault.retry:
                raise
            failure = error
            continue
        trail.add(FirstChunk(clock.now()))
        return Won(attempt, number, upstream, first)
    raise failure


def watched(chunks: Sequence[bytes], watch: tuple[Watcher, ...]) -> list[bytes]:
    """The chunks that every watcher lets go on, in order. Raises ``PenstockError`` when one will not have it."""
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
