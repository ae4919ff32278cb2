"""What ``penstock top`` shows, as lines of text with a tone each. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import msgspec

from penstock.control.observed.views import AlertView, OverviewView, PointView, ReplicaView, ServiceNow
from penstock.edge.cli.amounts import NONE, memory, money, rate, share, since, time_taken
from penstock.edge.cli.showing import Column, line_of, table, time_of

Tone = Literal["plain", "title", "head", "good", "bad", "warn", "dim"]

HOUR_S = 3600.0
ORDERS = ("requests", "errors", "latency", "cost", "name")
_MOST_ALERTS = 5


class Line(NamedTuple):
    """``service`` is the one whose row it is."""

    text: str
    tone: Tone = "plain"
    service: str = ""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What was last told. ``replicas`` None: the key may not see them. ``at`` is when it came, in seconds since the
    epoch; ``lost`` says why nothing newer has come, empty: it has."""

    overview: OverviewView
    replicas: Sequence[ReplicaView] | None
    at: float
    lost: str = ""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """How whoever looks wants to see it. ``chosen``: the service that the cursor is on, None: no cursor."""

    order: str = "requests"
    paused: bool = False
    window: str = "1m"
    chosen: str | None = None


_SERVICES = (
    Column("SERVICE"),
    Column("STATE"),
    Column("REQ/S", right=True),
    Column("FIRST P50", right=True),
    Column("P95", right=True),
    Column("TOOK P50", right=True),
    Column("P95", right=True),
    Column("TOK/S", right=True),
    Column("ERRORS", right=True),
    Column("REFUSED", right=True),
    Column("COST/H", right=True),
)
_REPLICAS = (
    Column("REPLICA"),
    Column("STATE"),
    Column("RUNNING", right=True),
    Column("WAITING", right=True),
    Column("KV", right=True),
    Column("MEMORY", right=True),
    Column("DEVICE", right=True),
    Column("BUSY", right=True),
    Column("NOTE"),
)


def board(seen: Seen, wish: Wish, now: float) -> Iterator[Line]:
    """All of it, top to bottom."""
    view = seen.overview
    yield from _header(seen, wish, now)
    yield Line("")
    rows = ordered(view.services, wish.order)
    told = _table(_SERVICES, [_service(each) for each in rows], [_service_tone(each) for each in rows])
    for line, name in zip(told, ("", *(each.service for each in rows)), strict=False):
        yield line._replace(service=name)
    if not rows:
        yield Line("No service is deployed; write one into the deployment file, and `penstock apply` it.", "dim")
    yield from _chosen(rows, wish)
    yield Line("")
    if seen.replicas is None:
        yield Line("The key may not see replicas ('live:read').", "dim")
    elif seen.replicas:
        yield from _table(
            _REPLICAS, [_replica(each) for each in seen.replicas], [_replica_tone(each) for each in seen.replicas]
        )
    else:
        yield Line("There is no replica here.", "dim")
    yield Line("")
    yield from _alerts(view.alerts, now)


def ordered(services: Sequence[ServiceNow], order: str) -> list[ServiceNow]:
    """The most of it first; of those that have as much by name."""
    by = _KEYS[order]
    return sorted(services, key=lambda each: (-by(each), each.service))


def _header(seen: Seen, wish: Wish, now: float) -> Iterator[Line]:
    view, total = seen.overview, seen.overview.total
    names = ", ".join(each.id for each in view.gateways if each.alive) or "no gateway"
    state = "paused" if wish.paused else time_of(view.until)[11:]
    yield Line(f"penstock top  {line_of(names)}  last {wish.window} until {state}  by {wish.order}", "title")
    if seen.lost:
        yield Line(f"Nothing new for {since(now - seen.at)}: {line_of(seen.lost)}", "bad")
    elif view.stale_since is not None:
        yield Line(f"Unknown, stale since {time_of(view.stale_since)}: the store does not answer.", "bad")
    shed = sum(each.shed for each in view.gateways)
    if shed:
        yield Line(f"{shed:,} records were lost, as they came faster than they could be written.", "warn")
    length = view.until - view.since
    parts = [
        f"requests/s {rate(_per_s(total, length))}",
        f"in flight {_number(view.in_flight)}",
        f"queued {_number(view.queued)}",
        f"tokens/s {rate(None if total is None else total.output_tokens / length)}",
        f"errors {share(total.failed, total.requests) if total else NONE}",
        f"cost/h {_cost(total, length)}",
    ]
    yield Line("  ".join(parts))


