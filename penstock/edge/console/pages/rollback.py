"""A rollback, from any page: what would change and for whom, asked once; then each gateway until all have it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec

from penstock.control.accounts.differences import DiffView
from penstock.control.accounts.release_shown import ReleaseView
from penstock.control.accounts.rollout_shown import RolloutView, SplitView
from penstock.control.accounts.splits import BackView
from penstock.control.observed.views import PointView
from penstock.core.errors import PenstockError
from penstock.core.releases import ENDED
from penstock.edge.console.page import Page, PageRoute, Redirect, Visit
from penstock.edge.console.pages.bars import slices
from penstock.edge.console.pages.parts import Part, part
from penstock.edge.console.pages.touching import reach
from penstock.edge.console.showing import link

_DECIDED = ("releases:write",)
_STEP_S = 10.0


class Tick(msgspec.Struct, frozen=True, kw_only=True):
    """How far a gateway is: ``loaded`` the release is ready there, ``switched`` it gives it to everybody.
    ``answered`` requests ended with it there since, ``others`` with another release; None: not known yet."""

    gateway: str
    loaded: bool
    switched: bool
    answered: int | None
    others: int | None


async def ask(visit: Visit) -> Page:
    return await _asked(visit)


async def _asked(visit: Visit, error: PenstockError | None = None) -> Page:
    name, chosen = visit.place, visit.filled("to") or visit.asked("to")
    split, back, releases = await asyncio.gather(
        visit.api.get("splits.get", SplitView, name),
        visit.api.get("services.back", BackView, name, to=chosen),
        visit.api.list("releases.list", ReleaseView, service=name, limit=100),
    )
    # What most of those get whom it moves.
    held = max(split.shares, key=lambda each: (each != back.to, split.shares[each]))
    diff: Part[DiffView] = Part()
    if back.to is not None and back.to != held:
        diff = await part(visit.api.get("releases.diff", DiffView, back.to, from_=held))
    values = {
        "name": name,
        "parts": slices(split.shares),
        "split": split,
        "held": held,
        "back": back,
        "chosen": chosen,
        "releases": releases.data,
        "diff": diff,
        "reach": await reach(visit, service=name, spared=_had(back, split)),
        "error": error,
    }
    status = 200 if error is None else error.fault.status
    return Page(f"Roll {name} back?", "rollback.html", values, status=status)


def _had(back: BackView, split: SplitView) -> tuple[str, ...]:
    """The releases of requests that nothing changes for. Before the store took a service over, none is told: they
    had what the deployment file made of it."""
    if back.to is None:
        return ()
    return (back.to, "") if back.to == split.origin else (back.to,)


async def act(visit: Visit) -> Page | Redirect:
    to = visit.filled("to")
    try:
        view = await visit.api.post("services.rollback", RolloutView, visit.place, body={"to": to} if to else {})
    except PenstockError as error:
        return await _asked(visit, error)
    target = view.candidate if view.preset == "rollback" else view.champion
    return Redirect(link(f"/rollbacks/{view.id}", to=target))


async def watch(visit: Visit) -> Page:
    view = await visit.api.get("rollouts.get", RolloutView, visit.place)
    target = view.candidate if view.preset == "rollback" else view.champion
    since = (view.ended_at or visit.now) // _STEP_S * _STEP_S
    split, release, points = await asyncio.gather(
        part(visit.api.get("splits.get", SplitView, view.service)),
        part(visit.api.get("releases.get", ReleaseView, target)),
        part(
            visit.api.list(
                "series.list",
                PointView,
                service=view.service,
                by="gateway,release",
                since=since,
                until=(visit.now // _STEP_S + 1) * _STEP_S,
                step=_STEP_S,
            )
        ),
    )
    shares = split.value.shares if split.value is not None else {}
    switched = view.state in ENDED and shares.get(target, 0.0) == 100.0
    ready = frozenset(release.value.ready) if release.value is not None else frozenset()
    counted = _counted(points.value.data if points.value is not None else (), target) if points.value else None
    ticks = [
        Tick(
            gateway=each,
            loaded=each in ready,
            switched=switched and each in ready,
            answered=None if counted is None or not switched else counted.get((each, True), 0),
            others=None if counted is None or not switched else counted.get((each, False), 0),
        )
        for each in sorted(view.loaded)
    ]
    values = {
        "view": view,
        "target": target,
        "ticks": ticks,
        "done": bool(ticks) and all(each.switched for each in ticks),
        "failed": view.state in ENDED and not switched,
        "since": since,
        "shares": shares,
    }
    return Page(f"Rollback of {view.service}", "rollback_watch.html", values)


def _counted(points: tuple[PointView, ...], target: str) -> Mapping[tuple[str, bool], int]:
    found: dict[tuple[str, bool], int] = {}
    for each in points:
        key = (each.group.get("gateway", ""), each.group.get("release", "") == target)
        found[key] = found.get(key, 0) + each.requests
    return found


ROUTES = (
    PageRoute("GET", "/services/{id}/rollback", ask, _DECIDED),
    PageRoute("POST", "/services/{id}/rollback", act, _DECIDED),
    PageRoute("GET", "/rollbacks/{id}", watch, ("releases:read",)),
)
