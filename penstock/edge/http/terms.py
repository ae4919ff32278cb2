"""What a client may ask of the way by headers, beside the body."""

from __future__ import annotations

import math
from collections.abc import Mapping

from penstock.core.errors import INVALID_VALUE, PenstockError
from penstock.core.policy import Priority, Terms
from penstock.edge.http.trace_context import trace_parent

_LONGEST_S = 86_400.0
_PRIORITIES = {b"high": Priority.HIGH, b"normal": Priority.NORMAL, b"low": Priority.LOW}


def terms(headers: Mapping[bytes, bytes]) -> Terms:
    """Raises ``PenstockError(INVALID_VALUE)`` that names the header."""
    timeout_s: float | None = None
    priority: Priority | None = None
    if b"x-penstock-timeout" in headers:
        timeout_s = _seconds(headers[b"x-penstock-timeout"])
    if b"x-penstock-priority" in headers:
        found = _PRIORITIES.get(headers[b"x-penstock-priority"].strip().lower())
        if found is None:
            raise PenstockError(
                INVALID_VALUE,
                "The header 'x-penstock-priority' must be 'high', 'normal' or 'low'.",
                param="x-penstock-priority",
            )
        priority = found
    trace = trace_parent(headers) if b"traceparent" in headers else None
    return Terms(timeout_s, priority, headers, trace)


def _seconds(given: bytes) -> float:
    try:
        # float() takes more than a header should hold: underscores, infinities.
        seconds = float(given) if given.strip().replace(b".", b"", 1).isdigit() else math.nan
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= _LONGEST_S:
        raise PenstockError(
            INVALID_VALUE,
            f"The header 'x-penstock-timeout' must be a number of seconds, above 0 and at most {_LONGEST_S:.0f}, "
            "such as 30 or 0.5.",
            param="x-penstock-timeout",
        )
    return seconds
