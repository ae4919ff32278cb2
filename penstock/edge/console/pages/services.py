"""Services: who gets which release, what the releases are, how it goes, what was promised."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from penstock.control.accounts.differences import DiffView
from penstock.control.accounts.models import ModelVersionView
from penstock.control.accounts.release_history import EventView
from penstock.control.accounts.release_shown import ReleaseView
from penstock.control.accounts.rollout_shown import RolloutView, SplitView
from penstock.control.observed.views import ObjectiveView, OverviewView, ReplicaView, ServiceNow
from penstock.core.releases import ENDED
from penstock.edge.console.asking import Rows
from penstock.edge.console.page import Page, PageRoute, Visit
from penstock.edge.console.pages.bars import Slice, slices
from penstock.edge.console.pages.parts import Part, part
from penstock.edge.console.pages.rollouts import may_decide

WINDOWS = ("1h", "6h", "24h", "7d", "30d")
_RELEASES = 20
_COMPARED = 8
_SEEN = ("releases:read",)


class Shown(msgspec.Struct, frozen=True):
    """A service in the list. ``now`` None: nothing is known of how it goes."""

    name: str
    parts: tuple[Slice, ...]
    rollout: str
    now: ServiceNow | None


class Version(msgspec.Struct, frozen=True):
    """A release, how it differs from the one made before it, and where it is best compared."""

    release: ReleaseView
    before: str
    diff: Part[DiffView]


async def listed(visit: Visit) -> Page:
    window = visit.asked("window", "1h")
    splits, overview, releases = await asyncio.gather(
        part(visit.api.all("splits.list", SplitView)),
        part(visit.api.get("overview.get", OverviewView, window=window)),
        part(visit.api.all("releases.list", ReleaseView, limit=200)),
    )
    services = list(_services(splits, releases, overview))
    why = splits.why if splits.value is None and releases.value is None else ""
    values = {"services": services, "window": window, "windows": WINDOWS, "overview": overview, "why": why}
    values["decides"] = may_decide(visit)
    return Page("Services", "services.html", values)


def _services(
    splits: Part[Rows[SplitView]], releases: Part[Rows[ReleaseView]], overview: Part[OverviewView]
) -> Iterator[Shown]:
    now = {each.service: each for each in overview.value.services} if overview.value is not None else {}
    shares: dict[str, Mapping[str, float]] = {}
    rollouts: dict[str, str] = {}
    for release in releases.value.data if releases.value is not None else ():
        shares.setdefault(release.service, {})
        if release.share:
            shares[release.service] = {**shares[release.service], release.id: release.share}
        if release.rollout:
            rollouts[release.service] = release.rollout
    for split in splits.value.data if splits.value is not None else ():
        shares[split.id] = split.shares
        rollouts[split.id] = split.rollout
    for name in sorted(shares.keys() | now.keys()):
        given = shares.get(name) or (now[name].releases if name in now else {})
        yield Shown(name, slices(given), rollouts.get(name, ""), now.get(name))


async def one(visit: Visit) -> Page:
    name, window = visit.place, visit.asked("window", "1h")
    if visit.ask.fragment:
        return Page(name, "service_live.html", await _figures(visit, name, window))
    releases = await visit.api.list("releases.list", ReleaseView, service=name, limit=_RELEASES)
    split, history, rollouts, objectives = await asyncio.gather(
        part(visit.api.get("splits.get", SplitView, name)),
        part(visit.api.list("releases.history", EventView, name, limit=20)),
        part(visit.api.list("rollouts.list", RolloutView, service=name, limit=10)),
        part(visit.api.list("objectives.list", ObjectiveView)),
    )
    models, replicas, figures, versions = await asyncio.gather(
        part(visit.api.all("models.list", ModelVersionView)),
        part(visit.api.all("replicas.list", ReplicaView)),
        _figures(visit, name, window),
        _versions(visit, releases.data),
    )
    shares = split.value.shares if split.value is not None else {each.id: each.share for each in releases.data}
    values = {
        **figures,
        "windows": WINDOWS,
        "split": split,
        "parts": slices(shares),
        "inside": slices(split.value.segment_shares) if split.value is not None else (),
        "versions": versions,
        "more": releases.next is not None,
        "history": history,
        "going": next((each for each in rollouts.value.data if each.state not in ENDED), None)
        if rollouts.value is not None
        else None,
        "objectives": objectives,
        "mine": [each for each in objectives.value.data if each.service == name]
        if objectives.value is not None
        else [],
        "models": _models(releases.data, models),
        "replicas": replicas,
        "decides": may_decide(visit),
    }
    return Page(name, "service.html", values)


async def _figures(visit: Visit, name: str, window: str) -> dict[str, object]:
    """All that is live of the page."""
    overview = await part(visit.api.get("overview.get", OverviewView, window=window))
    served = overview.value.services if overview.value is not None else ()
    now = next((each for each in served if each.service == name), None)
    return {"name": name, "window": window, "overview": overview, "now": now}


async def _versions(visit: Visit, releases: Sequence[ReleaseView]) -> Sequence[Version]:
    """The newest with how they differ from the one before; further ones are compared when somebody asks."""

    async def compared(after: ReleaseView, before: ReleaseView | None) -> Version:
        if before is None:
            return Version(after, "", Part())
        return Version(
            after, before.id, await part(visit.api.get("releases.diff", DiffView, after.id, from_=before.id))
        )

    befores = itertools.chain(releases[1 : _COMPARED + 1], itertools.repeat(None))
    return await asyncio.gather(*(compared(after, before) for after, before in zip(releases, befores, strict=False)))


class ModelOf(msgspec.Struct, frozen=True):
    """A model that releases of a service are made with; ``version`` None: it is nowhere any more, or not for these
    eyes."""

    id: str
    name: str
    share: float
    version: ModelVersionView | None


def _models(releases: Sequence[ReleaseView], models: Part[Rows[ModelVersionView]]) -> Sequence[ModelOf]:
    known = {each.id: each for each in models.value.data} if models.value is not None else {}
    shares: dict[str, float] = {}
    for each in releases:
        shares[each.model] = shares.get(each.model, 0.0) + each.share
    found = [ModelOf(id, id.rpartition("@")[0] or id, share, known.get(id)) for id, share in shares.items()]
    return sorted(found, key=lambda each: -each.share)


# -- one release -------------------------------------------------------------------------------------------------


async def release(visit: Visit) -> Page:
    view = await visit.api.get("releases.get", ReleaseView, visit.place)
    others, diff = await asyncio.gather(
        visit.api.list("releases.list", ReleaseView, service=view.service, limit=100),
        part(visit.api.get("releases.diff", DiffView, view.id, from_=visit.asked("from"))),
    )
    values = {
        "release": view,
        "defaults": bytes(view.defaults).decode(),
        "others": [each for each in others.data if each.id != view.id],
        "diff": diff,
        "since": diff.value.before if diff.value is not None else visit.asked("from"),
        "decides": may_decide(visit),
    }
    return Page(view.id, "release.html", values)


ROUTES = (
    PageRoute("GET", "/services", listed, _SEEN),
    PageRoute("GET", "/services/{id}", one, _SEEN),
    PageRoute("GET", "/releases/{id}", release, _SEEN),
)
