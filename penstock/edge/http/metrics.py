"""The edge's metrics: a row each."""

from __future__ import annotations

from penstock.core.metrics import Counter

RESPONSES = Counter(
    "penstock_http_responses",
    "HTTP requests that have ended, by route and status; 499 is a client that left before it had an answer.",
    ("route", "status"),
)

ROWS = (RESPONSES,)
