"""What observing says of itself: a row each."""

from __future__ import annotations

from penstock.core.metrics import Counter, Gauge

LINES_DROPPED = Counter(
    "penstock_log_lines_dropped",
    "Lines of the access log that were lost, because its disk is full or its reader slower than requests come.",
)
OTLP_SENT = Counter(
    "penstock_otlp_sent",
    "What the collector has taken: spans (the signal is traces), and pages of metrics (metrics).",
    ("signal",),
)
OTLP_DROPPED = Counter(
    "penstock_otlp_dropped",
    "Spans and pages of metrics that the collector has not got: full, as it was slower than they came; unreachable, "
    "as it did not answer or asked to wait for too long; refused, as it said no; rejected, as it took the rest only.",
    ("signal", "reason"),
)
OTLP_WAITING = Gauge("penstock_otlp_waiting_spans", "Spans that wait to be sent to the collector.")

ROWS = (LINES_DROPPED, OTLP_SENT, OTLP_DROPPED, OTLP_WAITING)
