"""What a service did lately, by the ledger: what bounds and forecasts are made of."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock.core.money import NANO
from penstock.core.usage import UsageQuery, UsageSum
from penstock.store import LedgerStore

SPAN_S = 86400.0
_MOST = 5000
_MINUTE_S = 60.0


class Recent(msgspec.Struct, frozen=True, kw_only=True):
    """Of the last day, without what caches answered: ``requests`` of clients, and how many different ``users`` sent
    them, where each request that names none counts as one; ``per_s`` of the newest, a second. ``answered``: the share
    that was answered whole. Of those: the seconds that 95 % took at most, the tokens a second that 95 % made at
    least, the dollars that 95 % cost at most, and one on average; None: there were none."""

    requests: int = 0
    users: int = 0
    per_s: float = 0.0
    answered: float = 0.0
    p95_s: float | None = None
    p5_tokens_per_s: float | None = None
    p95_dollars: float | None = None
    mean_dollars: float | None = None


def recent(ledger: LedgerStore, service: str, now: float) -> Recent:
    """What is not counted is taken from the newest five thousand rows. Raises ``PenstockError``."""
    query = UsageQuery(since=now - SPAN_S, until=now, service=service, purpose="client")
    sums = ledger.sums(query, ("user",))
    requests = sum(_made(each) for each in sums)
    if not requests:
        return Recent()
    since = now - SPAN_S * min(1.0, _MOST / sum(each.rows + each.cached_requests for each in sums))
    page = ledger.entries(msgspec.structs.replace(query, since=since), None, _MOST)
    rows = [each for each in page if not each.cache]
    asked = len({each.request_id for each in rows})
    answered = [each for each in rows if each.status == 200 and each.ending == "complete"]
    seconds = [max(each.settled_at - each.received_at, 1e-6) for each in answered]
    speeds = [each.tokens.output / took for each, took in zip(answered, seconds, strict=True) if each.tokens.output]
    dollars = [each.cost_nano / NANO for each in answered if each.cost_nano]
    return Recent(
        requests=requests,
        users=sum(1 if each.group[0] else _made(each) for each in sums if _made(each)),
        per_s=asked / max(now - rows[0].received_at, _MINUTE_S) if rows else 0.0,
        answered=len(answered) / asked if asked else 0.0,
        p95_s=_quantile(seconds, 0.95),
        p5_tokens_per_s=_quantile(speeds, 0.05),
        p95_dollars=_quantile(dollars, 0.95),
        mean_dollars=sum(dollars) / len(dollars) if dollars else None,
    )


def _made(sums: UsageSum) -> int:
    return sums.requests - sums.cached_requests


def _quantile(values: Sequence[float], share: float) -> float | None:
    if not values:
        return None
    found = sorted(values)[min(int(share * len(values)), len(values) - 1)]
    # It is shown to people, and becomes part of a version.
    return float(f"{found:.4g}")
