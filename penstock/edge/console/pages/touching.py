"""Whom something reaches: the users and requests of the last day, by the ledger."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from penstock.control.accounts.usage import SumView
from penstock.edge.console.page import Visit
from penstock.edge.console.pages.parts import Part, part

SPAN_S = 86400.0
_MOST = 5000


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """In ``[since, since + SPAN_S)``. Requests that name no user are in ``requests`` alone. ``more``: there were more
    users than were counted."""

    since: float
    requests: int
    users: int
    keys: int
    cost: float
    more: bool = False


async def reach(visit: Visit, *, spared: Collection[str] = (), **query: str) -> Part[Reach]:
    """What came in the last day with this ``query`` of ``usage.sums``, but for that which got one of the releases
    ``spared``."""
    since = visit.now - SPAN_S
    found = await part(
        visit.api.all(
            "usage.sums",
            SumView,
            most=_MOST,
            by="release,user,key",
            since=since,
            purpose="client",
            limit=1000,
            **query,
        )
    )
    if found.value is None:
        return Part(None, found.why, found.hidden)
    rows = [each for each in found.value.data if each.group["release"] not in spared]
    return Part(
        Reach(
            since=since,
            requests=sum(each.requests for each in rows),
            users=len({each.group["user"] for each in rows} - {""}),
            keys=len({each.group["key"] for each in rows} - {""}),
            cost=sum(float(each.cost) for each in rows),
            more=found.value.next is not None,
        )
    )
