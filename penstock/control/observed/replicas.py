"""The replicas of this gateway, as an operation."""

from __future__ import annotations

from penstock.control.accounts.operation import BASE, PAGES, Operation, Parameter, Sources
from penstock.control.accounts.turn import Page, Turn, page
from penstock.control.observed.views import ReplicaView
from penstock.core.administration import Ask


def listed(sources: Sources, turn: Turn, _: object, __: Ask) -> Page:
    """By id, or only those of one model."""
    model = turn.query.get("model")
    rows = ((each.id, each) for each in sources.replicas() if model in (None, each.model))
    return page(turn, rows, lambda each: each)


REPLICAS = Operation(
    name="replicas.list",
    method="GET",
    path=f"{BASE}/replicas",
    permissions=("live:read",),
    everywhere=True,
    summary="The replicas of this gateway, and what their engines say of themselves",
    answer=ReplicaView,
    listed=True,
    query=(Parameter("model", "Only those of this model."), *PAGES),
    reads=listed,
)
