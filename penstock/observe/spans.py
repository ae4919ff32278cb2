"""What a request's record is as a trace: pure, so that what is exported and what the console draws are one thing.

Names and attributes are those of OpenTelemetry's conventions for generative AI
(https://github.com/open-telemetry/semantic-conventions-genai); what they have no word for begins with ``penstock.``.
Whom a client asks for is left out: what has left for a collector could not be erased.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Literal

import msgspec

from penstock.core.errors import DEADLINE_EXCEEDED, QUEUE_FULL, QUEUE_TIMEOUT, SHED
from penstock.core.money import NANO
from penstock.core.requests import AttemptMade, RequestContent, RequestRecord
from penstock.observe.span_content import messages_in, messages_out

Value = str | bool | int | float

OPERATIONS: Mapping[str, str] = MappingProxyType(
    {"chat": "chat", "completion": "text_completion", "embedding": "embeddings"}
)
"""The conventions' word for a kind of request."""

# The rooms of the path, in the order of the marks at which a request leaves them.
_ROOMS = ("admit", "assign", "prepare", "reserve", "place", "dispatch")
_DISPATCH = "dispatch"
_WAITED = frozenset(fault.code for fault in (QUEUE_FULL, SHED, QUEUE_TIMEOUT, DEADLINE_EXCEEDED))


class Bar(msgspec.Struct, frozen=True):
    """A bar of the waterfall, in seconds after the request's arrival. ``depth`` 0 is the request, 1 a room, 2 an
    attempt. ``error`` is a fault's code, empty: it did not fail; ``message`` is what an attempt said of it."""

    name: str
    begin: float
    end: float
    depth: int
    about: str = ""
    error: str = ""
    message: str = ""


class Event(msgspec.Struct, frozen=True):
    """``at`` in nanoseconds since the epoch."""

    name: str
    at: int
    attributes: Mapping[str, Value] = {}


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """One span. ``trace`` has 16 bytes, ``id`` and ``parent`` 8, ``parent`` none where it is the first. Times are
    nanoseconds since the epoch. ``error`` is the status' message, None: it did not fail."""

    trace: bytes
    id: bytes
    parent: bytes
    name: str
    kind: Literal["server", "client", "internal"]
    begin: int
    end: int
    attributes: Mapping[str, Value]
    error: str | None = None
    events: tuple[Event, ...] = ()


def waterfall(record: RequestRecord) -> tuple[Bar, ...]:
    """The request, the rooms that it came through, and the attempts, each after the room that made it."""
    name = record.service or record.asked or "request"
    bars = [Bar(name, 0.0, record.duration_s, 0, _how(record), record.code)]
    attempts = [_bar(attempt) for attempt in record.attempts]
    for room in _rooms(record):
        bars.append(room)
        if room.name == _DISPATCH:
            bars += attempts
            attempts = []
    return (*bars, *attempts)


def spans(
    record: RequestRecord, provider: Callable[[str], str], content: RequestContent | None = None
) -> tuple[Span, ...]:
    """The trace of a record that has one. ``provider`` says which engine serves a model, empty: it is gone. With
    ``content`` what was said goes along.

    Ids of rooms come of the request's own, so that what is sent twice is seen to be the same.
    """
    # A double has no nanoseconds of this century.
    base = round(record.at * 1e6) * 1000
    rooms = _rooms(record)
    attributes = _of_request(record, provider(record.model))
    if content is not None:
        attributes |= _said(content)
    failed = record.code if record.ending == "failed" and record.status >= 500 else None
    root = Span(
        trace=record.trace,
        id=record.span,
        parent=record.parent,
        name=_named(record.kind, record.service or record.asked),
        kind="server",
        begin=base,
        end=base + _ns(record.duration_s),
        attributes=attributes,
        error=failed,
    )
    inner = [
        Span(
            trace=record.trace,
            id=_id(record.span, room.name),
            parent=record.span,
            name=f"penstock.{room.name}",
            kind="internal",
            begin=base + _ns(room.begin),
            end=base + _ns(room.end),
            attributes={"error.type": room.error} if room.error else {},
            error=room.error or None,
        )
        for room in rooms
    ]
    above = _id(record.span, _DISPATCH) if any(room.name == _DISPATCH for room in rooms) else record.span
    made = (_attempt(record, attempt, above, base, provider(attempt.model)) for attempt in record.attempts)
    return (root, *inner, *made)


# -- the rooms ---------------------------------------------------------------------------------------------------


def _rooms(record: RequestRecord) -> list[Bar]:
    """Those that it was in. Where it did not come through the last one has its error, and lasts until the end."""
    marks, end = record.marks, record.marks.closed or record.duration_s
    if not record.attempts and record.code in _WAITED:
        # The mark says when it stopped waiting, with a place or without one.
        marks = msgspec.structs.replace(marks, placed=None)
    left = (marks.admitted, marks.assigned, marks.prepared, marks.reserved, marks.placed, marks.first)
    came = len(left) - 1
    while came >= 0 and left[came] is None:
        came -= 1
    if record.attempts:
        # Where a service has no bound nobody waits for a place.
        came = max(came, len(_ROOMS) - 2)
    rooms, begin = [], 0.0
    for place, room in enumerate(_ROOMS):
        at = left[place]
        if at is not None:
            rooms.append(Bar(room, begin, max(begin, at), 1))
            begin = rooms[-1].end
        elif place == came + 1:
            rooms.append(Bar(room, begin, max(begin, end), 1, error=record.code))
            return rooms
    rooms.append(Bar("reply", begin, max(begin, end), 1, error=record.code if record.ending == "failed" else ""))
    return rooms


