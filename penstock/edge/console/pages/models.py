"""Models: what runs of them here, which versions there are, what they cost."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import msgspec

from penstock.control.accounts.models import ModelVersionView
from penstock.control.accounts.prices import PriceView
from penstock.control.observed.views import ReplicaView
from penstock.edge.console.asking import Rows
from penstock.edge.console.page import Page, PageRoute, Visit
from penstock.edge.console.pages.parts import Part, part

_SEEN = ("releases:read", "live:read")
WINDOWS = ("15m", "1h", "6h", "24h")


class Field(msgspec.Struct, frozen=True):
    """A member of a model's section of the deployment file, on one line."""

    name: str
    text: str


async def listed(visit: Visit) -> Page:
    replicas, versions, prices = await asyncio.gather(
        part(visit.api.all("replicas.list", ReplicaView)),
        part(visit.api.list("models.list", ModelVersionView, name=visit.asked("name"), after=visit.asked("after"))),
        part(visit.api.all("prices.list", PriceView)),
    )
    values = {
        "replicas": replicas,
        "models": _by_model(replicas),
        "versions": versions,
        "prices": prices,
        "newest": _newest(prices, visit.now),
        "name": visit.asked("name"),
        "window": visit.asked("window", "1h"),
        "windows": WINDOWS,
    }
    return Page("Models", "models.html", values)


def _by_model(replicas: Part[Rows[ReplicaView]]) -> Mapping[str, Sequence[ReplicaView]]:
    found: dict[str, list[ReplicaView]] = {}
    for each in replicas.value.data if replicas.value is not None else ():
        found.setdefault(each.model, []).append(each)
    return found


def _newest(prices: Part[Rows[PriceView]], now: float) -> Mapping[str, PriceView]:
    """The price that holds now, by model; they come by model and time, which is the end of their ids."""
    found: dict[str, PriceView] = {}
    for each in prices.value.data if prices.value is not None else ():
        if float(each.id.rpartition("@")[2]) <= now:
            found[each.model] = each
    return found


async def version(visit: Visit) -> Page:
    view = await visit.api.get("models.get", ModelVersionView, visit.place)
    source = msgspec.json.decode(view.source)
    fields = [Field(name, _line(value)) for name, value in source.items()] if isinstance(source, dict) else []
    return Page(view.id, "model.html", {"version": view, "fields": fields})


def _line(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


ROUTES = (
    PageRoute("GET", "/models", listed, _SEEN),
    PageRoute("GET", "/models/{id}", version, ("releases:read",)),
)
