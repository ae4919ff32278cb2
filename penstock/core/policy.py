"""What a service promises of its live path: how a request is balanced, tried again, waited for and given up.

These are values. The decisions that read them are the routing room's, the deployment file's ``services`` hold them.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from penstock.core.caching import CachePolicy

Seconds = Annotated[float, msgspec.Meta(gt=0, le=86400)]
Delay = Annotated[float, msgspec.Meta(ge=0, le=86400)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the deployment file; an unknown key in it is an error."""


class Retry(Settings, frozen=True, kw_only=True):
    """What is done when an attempt fails before its first chunk for a reason that another attempt may cure."""

    attempts: Annotated[int, msgspec.Meta(ge=1, le=10)] = 3
    """Attempts at one model, the first included, before its fallback is tried."""
    backoff_s: Delay = 0.1
    """Wait before a replica is tried again, doubled each time, of which a random half to whole is waited. Another
    replica is tried at once."""
    max_backoff_s: Delay = 5.0
    """The longest such wait. An upstream's `retry-after` that asks for more is not waited for."""
    budget: Share = 0.2
    """Retries are at most this share of recent requests, beside ten in ten seconds, so that a failing upstream is
    not buried under them."""


class Deadlines(Settings, frozen=True, kw_only=True):
    """How long a request may take, phase by phase, in seconds; a client's `x-penstock-timeout` lowers `total_s`."""

    total_s: Seconds = 600.0
    """From arrival to the last byte."""
    connect_s: Seconds | None = None
    """To a connection with a replica. Default: the model's own `connect_timeout_s`."""
    first_token_s: Seconds | None = None
    """From an attempt's start to its first chunk; another attempt may follow."""
    between_tokens_s: Seconds | None = None
    """Silence in a stream that has begun. Default: the model's own `timeout_s`."""


class Breaker(Settings, frozen=True, kw_only=True):
    """When a replica that fails is left alone. Client errors never count."""

    failures: Positive = 5
    """Failures in a row that open the breaker."""
    error_share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.5
    """Or this share of failures among the attempts of the last ten seconds, of at least `least`."""
    least: Positive = 20
    """The fewest attempts that a share is taken of."""
    open_s: Seconds = 5.0
    """How long an open breaker lets nothing through; doubled each time a probe fails, up to `max_open_s`."""
    max_open_s: Seconds = 60.0
    """The longest that it stays open before the next probe."""
    slow_factor: Annotated[float, msgspec.Meta(gt=1, le=1000)] | None = None
    """Also open when a replica's time to first chunk is this many times the median of its peers. Default: never."""
    return_s: Delay = 10.0
    """Seconds over which a replica that comes back gets its full share again."""


class Queue(Settings, frozen=True, kw_only=True):
    """Admission: how many requests a service works on at once, and how many wait for their turn."""

    concurrency: Positive | None = None
    """Requests at once. Default: as many as the replicas have slots, or no bound where that is not known."""
    length: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 256
    """Requests that may wait. Beyond it the lowest priority is shed, or the newcomer refused with a 429."""
    wait_s: Seconds = 30.0
    """The longest wait for a place; then a 503."""


class Hedge(Settings, frozen=True, kw_only=True):
    """A second attempt beside a slow first one; whichever speaks first answers."""

    after_s: Seconds
    """Wait for a first chunk before the second attempt is made, at another replica or the next model."""


class Balance(Settings, frozen=True, kw_only=True):
    """Which ready replica of a model gets a request."""

    policy: Literal["round_robin", "weighted", "least_work", "two_choices", "affinity", "prefix"] = "least_work"
    """`round_robin` and `weighted` take turns; `least_work` takes the one with the fewest outstanding tokens,
    `two_choices` the better of two at random; `affinity` keeps a session, `prefix` a prompt's beginning, where its
    cache is."""
    session: str = "user"
    """What makes a session for `affinity`: the request's `user`, or the name of a header."""
    bound: Annotated[float, msgspec.Meta(ge=1, le=100)] = 1.25
    """`affinity` and `prefix` leave a replica that has more than this many times the mean load."""
    cache_tokens: Positive = 1_000_000
    """Tokens of prompt that one replica is taken to remember, for `prefix`."""


class History(Settings, frozen=True, kw_only=True):
    """How long a conversation may be that goes to the model. Whoever talks longer loses the beginning of it."""

    tokens: Annotated[int, msgspec.Meta(ge=16, le=100_000_000)]
    """Tokens of all messages together, those of the service's prompt included, at most. They are estimated: three
    bytes of a message's JSON are one, a part that is no text, such as an image, is 1,000, and a message is 4 more."""
    policy: Literal["trim", "summarise"] = "trim"
    """What becomes of the oldest turns: `trim` leaves them out, `summarise` puts a summary in their place. System
    messages and the last turn always stay, and a turn goes whole, its tool calls with their results."""
    summariser: str = ""
    """The service that writes summaries, at the cost of whoever asks; needed for `summarise`."""
    summary_tokens: Annotated[int, msgspec.Meta(ge=16, le=100_000)] = 256
    """Tokens of a summary, at most."""
    within_s: Seconds = 20.0
    """The longest wait for a summary. When it does not come the turns are left out without one."""


class Policy(Settings, frozen=True, kw_only=True):
    """All of it, for one service."""

    balance: Balance = Balance()
    retry: Retry = Retry()
    deadlines: Deadlines = Deadlines()
    breaker: Breaker = Breaker()
    queue: Queue = Queue()
    hedge: Hedge | None = None
    refusal: str | None = None
    history: History | None = None
    cache: CachePolicy | None = None


class Priority(enum.IntEnum):
    """A smaller number is served first; under load the largest is shed first. A client asks by the header
    ``x-penstock-priority: high|normal|low``."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


class Ask(msgspec.Struct, frozen=True):
    """What balancing may know of a request. ``work`` is its estimated size in tokens, prompt and output together;
    ``session`` the affinity key or empty; ``prompt`` the bytes that a prefix cache would see (empty unless the
    policy is ``prefix``): equal prompts have equal bytes, a longer conversation begins with the shorter one's."""

    work: int
    session: str = ""
    prompt: bytes = b""


class TraceParent(msgspec.Struct, frozen=True):
    """The trace that a client's request is part of (W3C Trace Context): ``trace`` is its id, 16 bytes, ``span`` the
    id of the client's own span, 8 bytes, neither all zeros. ``sampled``: the client says that it may be recorded.
    ``state`` is ``tracestate``, sound or empty."""

    trace: bytes
    span: bytes
    sampled: bool = False
    state: bytes = b""


class Terms(msgspec.Struct, frozen=True):
    """What a client asked of the way, beside the body. ``timeout_s`` lowers the service's total deadline (above 0),
    ``priority`` that of its key; ``headers`` are the request's, by lower-case name; ``trace`` is what they say of
    one, None: nothing, or nothing sound."""

    timeout_s: float | None = None
    priority: Priority | None = None
    headers: Mapping[bytes, bytes] = {}
    trace: TraceParent | None = None