def _bar(attempt: AttemptMade) -> Bar:
    return Bar(attempt.model, attempt.began_s, attempt.ended_s, 2, attempt.replica, attempt.code, attempt.message)


def _how(record: RequestRecord) -> str:
    return f"{record.ending} {record.status}" if record.ending else ""


# -- attributes --------------------------------------------------------------------------------------------------


def _of_request(record: RequestRecord, provider: str) -> dict[str, Value]:
    tokens = record.tokens
    found: dict[str, Value | None] = {
        "gen_ai.operation.name": OPERATIONS.get(record.kind, record.kind),
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": record.asked or record.service,
        "gen_ai.response.model": record.model,
        "gen_ai.request.stream": record.stream or None,
        "gen_ai.response.time_to_first_chunk": record.first_chunk_s if record.stream else None,
        "http.request.method": "POST",
        "http.route": f"/v1/{record.dialect}" if record.dialect else "",
        "http.response.status_code": record.status or None,
        "error.type": record.code,
        "penstock.request.id": record.request_id,
        "penstock.gateway": record.gateway,
        "penstock.service": record.service,
        "penstock.release": record.release,
        "penstock.rollout": record.rollout,
        "penstock.replica": record.replica,
        "penstock.project": record.project,
        "penstock.team": record.team,
        "penstock.key.id": record.key_id,
        "penstock.purpose": record.purpose,
        "penstock.ending": record.ending,
        "penstock.cache": record.cache,
        "penstock.attempts": len(record.attempts),
        "penstock.queued_s": record.queued_s,
        "penstock.overhead_s": record.overhead_s,
        "penstock.time_between_tokens_s": record.between_s,
        "penstock.cost.usd": record.cost_nano / NANO,
    }
    if tokens is not None:
        found |= {
            "gen_ai.usage.input_tokens": tokens.input,
            "gen_ai.usage.output_tokens": tokens.output,
            "gen_ai.usage.cache_read.input_tokens": tokens.cached_read or None,
            "gen_ai.usage.cache_creation.input_tokens": tokens.cached_write or None,
            "gen_ai.usage.reasoning.output_tokens": tokens.reasoning or None,
            "gen_ai.usage.audio.input_tokens": tokens.audio_input or None,
            "gen_ai.usage.audio.output_tokens": tokens.audio_output or None,
            "penstock.usage.estimated": record.estimated or None,
        }
    return _known(found)


def _attempt(record: RequestRecord, attempt: AttemptMade, parent: bytes, base: int, provider: str) -> Span:
    end = base + _ns(max(attempt.began_s, attempt.ended_s))
    first = None if attempt.first_s is None else max(0.0, attempt.first_s - attempt.began_s)
    events: tuple[Event, ...] = ()
    if attempt.code:
        thrown: dict[str, Value] = {"exception.type": attempt.code, "exception.message": attempt.message}
        events = (Event("exception", end, thrown),)
    return Span(
        trace=record.trace,
        id=attempt.span or _id(record.span, f"attempt {attempt.number}"),
        parent=parent,
        name=_named(record.kind, attempt.model),
        kind="client",
        begin=base + _ns(attempt.began_s),
        end=end,
        attributes=_known(
            {
                "gen_ai.operation.name": OPERATIONS.get(record.kind, record.kind),
                "gen_ai.provider.name": provider,
                "gen_ai.request.model": attempt.model,
                "gen_ai.request.stream": record.stream or None,
                "gen_ai.response.time_to_first_chunk": first if record.stream else None,
                "error.type": attempt.code,
                "penstock.replica": attempt.replica,
                "penstock.attempt": attempt.number,
            }
        ),
        error=(attempt.message or attempt.code) if attempt.code else None,
        events=events,
    )


def _said(content: RequestContent) -> dict[str, Value]:
    said = {
        "gen_ai.input.messages": messages_in(content.request),
        "gen_ai.output.messages": messages_out(content.reply),
    }
    return {name: text for name, text in said.items() if text}


def _known(attributes: Mapping[str, Value | None]) -> dict[str, Value]:
    """Without those that nobody knows."""
    return {name: value for name, value in attributes.items() if value is not None and value != ""}


def _named(kind: str, model: str) -> str:
    return " ".join(filter(None, (OPERATIONS.get(kind, kind), model))) or "request"


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


def _id(span: bytes, name: str) -> bytes:
    return (int.from_bytes(span, "big") ^ _mark(name)).to_bytes(8, "big")


@lru_cache(64)
def _mark(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")
