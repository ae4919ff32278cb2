"""How it goes: every service over a window of time, against the window before."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec

from penstock.control.accounts.operation import Sources
from penstock.control.accounts.turn import Turn, invalid, near, time_of
from penstock.control.observed.alerts import alerts_of
from penstock.control.observed.asked import said
from penstock.control.observed.changes import Wanted, changes
from penstock.control.observed.charts import own, series_of
from penstock.control.observed.points import told_until, whole
from penstock.control.observed.standing import ServiceStanding
from penstock.control.observed.views import AlertView, ChangeView, GatewayView, OverviewView, PointView, ServiceNow
from penstock.core.accounts import Directory
from penstock.core.administration import Ask
from penstock.core.errors import STORE_UNAVAILABLE, PenstockError
from penstock.core.releases import WHOLE
from penstock.core.series import STEPS, Fed, SeriesQuery, SeriesRow
from penstock.routing.assignment import shares
from penstock.store import SeriesStore

WINDOWS: Mapping[str, float] = {
    "1m": 60.0,
    "5m": 300.0,
    "15m": 900.0,
    "1h": 3600.0,
    "6h": 6 * 3600.0,
    "24h": 86400.0,
    "7d": 7 * 86400.0,
    "30d": 30 * 86400.0,
}

LATE_S = 30.0
"""How far behind what is known may be before it is called stale."""

_CHANGES = 20
_UNKNOWN = ServiceStanding(service="", ready=False, state="unknown")


class _Counted(msgspec.Struct, frozen=True):
    """What the store says. ``now`` and ``before`` are rows by service."""

    gateways: tuple[GatewayView, ...]
    told: float | None
    since: float
    until: float
    now: Mapping[str, Sequence[SeriesRow]]
    before: Mapping[str, Sequence[SeriesRow]]


def overview(sources: Sources, turn: Turn, _: object, __: Ask) -> OverviewView:
    """While the store is away it says what this gateway knows by itself. Raises ``PenstockError``."""
    length, asked_until = _window(turn), time_of(said(turn), "until")
    live = sources.live()
    standing = {each.service: each for each in live.services}
    total: PointView | None = None
    before: PointView | None = None
    services: tuple[ServiceNow, ...]
    stale_since = live.stale_since
    alerts: Sequence[AlertView] = ()
    changed: Sequence[ChangeView] = ()
    until = _whole(turn.now) if asked_until is None else asked_until
    since, gateways = until - length, tuple(_alone(each) for each in sorted(turn.standing))
    try:
        counted = _counted(series_of(sources), turn, length, asked_until)
        since, until, gateways = counted.since, counted.until, counted.gateways
        total, before = _point(counted, counted.now), _point(counted, counted.before, length)
        services = _services(counted, standing, sources.directory(), turn, length)
        if sources.alerts is not None and turn.actor.may("alerts:read"):
            alerts = alerts_of(sources.alerts, turn, turn.now)
        changed, _rest = changes(sources.audit, turn.actor, Wanted(since=since, until=asked_until), None, _CHANGES)
        if stale_since is None and counted.told is not None and turn.now - counted.told > LATE_S:
            stale_since = counted.told
    except PenstockError as error:
        if error.fault is not STORE_UNAVAILABLE:
            raise
        services = tuple(_now(each, {}, None, None) for each in live.services)
        stale_since = turn.now if stale_since is None else stale_since
    sees_all = turn.actor.everywhere and turn.actor.may("live:read")
    return OverviewView(
        at=turn.now,
        since=since,
        until=until,
        stale_since=stale_since,
        gateways=gateways,
        total=total,
        before=before,
        services=services,
        alerts=tuple(alerts),
        changes=tuple(changed),
        in_flight=live.in_flight if sees_all else None,
        queued=live.queued if sees_all else None,
    )


def _window(turn: Turn) -> float:
    name = said(turn).get("window", "1h")
    length = WINDOWS.get(name)
    if length is None:
        raise invalid("window", f"'window' cannot be '{name[:40]}'. {near(name, WINDOWS)}")
    return length


def _counted(store: SeriesStore, turn: Turn, length: float, asked_until: float | None) -> _Counted:
    fed = store.fed()
    told = told_until(fed, turn.standing)
    until = asked_until
    if until is None:
        # Up to where all is known, unless that is long ago: a window that is not closed shows too little.
        until = _whole(turn.now if told is None or turn.now - told > LATE_S else min(told, turn.now))
    since = max(0.0, until - length)
    project, key_id = own(turn)
    found: list[Mapping[str, Sequence[SeriesRow]]] = []
    for begin in (since, max(0.0, since - length)):
        # One step holds all of it, or two where it does not begin with one.
        query = SeriesQuery(
            since=begin, until=begin + length, step_s=length, by=("service",), project=project, key_id=key_id
        )
        by_service: dict[str, list[SeriesRow]] = {}
        for row in store.series(query):
            by_service.setdefault(row.key.service, []).append(row)
        found.append(by_service)
    return _Counted(_gateways(fed, turn), told, since, until, *found)


def _whole(at: float) -> float:
    return math.floor(at / STEPS[0]) * STEPS[0]


def _gateways(fed: Sequence[Fed], turn: Turn) -> tuple[GatewayView, ...]:
    known = {each.gateway: each for each in fed}
    views = [
        GatewayView(id=each.gateway, alive=each.gateway in turn.standing, told_until=each.until, shed=each.shed)
        for each in fed
    ]
    views += [_alone(each) for each in turn.standing if each not in known]
    return tuple(sorted(views, key=lambda view: view.id))


def _alone(gateway: str) -> GatewayView:
    return GatewayView(id=gateway, alive=True, told_until=None, shed=0)


def _point(
    counted: _Counted, by_service: Mapping[str, Sequence[SeriesRow]], earlier: float = 0.0
) -> PointView | None:
    rows = [row for each in by_service.values() for row in each]
    return _summed(counted, rows, earlier)


def _summed(counted: _Counted, rows: Sequence[SeriesRow], earlier: float) -> PointView | None:
    """None where nothing is known of the time at all."""
    at, length = counted.since - earlier, counted.until - counted.since
    if not rows and (counted.told is None or counted.told <= at):
        return None
    return whole(rows, at, length, counted.told)


def _services(
    counted: _Counted, standing: Mapping[str, ServiceStanding], directory: Directory, turn: Turn, length: float
) -> tuple[ServiceNow, ...]:
    split = {each.service: _shares(shares(each.ranges)) for each in directory.splits}
    split = {name: {each.id: 1.0} for name, each in turn.served.services.items()} | split
    names = {*standing, *counted.now, *turn.served.services} - {""}
    found = []
    for name in sorted(names):
        now = _summed(counted, counted.now.get(name, ()), 0.0)
        before = _summed(counted, counted.before.get(name, ()), length)
        known = standing.get(name) or ServiceStanding(service=name, ready=False, state="unknown")
        found.append(_now(known, split.get(name, {}), now, before))
    return tuple(found)


def _now(
    standing: ServiceStanding, split: Mapping[str, float], now: PointView | None, before: PointView | None
) -> ServiceNow:
    return ServiceNow(
        service=standing.service,
        ready=standing.ready,
        state=standing.state,
        releases=dict(split or standing.releases),
        now=now,
        before=before,
    )


def _shares(millionths: Mapping[str, int]) -> dict[str, float]:
    return {release: share / WHOLE for release, share in millionths.items() if share}
