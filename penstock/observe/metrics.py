"""What observing says of itself: a row each."""

from __future__ import annotations

from penstock.core.metrics import Counter

LINES_DROPPED = Counter(
    "penstock_log_lines_dropped",
    "Lines of the access log that were lost, because its disk is full or its reader slower than requests come.",
)

ROWS = (LINES_DROPPED,)
