"""The gateway's metrics: a row each."""

from __future__ import annotations

from penstock.core.metrics import Counter, Histogram

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)

REQUESTS = Counter(
    "penstock_requests",
    "Requests that have ended, by how: the ending is complete, failed or client_gone, the code an error's.",
    ("service", "model", "kind", "ending", "code"),
)
DURATION = Histogram(
    "penstock_request_duration_seconds",
    "From a request's arrival at the gateway to the close of its reply.",
    _SECONDS,
    ("service", "model"),
)
FIRST_CHUNK = Histogram(
    "penstock_time_to_first_chunk_seconds",
    "From a request's arrival at the gateway to the first chunk that may go to the client.",
    _SECONDS,
    ("service", "model"),
)
QUEUE_WAIT = Histogram(
    "penstock_queue_wait_seconds",
    "What a request waited for a place in its service, where the service has a bound.",
    (0.001, *_SECONDS),
    ("service",),
)
TOKENS = Counter(
    "penstock_tokens",
    "Tokens as the engine counted them; direction is input or output.",
    ("service", "model", "direction"),
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
    ("service", "model"),
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
    QUEUE_WAIT,
    TOKENS,
    COST,
    ATTEMPTS_FAILED,
    LIMITED,
    ASSIGNED,
    SCORES,
    SCORES_MISSED,
    COPIES,
)
