"""Most: what one attempt at a model may come to, before it goes out."""

from __future__ import annotations

import functools
from typing import NamedTuple

import msgspec

from penstock.access.bounds import Bound, bound_of
from penstock.access.hosts import host_of
from penstock.core.chat import Call
from penstock.core.money import Price
from penstock.core.serving import Deployment
from penstock.gateway.snapshot import Snapshot
from penstock.gateway.tries import Charge, at_most


class Most(NamedTuple):
    """``charge`` is that of all of ``bound`` by ``price``, which is None for a model without one."""

    price: Price | None
    bound: Bound
    charge: Charge


def most(
    call: Call, model: str, snapshot: Snapshot, at: float, *, cap: int, exact: int | None, total_s: float
) -> Most:
    """``exact`` are the prompt's tokens where they were counted, ``cap`` the output that the request is held to when
    nothing else bounds it, ``total_s`` how long it may take; ``at`` is in seconds since the epoch."""
    price = price_of(call, model, snapshot, at)
    bound = bound_of(call, price=price, cap=cap)
    if exact is not None:
        bound = msgspec.structs.replace(bound, input=min(bound.input, exact))
    slots = 1
    if price is not None and price.per_hour_nano:
        slots = min((each.slots or 1 for each in snapshot.deployment.replicas.get(model, ())), default=1)
    return Most(price, bound, at_most(price, bound, held_s=total_s, slots=slots))


def price_of(call: Call, model: str, snapshot: Snapshot, at: float) -> Price | None:
    """What the model costs at that time, in seconds since the epoch; None: nobody knows."""
    return snapshot.prices.find(_names(model, snapshot.deployment, call.service), at)


def surcharged(call: Call) -> str:
    """The field by which the client asks for service that is dearer than the price says; empty: none."""
    for field, words in _DEARER.items():
        raw = call.fields.get(field)
        if raw is not None:
            try:
                if _TEXT.decode(raw).lower() in words:
                    return field
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
    return ""


_TEXT = msgspec.json.Decoder(str)
# https://platform.openai.com/docs/guides/priority-processing and https://docs.claude.com/en/build-with-claude/fast-mode
_DEARER = {"service_tier": ("priority", "scale", "fast"), "speed": ("fast",)}


def _names(model: str, deployment: Deployment, asked: str) -> tuple[str, ...]:
    """Under which names a model's price may stand."""
    known = deployment.models.get(model)
    upstream = "" if known is None else asked if known.upstream == "*" else known.upstream
    if not upstream:
        return (model,)
    replicas = deployment.replicas.get(model)
    host = _host(replicas[0].base_url) if replicas else ""
    return (model, upstream, f"{host}/{upstream}") if host else (model, upstream)


_host = functools.lru_cache(1024)(host_of)
