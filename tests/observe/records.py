"""Records of requests, for tests."""

from __future__ import annotations

from penstock.core.requests import AttemptMade, Marks, RequestRecord
from penstock.core.usage import Tokens

TRACE = bytes(range(16))
SPAN = bytes(range(8, 16))
PARENT = bytes(range(1, 9))


def fell_back() -> RequestRecord:
    """A stream that a fallback has answered."""
    return RequestRecord(
        request_id="r1",
        at=1_800_000_000.25,
        gateway="g1",
        project="shop",
        key_id="k1",
        user="u1",
        subject="person@example",
        asked="chat",
        service="chat",
        release="rel1",
        model="second",
        replica="second-0",
        kind="chat",
        dialect="chat/completions",
        stream=True,
        ending="complete",
        status=200,
        tokens=Tokens(input=11, cached_read=3, output=5),
        cost_nano=2_500_000,
        duration_s=2.0,
        first_chunk_s=0.5,
        overhead_s=0.002,
        between_s=0.375,
        marks=Marks(0.001, 0.001, 0.002, 0.003, None, 0.5, 2.0),
        attempts=(
            AttemptMade(1, "first", "first-0", 0.003, 0.2, None, "upstream_failed", "it said 500", b"12345678"),
            AttemptMade(2, "second", "second-0", 0.2, 2.0, 0.5, span=b"abcdefgh"),
        ),
        trace=TRACE,
        span=SPAN,
        parent=PARENT,
        traced=True,
    )


def refused() -> RequestRecord:
    """One that a limit has refused: it never left the room that reserves."""
    return RequestRecord(
        request_id="r2",
        at=1_800_000_001.0,
        gateway="g1",
        service="chat",
        asked="chat",
        kind="chat",
        ending="failed",
        status=429,
        code="rate_limited",
        duration_s=0.004,
        marks=Marks(0.001, 0.002, 0.003, closed=0.004),
        trace=TRACE,
        span=SPAN,
        traced=True,
    )
