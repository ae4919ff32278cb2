"""The gateway's metrics: a row each."""

from __future__ import annotations

from penstock.core.metrics import Counter, Gauge, Histogram

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)

# Between tokens, and what the gateway takes for itself.
_SHORT = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5)
# As OpenTelemetry's conventions ask for them.
_TOKENS = tuple(float(4**power) for power in range(14))
_SPEED = (1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 75.0, 100.0, 150.0, 200.0, 300.0, 500.0, 1000.0)

REQUESTS = Counter(
    "penstock_requests",
    "Requests that have ended, by how: the ending is complete, failed or client_gone, the code an error's.",
    ("service", "model", "kind", "ending", "code", "release", "project"),
)
DURATION = Histogram(
    "penstock_request_duration_seconds",
    "From a request's arrival at the gateway to the close of its reply; the code is an error's.",
    _SECONDS,
    ("service", "model", "kind", "release", "code"),
    convention="gen_ai.server.request.duration",
)
FIRST_CHUNK = Histogram(
    "penstock_time_to_first_chunk_seconds",
    "From a request's arrival at the gateway to the first chunk that may go to the client.",
    _SECONDS,
    ("service", "model", "kind", "release"),
    convention="gen_ai.server.time_to_first_token",
)
BETWEEN = Histogram(
    "penstock_time_between_tokens_seconds",
    "The mean time between two output tokens of a stream, one for each stream that had two or more.",
    _SHORT,
    ("service", "model", "kind", "release"),
    convention="gen_ai.server.time_per_output_token",
)
SPEED = Histogram(
    "penstock_output_tokens_per_second",
    "How fast a stream was, from its first token to its last: the inverse of the time between tokens.",
    _SPEED,
    ("service", "model"),
    unit="{token}/s",
)
OVERHEAD = Histogram(
    "penstock_overhead_seconds",
    "What the gateway took for itself of a request, of a stream until its first chunk.",
    _SHORT,
    ("service",),
)
QUEUE_WAIT = Histogram(
    "penstock_queue_wait_seconds",
    "What a request waited for a place in its service, where the service has a bound.",
    (0.001, *_SECONDS),
    ("service",),
)
QUEUE_DEPTH = Gauge(
    "penstock_queue_depth",
    "Requests that wait for a place in a service right now.",
    ("service",),
)
TOKENS = Counter(
    "penstock_tokens",
    "Tokens as the engine counted them; direction is input or output.",
    ("service", "model", "direction", "release", "project"),
)
REQUEST_TOKENS = Histogram(
    "penstock_request_tokens",
    "Tokens of one request, as the engine counted them; direction is input or output.",
    _TOKENS,
    ("service", "model", "kind", "direction"),
    convention="gen_ai.client.token.usage",
    unit="{token}",
)
ATTEMPTS = Histogram(
    "penstock_attempt_duration_seconds",
    "From the start of an attempt at a model to its failure, or to the end of the answer; the code is a fault's.",
    _SECONDS,
    ("service", "model", "kind", "code"),
    convention="gen_ai.client.operation.duration",
)
RETRIES = Counter(
    "penstock_retries",
    "Attempts beyond a request's first, by the model that they were made at.",
    ("service", "model"),
)
FALLBACKS = Counter(
    "penstock_fallbacks",
    "Requests that another model than the first has answered.",
    ("service", "model"),
)
ATTEMPTS_FAILED = Counter(
    "penstock_attempts_failed",
    "Attempts at a model that did not get as far as a first chunk, by the fault's code.",
    ("service", "model", "code"),
)
LIMITED = Counter(
    "penstock_requests_limited",
    "Requests that a limit or a budget has refused: kind is what it is set on, metric what it counts, or budget.",
    ("service", "kind", "metric"),
)
COST = Counter(
    "penstock_cost_dollars",
    "What requests cost, in US dollars, by the prices that held.",
    ("service", "model", "release", "project"),
    unit="{USD}",
)
CACHE = Counter(
    "penstock_cache_requests",
    "Requests to services that keep answers, by what came of it: hit, similar, stale, shared or fallback where the "
    "answer was there; refresh or miss where it was made and kept if it may be; bypass where caches had no part.",
    ("service", "verdict"),
)
SAVED = Counter(
    "penstock_cache_saved_dollars",
    "What answers from the cache would have cost beyond what was charged for them, in US dollars.",
    ("service", "project"),
    unit="{USD}",
)
ASSIGNED = Counter(
    "penstock_requests_assigned",
    "Requests that have ended, by the release that they had drawn, where several may share a service.",
    ("service", "release", "ending"),
)
SCORES = Counter(
    "penstock_scores",
    "Scores of requests that have gone to the journal, by the release that they are of.",
    ("service", "release", "metric"),
)
SCORES_MISSED = Counter(
    "penstock_scores_missed",
    "Scores that were not made: shed because too many waited, or failed because whoever makes them did.",
    ("service", "metric", "reason"),
)
COPIES = Counter(
    "penstock_copies",
    "Copies of requests for a release that nobody is served by: answered, failed, shed because too many waited, or "
    "not sent for want of budget or price.",
    ("service", "release", "outcome"),
)

ROWS = (
    REQUESTS,
    DURATION,
    FIRST_CHUNK,
    BETWEEN,
    SPEED,
    QUEUE_WAIT,
    OVERHEAD,
    TOKENS,
    REQUEST_TOKENS,
    COST,
    ATTEMPTS,
    ATTEMPTS_FAILED,
    RETRIES,
    FALLBACKS,
    QUEUE_DEPTH,
    LIMITED,
    ASSIGNED,
    SCORES,
    SCORES_MISSED,
    COPIES,
    CACHE,
    SAVED,
)
