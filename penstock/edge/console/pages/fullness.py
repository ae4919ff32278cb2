"""How full limits are: what the ledger has of the window that ends now. Requests in progress, and those that no
upstream worked on, are not in it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import msgspec

from penstock.control.accounts.limits import LimitView
from penstock.control.accounts.usage import SumView
from penstock.core.accounts import EVERYWHERE
from penstock.edge.console.page import Visit
from penstock.edge.console.pages.bars import Used, used
from penstock.edge.console.pages.parts import part

_WINDOWS: Mapping[str, float] = {"minute": 60.0, "day": 86400.0}
_MOST_ASKED = 12
_MOST_GROUPS = 1000


class Full(msgspec.Struct, frozen=True):
    """What is used of a limit. Of one on each it is what the one has used that has used most, ``by``."""

    amount: int
    by: str
    bar: Used


Alike = tuple[str, str, str]
"""Kind, service and window: limits that one sum answers."""


async def fullness(visit: Visit, limits: Sequence[LimitView]) -> Mapping[str, Full]:
    """By the ids of limits; what is not in it nobody knows."""
    alike: dict[Alike, list[LimitView]] = {}
    for each in limits:
        if each.per in _WINDOWS:
            alike.setdefault((each.kind, each.service, each.per), []).append(each)
    asked = list(alike.items())[:_MOST_ASKED]
    found = await asyncio.gather(*(_sums(visit, key) for key, _ in asked))
    full: dict[str, Full] = {}
    for (_, members), rows in zip(asked, found, strict=True):
        for each in members if rows is not None else ():
            assert rows is not None
            full[each.id] = _full(each, rows)
    return full


async def _sums(visit: Visit, alike: Alike) -> Sequence[SumView] | None:
    kind, service, per = alike
    sums = await part(
        visit.api.list(
            "usage.sums",
            SumView,
            by="" if kind == "global" else kind,
            since=visit.now - _WINDOWS[per],
            service=service,
            purpose="client",
            limit=_MOST_GROUPS,
        )
    )
    return None if sums.value is None or sums.value.next is not None else sums.value.data


def _full(limit: LimitView, rows: Sequence[SumView]) -> Full:
    counted = {each.group.get(limit.kind, ""): _amount(limit, each) for each in rows}
    if limit.kind == "global":
        by, amount = "", counted.get("", 0)
    elif limit.subject == EVERYWHERE:
        counted.pop("", None)
        by, amount = max(counted.items(), key=lambda item: item[1], default=("", 0))
    else:
        by, amount = "", counted.get(limit.subject, 0)
    return Full(amount, by, used(amount, limit.amount, (80,)))


def _amount(limit: LimitView, each: SumView) -> int:
    tokens = each.tokens
    return {
        "requests": each.requests,
        "input_tokens": tokens.input,
        "output_tokens": tokens.output,
        "tokens": tokens.input + tokens.output,
    }[limit.metric]
