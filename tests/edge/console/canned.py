"""A gateway on paper: an admin API that answers from what it was given, and somebody who looks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import msgspec

from penstock.access.roles import BUILTIN
from penstock.control.observed.views import (
    AlertView,
    ChangeView,
    ContentView,
    GatewayView,
    OverviewView,
    PointView,
    Quantiles,
    RequestDetail,
    ServiceNow,
)
from penstock.core.administration import Actor, Answer, Ask
from penstock.core.console import PageAsk
from penstock.core.errors import NOT_FOUND, PenstockError

NOW = 1_790_000_000.0

Told = msgspec.Struct | Sequence[msgspec.Struct] | PenstockError | Callable[[Ask], object]


class Admin:
    """``told`` by operation: a struct, rows of a list, a refusal, or a function of the ask that gives one of them."""

    def __init__(self, told: Mapping[str, Told]) -> None:
        self.told = dict(told)
        self.asked: list[Ask] = []

    async def administer(self, ask: Ask) -> Answer:
        self.asked.append(ask)
        found: object = self.told.get(ask.operation)
        if callable(found):
            found = found(ask)
        if isinstance(found, PenstockError):
            raise found
        if isinstance(found, Answer):
            return found
        if found is None:
            raise PenstockError(NOT_FOUND, f"There is nothing for {ask.operation} on this paper.")
        if isinstance(found, Sequence):
            found = {"object": "list", "data": list(found), "has_more": False, "next": None}
        return Answer(status=200, body=msgspec.json.encode(found))


def actor(role: str = "owner", *, everywhere: bool = True, project: str = "default") -> Actor:
    return Actor(
        key_id=f"{role}-key",
        project=project,
        everywhere=everywhere,
        permissions=frozenset(BUILTIN[role].permissions),
        user="ann",
    )


def ask(path: str, *, who: Actor | None = None, method: str = "GET", fragment: bool = False, **query: str) -> PageAsk:
    return PageAsk(
        method=method,
        path=path,
        actor=who or actor(),
        query=query,
        name="Ann Example",
        token="t0k3n",
        fragment=fragment,
        address="192.0.2.9",
        request_id="req_1",
    )


def spread(p50: float, count: int = 100) -> Quantiles:
    return Quantiles(count=count, mean=p50 * 1.2, p50=p50, p95=p50 * 3, p99=p50 * 5.5)


def point(
    at: float = NOW - 3600, step_s: float = 3600.0, group: Mapping[str, str] | None = None, **more: object
) -> PointView:
    values: dict[str, object] = {
        "known": True,
        "requests": 12_408,
        "failed": 31,
        "refused": 112,
        "left": 9,
        "internal": 0,
        "codes": {"upstream_error": 31},
        "input_tokens": 8_214_003,
        "cached_tokens": 1_400_200,
        "output_tokens": 2_118_440,
        "tokens_per_s": 61.4,
        "cost": "18.423107",
        "retries": 40,
        "fallbacks": 12,
        "cache_hits": 0,
        "cache_misses": 0,
        "caches": {},
        "duration": spread(843.0),
        "first_chunk": spread(212.0),
        "between": spread(14.0),
        "queued": spread(2.0),
        "overhead": spread(0.6),
        **more,
    }
    return PointView(at=at, step_s=step_s, group=dict(group or {}), **values)  # type: ignore[arg-type]


def overview(**more: object) -> OverviewView:
    values: dict[str, object] = {
        "at": NOW,
        "since": NOW - 3600,
        "until": NOW,
        "stale_since": None,
        "gateways": (GatewayView(id="gw-a", alive=True, told_until=NOW - 5, shed=0),),
        "total": point(),
        "before": point(NOW - 7200, requests=11_200, cost="19.9", duration=spread(790.0)),
        "services": (
            ServiceNow(
                service="chat",
                ready=True,
                state="ready",
                releases={"2026-11-20-a": 0.9, "2026-11-21-b": 0.1},
                now=point(
                    requests=9_300,
                    failed=12,
                    cache_hits=3_700,
                    cache_misses=4_100,
                    caches={"hit": 2_900, "similar": 610, "stale": 120, "shared": 70, "miss": 4_100, "bypass": 1_500},
                ),
                before=point(requests=9_100),
            ),
            ServiceNow(
                service="support-summaries",
                ready=True,
                state="ready",
                releases={"2026-10-02": 1.0},
                now=point(
                    requests=3_108,
                    failed=19,
                    duration=spread(2_310.0),
                    cost="4.02",
                    caches={"miss": 9, "fallback": 3},
                ),
                before=None,
            ),
            ServiceNow(
                service="vectors",
                ready=True,
                state="ready",
                releases={},
                now=point(
                    requests=0,
                    failed=0,
                    refused=0,
                    cost="0",
                    duration=None,
                    first_chunk=None,
                    between=None,
                    queued=None,
                    overhead=None,
                    tokens_per_s=None,
                ),
                before=None,
            ),
        ),
        "alerts": (),
        "changes": changes(),
        "in_flight": 7,
        "queued": 2,
        **more,
    }
    return OverviewView(**values)  # type: ignore[arg-type]


def changes() -> tuple[ChangeView, ...]:
    return tuple(
        ChangeView(at=NOW - ago, kind=kind, actor=who, action="x", target="y", service="chat", project="*", text=text)
        for ago, kind, who, text in (
            (300, "rollout", "ann", "The rollout of 2026-11-21-b at chat went to 10 %"),
            (900, "release", "ann", "Made the release 2026-11-21-b of chat"),
            (1500, "key", "ci", "Made the key mobile-app of the project red"),
            (2800, "deployment", "ann", "Changed the deployment: 1 service, 2 replicas"),
        )
    )


def alert(**more: object) -> AlertView:
    values: dict[str, object] = {
        "id": "slo/chat/availability/page",
        "kind": "burn",
        "severity": "page",
        "service": "chat",
        "project": "",
        "text": "chat burns its error budget of availability 14.6 times too fast",
        "since": NOW - 420,
        "resolved_at": None,
        "silenced_until": None,
        "notified_at": NOW - 410,
        **more,
    }
    return AlertView(**values)  # type: ignore[arg-type]


def series(ask: Ask) -> list[PointView]:
    """Something that looks like traffic, up to the step that ends now."""
    since, until, step = (float(ask.query[name]) for name in ("since", "until", "step"))
    names = ("chat", "support-summaries") if ask.query.get("by") == "service" else ("",)
    found = []
    at = since
    while at < until:
        for place, name in enumerate(names):
            wave = 1.0 + 0.35 * math.sin(at / 520 + place) + 0.12 * math.sin(at / 77)
            count = int(wave * step * (3.1 - 1.4 * place))
            found.append(
                point(
                    at,
                    step,
                    {"service": name} if name else {},
                    known=at + step <= NOW - 5,
                    requests=count,
                    failed=int(count * (0.002 if (at // step) % 17 else 0.03)),
                    refused=int(count * 0.01),
                    cache_hits=int(count * (0.3 + 0.1 * wave - 0.2 * place)),
                    cache_misses=int(count * 0.4),
                    cost=f"{count * 0.0014:.6f}",
                    duration=spread(700 + 160 * wave),
                    first_chunk=spread(180 + 40 * wave),
                )
            )
        at += step
    return found


def told() -> dict[str, Told]:
    """A gateway that does well."""
    return {"overview.get": overview(), "changes.list": changes(), "series.list": series}


def detail(**more: object) -> RequestDetail:
    values: dict[str, object] = {
        "id": "req_7", "at": NOW - 60, "gateway": "gw-a", "project": "default", "key_id": "owner-key", "user": "ann",
        "team": "", "subject": "", "asked": "chat", "service": "chat", "release": "2026-11-20-a", "model": "m",
        "replica": "m-0", "kind": "chat", "dialect": "chat/completions", "stream": True, "purpose": "client",
        "ending": "complete", "status": 200, "code": "", "message": "", "tokens": None, "estimated": False,
        "cost": "0.0012", "duration_ms": 843.0, "first_chunk_ms": 210.0, "queued_ms": None, "overhead_ms": 0.6,
        "between_ms": 14.0, "attempts": 1, "cache": "", "trace": "", "content": "all", "spans": (), "why": (),
        "usage": (), "scores": {}, "rollout": "", **more,
    }  # fmt: skip
    return RequestDetail(**values)  # type: ignore[arg-type]


def content() -> ContentView:
    request = {
        "model": "chat",
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "Sum </script><b>this</b> up"},
        ],
        "temperature": 0.3,
        "logit_bias": {"50256": -100},
    }
    raw = msgspec.Raw(msgspec.json.encode(request))
    return ContentView(id="req_7", at=NOW - 60, masked=False, request=raw, reply=msgspec.Raw(b"{}"))
