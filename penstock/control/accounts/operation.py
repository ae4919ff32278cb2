"""What an operation of the admin API is, and the usual shapes of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import msgspec

from penstock.control.accounts.deployment import Deployed
from penstock.control.accounts.turn import Gone, Outcome, Turn
from penstock.control.observed.standing import Flush, Live, at_once
from penstock.control.observed.views import ObjectiveView, ReplicaView
from penstock.core.accounts import Directory
from penstock.core.administration import Ask
from penstock.core.caching import DeskFigures
from penstock.core.releases import Decision, Plan, Score
from penstock.quality.verdict import Verdict
from penstock.store import AlertStore, AuditStore, LedgerStore, RequestStore, ScoreSum, SeriesStore


class Scores(Protocol):
    """What is kept of rollouts beside the directory."""

    def decisions(self, rollout: str) -> Sequence[Decision]:
        """Those of one rollout, by number."""

    def summary(self, service: str, release: str, since: float) -> Sequence[ScoreSum]:
        """Scores of requests that came from then on, added up."""

    def scores(self, rollout: str, after: int, most: int) -> Sequence[tuple[int, Score]]:
        """Those of a rollout with a number above ``after``, by number."""

    def worst_pairs(self, rollout: str, metric: str, most: int) -> Sequence[tuple[Score, Score]]:
        """Of what the client got and its copy, where the copy fell most behind in the metric; the worst first."""

    def of_request(self, request_id: str) -> Sequence[Score]:
        """All of one request, copies included."""

    def erase_scores(self, requests: Sequence[tuple[str, float, str]]) -> int:
        """Drops all of these requests, each by id, arrival and project, and what clients have said of them; how
        many."""


class Proof(Protocol):
    """What scores come to, gate by gate: ``penstock.quality.gates.Evidence``, which is heavy to load."""

    def take(self, scores: Sequence[Score]) -> None:
        """More of them, in order."""

    def verdict(self, now: float, started_at: float) -> Verdict:
        """What is known by now."""


class Sources(msgspec.Struct, frozen=True):
    """What can be read. ``directory`` is looked up when it is called. ``scores`` None: nothing is scored here.
    ``evidence`` is what is known of a rollout that has not ended, None: nothing yet. ``proof`` begins
    one for a plan, None: nobody can here.

    ``requests``, ``series`` and ``alerts`` None: nothing is kept of what is seen. ``live`` says what this gateway
    knows of itself, ``replicas`` what of its replicas, ``objectives`` how they stand over the requests of a project
    (None: of all), ``desks`` how the semantic caches do; ``flush`` brings what is on its way to the store. They are
    called in a thread, and may raise ``PenstockError``.
    """

    directory: Callable[[], Directory]
    ledger: LedgerStore
    audit: AuditStore
    scores: Scores | None = None
    evidence: Callable[[str], bytes | None] = lambda rollout: None
    proof: Callable[[Plan], Proof] | None = None
    requests: RequestStore | None = None
    series: SeriesStore | None = None
    alerts: AlertStore | None = None
    live: Callable[[], Live] = Live
    replicas: Callable[[], Sequence[ReplicaView]] = tuple
    objectives: Callable[[str | None], Sequence[ObjectiveView]] = lambda project: ()
    desks: Callable[[], Sequence[DeskFigures]] = tuple
    flush: Flush = at_once
    deployment: Deployed | None = None


Reads = Callable[[Sources, Turn, Any, Ask], msgspec.Struct]
Writes = Callable[[Directory, Turn, Any], Outcome]


class Parameter(msgspec.Struct, frozen=True):
    """Something that the query may say; ``type`` is a word of JSON Schema."""

    name: str
    about: str
    type: Literal["string", "integer", "number", "boolean"] = "string"


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """``path`` may hold ``{id}``. Any one of ``permissions`` is enough; ``everywhere``: only of an actor that
    administers the whole gateway. ``request`` is the struct of the body, None: there is none; ``optional``: it may be
    left out. ``answer`` is that of the reply, of one row where it is ``listed``, None: it is a file. One of ``reads``
    and ``writes`` carries it out, but for a file; of both the first is the change of the directory, and the answer
    that of ``reads``. Only what ``writes`` alone heeds an ``idempotency-key``."""

    name: str
    method: Literal["GET", "POST", "PATCH", "DELETE"]
    path: str
    permissions: tuple[str, ...]
    summary: str
    everywhere: bool = False
    request: type[msgspec.Struct] | None = None
    optional: bool = False
    answer: type[msgspec.Struct] | None = None
    listed: bool = False
    query: tuple[Parameter, ...] = ()
    status: int = 200
    reads: Reads | None = None
    writes: Writes | None = None


BASE = "/admin/v1"

PAGES = (
    Parameter("limit", "How much a page holds, 1 to 200. Default: 50.", "integer"),
    Parameter("after", "`next` of the page before."),
)


_OF_RELEASES = frozenset({"models", "prompts", "aliases", "rollouts", "splits"})


def _permission(what: str, verb: Literal["read", "write"]) -> str:
    return f"{'releases' if what in _OF_RELEASES else what}:{verb}"


def of_directory(run: Callable[[Directory, Turn, None], msgspec.Struct]) -> Reads:
    return lambda sources, turn, _, __: run(sources.directory(), turn, None)


def of_ledger(run: Callable[[LedgerStore, Turn], msgspec.Struct]) -> Reads:
    return lambda sources, turn, _, __: run(sources.ledger, turn)


def listing(
    what: str, answer: type[msgspec.Struct], run: Reads, *query: Parameter, about: str = "", path: str = ""
) -> Operation:
    return Operation(
        name=f"{what}.list",
        method="GET",
        path=f"{BASE}/{path or what}",
        permissions=(_permission(what, "read"),),
        summary=about or f"The {what} that the key may see, by id",
        answer=answer,
        listed=True,
        query=(*query, *PAGES),
        reads=run,
    )


def getting(what: str, one: str, answer: type[msgspec.Struct], run: Reads) -> Operation:
    return Operation(
        name=f"{what}.get",
        method="GET",
        path=f"{BASE}/{what}/{{id}}",
        permissions=(_permission(what, "read"),),
        summary=f"One {one}",
        answer=answer,
        reads=run,
    )


def creating(
    what: str,
    one: str,
    request: type[msgspec.Struct],
    answer: type[msgspec.Struct],
    run: Writes,
    *,
    everywhere: bool = False,
    summary: str = "",
) -> Operation:
    return Operation(
        name=f"{what}.create",
        method="POST",
        path=f"{BASE}/{what}",
        permissions=(_permission(what, "write"),),
        summary=summary or f"Make a {one}",
        everywhere=everywhere,
        request=request,
        answer=answer,
        status=201,
        writes=run,
    )


def changing(
    what: str,
    one: str,
    request: type[msgspec.Struct],
    answer: type[msgspec.Struct],
    run: Writes,
    *,
    everywhere: bool = False,
) -> Operation:
    return Operation(
        name=f"{what}.change",
        method="PATCH",
        path=f"{BASE}/{what}/{{id}}",
        permissions=(_permission(what, "write"),),
        summary=f"Change a {one}",
        everywhere=everywhere,
        request=request,
        answer=answer,
        writes=run,
    )


def removing(what: str, one: str, run: Writes, *, everywhere: bool = False) -> Operation:
    return Operation(
        name=f"{what}.delete",
        method="DELETE",
        path=f"{BASE}/{what}/{{id}}",
        permissions=(_permission(what, "write"),),
        summary=f"Remove a {one}",
        everywhere=everywhere,
        answer=Gone,
        writes=run,
    )


def acting(
    what: str,
    verb: str,
    summary: str,
    answer: type[msgspec.Struct],
    run: Writes,
    *,
    request: type[msgspec.Struct] | None = None,
    everywhere: bool = False,
) -> Operation:
    return Operation(
        name=f"{what}.{verb}",
        method="POST",
        path=f"{BASE}/{what}/{{id}}/{verb}",
        permissions=(_permission(what, "write"),),
        summary=summary,
        everywhere=everywhere,
        request=request,
        optional=True,
        answer=answer,
        writes=run,
    )
