"""The append-only typed facts of one request. Rooms append what they know; settling reads it when all is over."""

from __future__ import annotations

import enum
from collections.abc import Callable

import msgspec

from penstock.core.chat import Kind, Usage


class Ending(enum.Enum):
    """How a reply closed."""

    COMPLETE = "complete"
    FAILED = "failed"
    CLIENT_GONE = "client_gone"

    # As with Kind.
    __hash__ = object.__hash__


class Arrived(msgspec.Struct, frozen=True):
    """``at`` is ``Clock.now`` seconds, ``wall`` seconds since the epoch; so in every fact."""

    at: float
    wall: float
    request_id: str
    kind: Kind
    asked: str
    stream: bool


class Admitted(msgspec.Struct, frozen=True):
    at: float
    key_id: str
    project: str


class Assigned(msgspec.Struct, frozen=True):
    """``release`` is the one that the request has drawn, empty where the service has one; ``unit`` a hash of whom it
    was drawn for, ``rollout`` the one that it is scored for, empty: none."""

    at: float
    service: str
    release: str = ""
    unit: str = ""
    rollout: str = ""


class Prepared(msgspec.Struct, frozen=True):
    """The call is as its service wants it."""

    at: float


class Recalled(msgspec.Struct, frozen=True):
    """What caches had of the request: ``verdict`` as ``caching.Verdict``, ``source`` is ``exact`` or ``semantic``
    where they were asked, ``saved_nano`` what the answer would have cost beyond what is charged for it; ``why`` one
    word on why they had no part in it, or why nothing near serves. Of a semantic one ``distance`` and ``confidence``
    as ``caching.Sought``."""

    at: float
    verdict: str
    source: str = ""
    why: str = ""
    distance: float | None = None
    confidence: float | None = None
    saved_nano: int = 0


class Reserved(msgspec.Struct, frozen=True):
    """Limits and budgets hold what the request may use."""

    at: float


class Queued(msgspec.Struct, frozen=True):
    """How long the request waited for a place, got or not, in seconds."""

    at: float
    waited_s: float


class AttemptStarted(msgspec.Struct, frozen=True):
    """``number`` counts from 1. ``span`` is its own in the request's trace, empty where there is none."""

    at: float
    number: int
    model: str
    replica: str
    span: bytes = b""


class AttemptFailed(msgspec.Struct, frozen=True):
    at: float
    number: int
    code: str
    message: str


class FirstChunk(msgspec.Struct, frozen=True):
    """The first chunk that may go to the client: attempt ``number`` has won."""

    at: float
    number: int


class Counted(msgspec.Struct, frozen=True):
    """Tokens of the answer, as its engine last reported them."""

    usage: Usage


class Closed(msgspec.Struct, frozen=True):
    """The last fact. ``code`` is the fault's when ``ending`` is FAILED; ``status`` is the HTTP status meant;
    ``cost_nano`` what all attempts came to."""

    at: float
    ending: Ending
    status: int
    code: str = ""
    cost_nano: int = 0


TrailFact = (
    Arrived
    | Admitted
    | Assigned
    | Prepared
    | Recalled
    | Reserved
    | Queued
    | AttemptStarted
    | AttemptFailed
    | FirstChunk
    | Counted
    | Closed
)


class Trail:
    """Facts in the order they became true. Owned by one request; not shared between tasks.

    ``away`` adds up the seconds that were not the gateway's own: in the queue, at replicas, between attempts.
    """

    __slots__ = ("add", "away", "facts")

    def __init__(self) -> None:
        self.facts: list[TrailFact] = []
        self.away = 0.0
        self.add: Callable[[TrailFact], None] = self.facts.append
