"""Caches: what is not served from them any more, and how the semantic ones stand."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec

from penstock.control.accounts.cache_records import FORGOTTEN_AFTER_S, with_one_more
from penstock.control.accounts.operation import BASE, PAGES, Operation, Parameter, Sources
from penstock.control.accounts.sight import not_found, project_of, sees
from penstock.control.accounts.turn import Outcome, Page, Turn, invalid, newest_first, page
from penstock.core.accounts import EVERYWHERE, Directory
from penstock.core.administration import Ask
from penstock.core.caching import DeskFigures, Invalidation, Scope, subject_digest
from penstock.core.requests import subject_named

KNOWN_WITHIN_S = 1.0
"""After which every worker of a gateway whose store answers refuses what was invalidated."""

_KEY = re.compile(r"[0-9a-f]{40}\Z")
_LONGEST = {"tag": 128, "service": 128, "release": 128, "subject": 2048}

Age = Annotated[float, msgspec.Meta(ge=0, le=FORGOTTEN_AFTER_S - 86400.0)]


class Invalidate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What caches are not to serve any more: answers of which `scope` is `value`. A `key` is what the header
    `x-penstock-cache-key` said; a `subject` the id of a person as clients send it; `all` has no value, and a
    `project` none where the key is for one. `project` keeps it to that one's answers. `older_than_s`: only those
    whose making began longer ago."""

    scope: Scope
    value: Annotated[str, msgspec.Meta(max_length=2048)] = ""
    project: Annotated[str, msgspec.Meta(max_length=64)] = ""
    older_than_s: Age = 0.0


class InvalidationView(msgspec.Struct, frozen=True, kw_only=True):
    """Answers that are not served any more: those whose making began at `at` or before, in seconds since the epoch.
    `project` is empty where it concerns all of them. The `value` of a `subject` is a digest."""

    object: Literal["cache_invalidation"] = "cache_invalidation"
    scope: Scope
    value: str
    project: str
    at: float


class Invalidated(InvalidationView, frozen=True, kw_only=True):
    """It holds from now on: in each gateway after `known_within_s` seconds at the latest, while its store answers."""

    since: float
    known_within_s: float = KNOWN_WITHIN_S


class SemanticView(msgspec.Struct, frozen=True, kw_only=True):
    """How the semantic cache of a service stands for one project, since it began; for one `caller` of it where each
    has answers of its own. `wrong_estimate` and `wrong_at_most` are of its hits, the latter with a chance of 95 % at
    all times together; `allowed` is how many the service's `max_error` permits by now. `threshold` is the predicted
    risk up to which requests hit, below 0: none do. `probability` is that of the next hit's audit."""

    object: Literal["semantic_cache"] = "semantic_cache"
    project: str
    service: str
    caller: str
    max_error: float
    requests: int
    hits: int
    audits: int
    wrong_seen: int
    wrong_estimate: float
    wrong_at_most: int
    allowed: float
    threshold: float
    probability: float
    labels: int
    entries: int


def shown(each: Invalidation) -> InvalidationView:
    return InvalidationView(scope=each.scope, value=each.value, project=each.project, at=each.at)


def listed(sources: Sources, turn: Turn, _: object, __: Ask) -> Page:
    """Newest first."""
    project = turn.query.get("project")
    rows = (
        (newest_first(each.at, each.id), each)
        for each in sources.directory().invalidations
        if (turn.actor.everywhere or each.project in ("", turn.actor.project)) and project in (None, each.project)
    )
    return page(turn, rows, shown)


def invalidate(directory: Directory, turn: Turn, asked: Invalidate) -> Outcome:
    """Raises ``PenstockError`` (INVALID_VALUE, NOT_FOUND)."""
    record = _record(directory, turn, asked)
    put, remove = with_one_more(directory.invalidations, record, turn.now)
    before = next((each for each in directory.invalidations if each.id == record.id), None)
    view = shown(record)
    return Outcome(
        answer=Invalidated(since=turn.now, **msgspec.structs.asdict(view)),
        put=put,
        remove=remove,
        target=record.id,
        project=record.project or EVERYWHERE,
        before=shown(before) if before else None,
        after=view,
    )


