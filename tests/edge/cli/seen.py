"""What a gateway tells of itself, for the tests of the commands that show it."""

from __future__ import annotations

from typing import Any

from penstock.control.observed.views import (
    AlertView,
    GatewayView,
    OverviewView,
    PointView,
    Quantiles,
    ReplicaView,
    RequestDetail,
    RequestView,
    ServiceNow,
    SpanView,
)
from penstock.core.usage import Tokens

NOW = 1_795_000_000.0
"""2026-11-18T11:06:40Z."""


def point(requests: int = 120, **changes: Any) -> PointView:
    took = Quantiles(count=requests, mean=900.0, p50=840.0, p95=2100.0, p99=4000.0)
    fields: dict[str, Any] = {
        "at": NOW - 60,
        "step_s": 60.0,
        "group": {},
        "known": True,
        "requests": requests,
        "failed": 0,
        "refused": 0,
        "left": 0,
        "internal": 0,
        "codes": {},
        "input_tokens": 10 * requests,
        "cached_tokens": 0,
        "output_tokens": 20 * requests,
        "tokens_per_s": 45.0,
        "cost": "0.05",
        "retries": 0,
        "fallbacks": 0,
        "cache_hits": 0,
        "cache_misses": 0,
        "caches": {},
        "duration": took if requests else None,
        "first_chunk": Quantiles(count=1, mean=1.0, p50=93.0, p95=180.0, p99=200.0) if requests else None,
        "between": None,
        "queued": None,
        "overhead": None,
    }
    return PointView(**fields | changes)


def service(name: str, **changes: Any) -> ServiceNow:
    fields: dict[str, Any] = {
        "service": name,
        "ready": True,
        "state": "ready",
        "releases": {"rel_1": 0.9, "rel_2": 0.1},
        "now": point(),
        "before": point(60),
    }
    return ServiceNow(**fields | changes)


def overview(*services: ServiceNow, **changes: Any) -> OverviewView:
    fields: dict[str, Any] = {
        "at": NOW,
        "since": NOW - 60,
        "until": NOW,
        "stale_since": None,
        "gateways": (GatewayView(id="g1", alive=True, told_until=NOW, shed=0),),
        "total": point(240),
        "before": None,
        "services": services,
        "alerts": (),
        "changes": (),
        "in_flight": 3,
        "queued": 0,
    }
    return OverviewView(**fields | changes)


def replica(id: str, **changes: Any) -> ReplicaView:
    fields: dict[str, Any] = {
        "id": id,
        "model": "m",
        "engine": "vllm",
        "state": "ready",
        "breaker": "closed",
        "running": 4,
        "waiting": 0,
        "kv_use": 0.31,
        "memory": 3 << 30,
        "device_memory": 40 << 30,
        "device_memory_total": 80 << 30,
        "utilisation": 0.77,
        "accepted": None,
        "attempts": 9,
        "seen_at": NOW,
        "note": "",
    }
    return ReplicaView(**fields | changes)


def alert(id: str, **changes: Any) -> AlertView:
    fields: dict[str, Any] = {
        "id": id,
        "kind": "burn",
        "severity": "page",
        "service": "assistant",
        "project": "",
        "text": "The error budget burns 20 times too fast",
        "since": NOW - 600,
        "resolved_at": None,
        "silenced_until": None,
        "notified_at": None,
    }
    return AlertView(**fields | changes)


def _facts(**changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "id": "req_1",
        "at": NOW,
        "gateway": "g1",
        "project": "red",
        "key_id": "key_1",
        "user": "",
        "team": "",
        "subject": "",
        "asked": "assistant",
        "service": "assistant",
        "release": "",
        "model": "m",
        "replica": "m-0",
        "kind": "chat",
        "dialect": "chat/completions",
        "stream": True,
        "purpose": "client",
        "ending": "complete",
        "status": 200,
        "code": "",
        "message": "",
        "tokens": Tokens(input=12, output=34),
        "estimated": False,
        "cost": "0.0012",
        "duration_ms": 1234.0,
        "first_chunk_ms": 210.0,
        "queued_ms": None,
        "overhead_ms": 0.8,
        "between_ms": 20.0,
        "attempts": 1,
        "cache": "",
        "trace": "",
        "content": "none",
    }
    return fields | changes


def request(**changes: Any) -> RequestView:
    return RequestView(**_facts(**changes))


def detail(**changes: Any) -> RequestDetail:
    spans = (
        SpanView(name="assistant", begin_ms=0.0, ms=1234.0, depth=0, about="complete 200"),
        SpanView(name="place", begin_ms=0.4, ms=34.0, depth=1),
        SpanView(name="dispatch", begin_ms=34.4, ms=1199.0, depth=1),
        SpanView(name="m", begin_ms=35.0, ms=100.0, depth=2, about="m-0", error="upstream_failed"),
        SpanView(name="m", begin_ms=140.0, ms=1094.0, depth=2, about="m-1"),
    )
    told = {"spans": spans, "why": ("'m' (m-1) answered.",), "usage": (), "scores": {"success": 1.0}, "rollout": ""}
    return RequestDetail(**_facts(**told | changes))