def _table(columns: Sequence[Column], rows: Sequence[Sequence[str]], tones: Sequence[Tone]) -> Iterator[Line]:
    for text, tone in zip(table(columns, rows), ("head", *tones), strict=False):
        yield Line(text, tone)


def _service(each: ServiceNow) -> Sequence[str]:
    now = each.now
    if now is None:
        return (each.service, each.state, *["?"] * (len(_SERVICES) - 2))
    first, took = now.first_chunk, now.duration
    return (
        each.service,
        each.state,
        rate(now.requests / now.step_s),
        time_taken(None if first is None else first.p50),
        time_taken(None if first is None else first.p95),
        time_taken(None if took is None else took.p50),
        time_taken(None if took is None else took.p95),
        rate(now.output_tokens / now.step_s),
        share(now.failed, now.requests),
        share(now.refused, now.requests),
        _cost(now, now.step_s),
    )


def _service_tone(each: ServiceNow) -> Tone:
    if each.state in ("failed", "down") or (each.now is not None and each.now.failed * 20 > each.now.requests):
        return "bad"
    if not each.ready or (each.now is not None and each.now.failed):
        return "warn"
    return "plain" if each.now is not None and each.now.requests else "dim"


def _chosen(rows: Sequence[ServiceNow], wish: Wish) -> Iterator[Line]:
    found = next((each for each in rows if each.service == wish.chosen), None)
    if found is None:
        return
    releases = ", ".join(f"{release} {100 * part:g} %" for release, part in found.releases.items()) or "none known"
    yield Line(f"{line_of(found.service)}: releases {line_of(releases)}", "dim")
    if found.now is not None and found.now.codes:
        codes = sorted(found.now.codes.items(), key=lambda each: -each[1])
        yield Line("errors: " + ", ".join(f"{line_of(code)} {count}" for code, count in codes), "dim")
    if found.now is not None and found.before is not None:
        took = found.before.duration
        yield Line(
            f"before: {rate(found.before.requests / found.before.step_s)} req/s, "
            f"{share(found.before.failed, found.before.requests)} errors, "
            f"p95 {time_taken(None if took is None else took.p95)}",
            "dim",
        )


def _replica(each: ReplicaView) -> Sequence[str]:
    return (
        each.id,
        each.state if each.breaker in ("", "closed") else f"{each.state} ({each.breaker})",
        _number(each.running),
        _number(each.waiting),
        NONE if each.kv_use is None else share(each.kv_use, 1.0),
        memory(each.memory),
        memory(each.device_memory),
        NONE if each.utilisation is None else share(each.utilisation, 1.0),
        each.note,
    )


def _replica_tone(each: ReplicaView) -> Tone:
    if each.state in ("failed", "down"):
        return "bad"
    return "plain" if each.state == "ready" and each.breaker in ("", "closed") else "warn"


def _alerts(alerts: Sequence[AlertView], now: float) -> Iterator[Line]:
    if not alerts:
        yield Line("No alert.", "good")
    loud = sorted(alerts, key=lambda each: (each.silenced_until is not None, each.severity != "page", -each.since))
    for each in loud[:_MOST_ALERTS]:
        quiet = each.silenced_until is not None
        tone: Tone = "dim" if quiet else "bad" if each.severity == "page" else "warn"
        yield Line(
            f"{'silenced' if quiet else each.severity.upper()} {since(now - each.since)}: {line_of(each.text)}", tone
        )
    if len(alerts) > _MOST_ALERTS:
        yield Line(f"and {len(alerts) - _MOST_ALERTS} more: penstock alerts", "dim")


def _number(amount: int | None) -> str:
    return NONE if amount is None else f"{amount:,}"


def _per_s(point: PointView | None, length: float) -> float | None:
    return None if point is None else point.requests / length


def _cost(point: PointView | None, length: float) -> str:
    return NONE if point is None else money(float(point.cost) * HOUR_S / length)


def _p95(each: ServiceNow) -> float:
    took = each.now.duration if each.now is not None else None
    return took.p95 if took is not None else -1.0


_KEYS: dict[str, Callable[[ServiceNow], float]] = {
    "requests": lambda each: each.now.requests if each.now else -1,
    "errors": lambda each: each.now.failed if each.now else -1,
    "latency": _p95,
    "cost": lambda each: float(each.now.cost) if each.now else -1.0,
    "name": lambda each: 0.0,
}
