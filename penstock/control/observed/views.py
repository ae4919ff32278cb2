"""What the admin API tells of what it sees. Times are seconds since the epoch, lengths milliseconds, costs US dollars
as decimal text; null is what nobody knows, and never zero."""

from __future__ import annotations

from typing import Literal

import msgspec

from penstock.control.accounts.usage import EntryView
from penstock.core.usage import Tokens


class RequestView(msgspec.Struct, frozen=True, kw_only=True):
    """One request. `overhead_ms` is what the gateway took for itself, `between_ms` the mean time between two output
    tokens. `status` is the HTTP status meant, `ending` complete, failed or client_gone. `trace` is hexadecimal."""

    id: str
    object: Literal["request"] = "request"
    at: float
    gateway: str
    project: str
    key_id: str
    user: str
    team: str
    subject: str
    asked: str
    service: str
    release: str
    model: str
    replica: str
    kind: str
    dialect: str
    stream: bool
    purpose: str
    ending: str
    status: int
    code: str
    message: str
    tokens: Tokens | None
    estimated: bool
    cost: str
    duration_ms: float
    first_chunk_ms: float | None
    queued_ms: float | None
    overhead_ms: float
    between_ms: float | None
    attempts: int
    cache: str
    trace: str
    content: str


class SpanView(msgspec.Struct, frozen=True, kw_only=True):
    """A bar of the waterfall: `begin_ms` after the request's arrival. `depth` 0 is the request, 1 its rooms, 2
    attempts. `error` is a fault's code, `message` what an attempt that failed said of it."""

    name: str
    begin_ms: float
    ms: float
    depth: int
    about: str = ""
    error: str = ""
    message: str = ""


class RequestDetail(RequestView, frozen=True, kw_only=True):
    """A request and why it went as it did: `why` are sentences for people, `usage` its rows of the ledger, `scores`
    by metric. `others` are the times of further requests of the same id, which clients choose: `at` asks for one."""

    spans: tuple[SpanView, ...]
    why: tuple[str, ...]
    usage: tuple[EntryView, ...]
    scores: dict[str, float]
    rollout: str
    others: tuple[float, ...] = ()


class ContentView(msgspec.Struct, frozen=True, kw_only=True):
    """What was said. `request` in OpenAI's shape; `reply` by choices, as the audit keeps it. `masked`: personal data
    was replaced before it was kept."""

    id: str
    object: Literal["request_content"] = "request_content"
    at: float
    masked: bool
    request: msgspec.Raw
    reply: msgspec.Raw