def _record(directory: Directory, turn: Turn, asked: Invalidate) -> Invalidation:
    at = turn.now - asked.older_than_s
    project = asked.project
    if project:
        project = project_of(directory, turn.actor, project, "project").id
    elif not turn.actor.everywhere:
        project = turn.actor.project
    value = asked.value
    if asked.scope == "project":
        value = project_of(directory, turn.actor, value or project, "value").id
        if project not in ("", value):
            raise invalid("project", "'project' must be the 'value', or left out, where the scope is a project.")
        return Invalidation(scope="project", value=value, project=value, at=at)
    if asked.scope == "all":
        if value:
            raise invalid("value", "'value' must be left out where the scope is 'all'.")
        if project:
            return Invalidation(scope="project", value=project, project=project, at=at)
        return Invalidation(scope="all", at=at)
    if asked.scope == "key":
        value = value.lower()
        if not _KEY.match(value):
            raise invalid(
                "value",
                "A cache key is 40 hexadecimal digits, as the header 'x-penstock-cache-key' has it.",
            )
    elif not 0 < len(value) <= _LONGEST[asked.scope]:
        raise invalid("value", f"'value' must be a {asked.scope}, 1 to {_LONGEST[asked.scope]} characters.")
    if asked.scope == "subject":
        value = subject_digest(subject_named(value))
    return Invalidation(scope=asked.scope, value=value, project=project, at=at)


def semantic(sources: Sources, turn: Turn, _: object, __: Ask) -> Page:
    """By project, service and caller."""
    project, service = turn.query.get("project"), turn.query.get("service")
    if project is not None and not sees(turn.actor, project):
        raise not_found("project", project, "project")
    rows = (
        (f"{each.scope.project}\0{each.scope.service}\0{each.scope.caller}", each)
        for each in sources.desks()
        if sees(turn.actor, each.scope.project)
        and project in (None, each.scope.project)
        and service in (None, each.scope.service)
    )
    return page(turn, rows, _desk)


def _desk(each: DeskFigures) -> SemanticView:
    return SemanticView(
        project=each.scope.project,
        service=each.scope.service,
        caller=each.scope.caller,
        max_error=each.max_error,
        requests=each.requests,
        hits=each.hits,
        audits=each.audits,
        wrong_seen=each.wrong_seen,
        wrong_estimate=each.wrong_estimate,
        wrong_at_most=each.wrong_at_most,
        allowed=each.max_error * each.requests,
        threshold=each.threshold,
        probability=each.probability,
        labels=each.labels,
        entries=each.entries,
    )


_PROJECT = Parameter("project", "Only of this project.")

CACHES: tuple[Operation, ...] = (
    Operation(
        name="caches.list",
        method="GET",
        path=f"{BASE}/caches/invalidations",
        permissions=("caches:read",),
        summary="What is not served from caches any more, newest first",
        answer=InvalidationView,
        listed=True,
        query=(_PROJECT, *PAGES),
        reads=listed,
    ),
    Operation(
        name="caches.invalidate",
        method="POST",
        path=f"{BASE}/caches/invalidations",
        permissions=("caches:write",),
        summary="Serve some answers no more, from any cache; they are made anew when they are asked for",
        request=Invalidate,
        answer=Invalidated,
        status=201,
        writes=invalidate,
    ),
    Operation(
        name="caches.semantic",
        method="GET",
        path=f"{BASE}/caches/semantic",
        permissions=("caches:read",),
        summary="How the semantic caches of this gateway stand, and what is proven of them",
        answer=SemanticView,
        listed=True,
        query=(_PROJECT, Parameter("service", "Only of this service."), *PAGES),
        reads=semantic,
    ),
)
