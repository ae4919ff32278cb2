"""The edge's metrics: a row each."""

from __future__ import annotations

from penstock.core.metrics import Counter, Gauge

RESPONSES = Counter(
    "penstock_http_responses",
    "HTTP requests that have ended, by route and status; 499 is a client that left before it had an answer.",
    ("route", "status"),
)
CONNECTIONS = Gauge("penstock_http_connections", "Client connections that are open, WebSockets among them.")
CUT = Counter(
    "penstock_http_connections_cut",
    "Client connections that were closed or refused by the gateway: head, body and idle for one that sent too "
    "slowly, write for one that did not read what it was sent, limit for one above `server.max_connections`, "
    "flood for one that broke HTTP/2's bounds. A stream of HTTP/2 that is cut alone counts too.",
    ("reason",),
)

ROWS = (RESPONSES, CONNECTIONS, CUT)
