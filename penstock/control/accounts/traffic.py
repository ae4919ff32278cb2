"""What a service did lately, by the ledger: what bounds and forecasts are made of."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock.core.money import NANO
from penstock.core.usage import Entry, UsageQuery
from penstock.store import LedgerStore

SPAN_S = 86400.0
_MOST = 5000


class Recent(msgspec.Struct, frozen=True, kw_only=True):
    """``per_s``: requests of clients a second. Of those that were answered whole: the seconds that 95 % took at most,
    the tokens a second that 95 % made at least, the dollars that 95 % cost at most; None: there were none."""

    requests: int = 0
    per_s: float = 0.0
    p95_s: float | None = None
    p5_tokens_per_s: float | None = None
    p95_dollars: float | None = None


def recent(ledger: LedgerStore, service: str, now: float) -> Recent:
    """Of the last day; of more requests than five thousand, the newest. Raises ``PenstockError``."""
    query = UsageQuery(since=now - SPAN_S, until=now, service=service, purpose="client")
    (whole,) = ledger.sums(query, ()) or (None,)
    if whole is None or not whole.requests:
        return Recent()
    since = now - SPAN_S * min(1.0, _MOST / whole.rows)
    rows = ledger.entries(msgspec.structs.replace(query, since=since), None, _MOST)
    first = rows[0].received_at if rows else query.since
    answered = [each for each in rows if each.status == 200 and each.ending == "complete"]
    seconds = [max(each.settled_at - each.received_at, 1e-6) for each in answered]
    speeds = [each.tokens.output / took for each, took in zip(answered, seconds, strict=True) if each.tokens.output]
    return Recent(
        requests=whole.requests,
        per_s=len({each.request_id for each in rows}) / max(now - first, 60.0),
        p95_s=_quantile(seconds, 0.95),
        p5_tokens_per_s=_quantile(speeds, 0.05),
        p95_dollars=_quantile(_dollars(answered), 0.95),
    )


def _dollars(entries: Sequence[Entry]) -> list[float]:
    return [each.cost_nano / NANO for each in entries if each.cost_nano]


def _quantile(values: Sequence[float], share: float) -> float | None:
    if not values:
        return None
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]