class Quantiles(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds, each within 1 % of a true one."""

    count: int
    mean: float
    p50: float
    p95: float
    p99: float


class PointView(msgspec.Struct, frozen=True, kw_only=True):
    """What ended in `[at, at + step_s)`, of the group. `failed` are faults of ours or of an upstream, `refused` the
    caller's own faults and limits. `tokens_per_s` is the mean speed of a stream; quantiles are null where nothing
    was measured. `known` false: not all gateways have told of this time yet."""

    at: float
    step_s: float
    group: dict[str, str]
    object: Literal["point"] = "point"
    known: bool
    requests: int
    failed: int
    refused: int
    left: int
    internal: int
    codes: dict[str, int]
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    tokens_per_s: float | None
    cost: str
    retries: int
    fallbacks: int
    cache_hits: int
    cache_misses: int
    caches: dict[str, int]
    duration: Quantiles | None
    first_chunk: Quantiles | None
    between: Quantiles | None
    queued: Quantiles | None
    overhead: Quantiles | None


class ChangeView(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was changed: `kind` is release, rollout, key, limit, deployment, replica or other; `text` a
    short sentence."""

    at: float
    object: Literal["change"] = "change"
    kind: str
    actor: str
    action: str
    target: str
    service: str
    project: str
    text: str


class ReplicaView(msgspec.Struct, frozen=True, kw_only=True):
    """A replica of this gateway. What its engine does not say is null. `kv_use`, `utilisation` and `accepted` (of
    drafted tokens, in speculative decoding) are shares; memory in bytes."""

    id: str
    object: Literal["replica"] = "replica"
    model: str
    engine: str
    state: str
    breaker: str
    running: int | None
    waiting: int | None
    kv_use: float | None
    memory: int | None
    device_memory: int | None
    device_memory_total: int | None
    utilisation: float | None
    accepted: float | None
    attempts: int
    seen_at: float | None
    note: str


class ObjectiveView(msgspec.Struct, frozen=True, kw_only=True):
    """An objective of a service and how it stands: `good` of `total` in its window, `budget_left` as a share of the
    error budget (below 0: overspent; null: nothing was asked yet), `burn` the rate by window (`5m`, `1h`, ...), where
    1 spends the budget just in the window. `within_s` is the bound of a `latency` or a `first_chunk`."""

    service: str
    object: Literal["objective"] = "objective"
    kind: str
    name: str
    target: float
    window_days: float
    text: str
    good: float | None
    total: float | None
    budget_left: float | None
    burn: dict[str, float | None]
    within_s: float | None = None


class AlertView(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: Literal["alert"] = "alert"
    kind: str
    severity: str
    service: str
    project: str
    text: str
    since: float
    resolved_at: float | None
    silenced_until: float | None
    notified_at: float | None


class SilenceView(msgspec.Struct, frozen=True, kw_only=True):
    """Alerts whose id matches `pattern` tell nobody until then."""

    id: str
    object: Literal["silence"] = "silence"
    pattern: str
    reason: str
    by: str
    created_at: float
    until: float


class MakeSilence(msgspec.Struct, frozen=True, kw_only=True):
    """`pattern`: an alert's id, `*` stands for anything."""

    pattern: str
    reason: str = ""
    for_s: float = 3600.0


class GatewayView(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway, until when everything of it is known, and how many records were lost of it. `alive`: it said so in
    the last ten seconds."""

    id: str
    alive: bool
    told_until: float | None
    shed: int


class ServiceNow(msgspec.Struct, frozen=True, kw_only=True):
    """A service over the window: `now` against `before`, the window before that."""

    service: str
    ready: bool
    state: str
    releases: dict[str, float]
    now: PointView | None
    before: PointView | None


class OverviewView(msgspec.Struct, frozen=True, kw_only=True):
    """How it goes, over `[since, until)`. `stale_since`: the store has been away since then and nothing newer is
    known; null: it is there. `in_flight` and `queued` are this gateway's, now. A project sees what is its own."""

    object: Literal["overview"] = "overview"
    at: float
    since: float
    until: float
    stale_since: float | None
    gateways: tuple[GatewayView, ...]
    total: PointView | None
    before: PointView | None
    services: tuple[ServiceNow, ...]
    alerts: tuple[AlertView, ...]
    changes: tuple[ChangeView, ...]
    in_flight: int | None
    queued: int | None


class SubjectView(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a person by the id that clients send as `user`. Caches are not looked through: what they keep
    of it is erased by invalidation, `invalidated_at` says until when it was; null: it was not."""

    id: str
    object: Literal["subject"] = "subject"
    requests: int
    contents: int
    feedback: int
    first_at: float | None
    last_at: float | None
    invalidated_at: float | None = None


class SubjectErased(msgspec.Struct, frozen=True, kw_only=True):
    """What was erased. The audit keeps hashes. Answers that were made for it until `invalidated_at`, in seconds since
    the epoch, are not served from any cache. `untold`: gateways that have not yet told of all that they had seen by
    then; erase once more when they have."""

    id: str
    object: Literal["subject_erased"] = "subject_erased"
    requests: int
    contents: int
    feedback: int
    archived_days: int
    invalidated_at: float
    untold: tuple[str, ...] = ()
