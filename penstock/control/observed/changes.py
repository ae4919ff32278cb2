"""The timeline of what was changed: administrative acts of the audit, as marks under charts."""

from __future__ import annotations

import msgspec

from penstock.control.accounts.operation import Sources
from penstock.control.accounts.sight import not_found, sees
from penstock.control.accounts.turn import Page, Turn, after_of, cursor, limit_of, time_of
from penstock.control.observed.asked import said, word
from penstock.control.observed.change_words import KINDS, Told, told
from penstock.control.observed.views import ChangeView
from penstock.core.accounts import EVERYWHERE
from penstock.core.administration import Actor, Ask
from penstock.core.usage import Act, AuditQuery
from penstock.store import AuditStore

LOOKED_AT = 2000
"""Rows of the audit that one page reads at most; it may then be short, and the next goes on."""

_AT_ONCE = 200


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Changes from ``since`` (included) to ``until`` (not), seconds since the epoch. None: any. A change of one
    ``service`` is one that says so, or that concerns all of them."""

    since: float = 0.0
    until: float | None = None
    service: str | None = None
    project: str | None = None
    kind: str | None = None


def listed(sources: Sources, turn: Turn, _: object, __: Ask) -> Page:
    """Newest first. Raises ``PenstockError``."""
    given = said(turn)
    project = given.get("project")
    if project is not None and not sees(turn.actor, project):
        raise not_found("project", project, "project")
    wanted = Wanted(
        since=time_of(given, "since") or 0.0,
        until=time_of(given, "until"),
        service=given.get("service"),
        project=project,
        kind=word(given, "kind", KINDS),
    )
    found, after = changes(sources.audit, turn.actor, wanted, after_of(turn.query, int), limit_of(turn.query))
    return Page(data=found, has_more=after is not None, next=None if after is None else cursor(after))


def changes(
    audit: AuditStore, actor: Actor, wanted: Wanted, before: int | None, most: int
) -> tuple[list[ChangeView], int | None]:
    """Those that the actor may see, of rows numbered below ``before``; and where the next page goes on, None: there
    is none."""
    query = AuditQuery(since=wanted.since, until=wanted.until, kind="administrative")
    found: list[ChangeView] = []
    looked_at = 0
    while looked_at < LOOKED_AT:
        rows = audit.acts(query, before, _AT_ONCE)
        for row in rows:
            before = row.number
            looked_at += 1
            change = told(row.act)
            if change is not None and _fits(wanted, row.act, change) and _seen(actor, row.act, change):
                found.append(_shown(actor, row.act, change))
                if len(found) == most:
                    return found, before
        if len(rows) < _AT_ONCE:
            return found, None
    return found, before


def _fits(wanted: Wanted, act: Act, change: Told) -> bool:
    return (
        (wanted.service is None or change.service in ("", wanted.service))
        and (wanted.project is None or act.project in (EVERYWHERE, wanted.project))
        and (wanted.kind is None or change.kind == wanted.kind)
    )


def _seen(actor: Actor, act: Act, change: Told) -> bool:
    """Whoever may list a thing may see that it was changed."""
    if not actor.may(change.permission):
        return False
    return sees(actor, act.project) or (change.common and act.project == EVERYWHERE)


def _shown(actor: Actor, act: Act, change: Told) -> ChangeView:
    return ChangeView(
        at=act.at,
        kind=change.kind,
        # Who administers the gateway is nothing for one project to see.
        actor=act.actor if sees(actor, act.project) else "",
        action=act.action,
        target=act.target,
        service=change.service,
        project=act.project,
        text=change.text,
    )
