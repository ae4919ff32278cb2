"""Objectives, alerts and silences, as the admin API tells of them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock.control.accounts.operation import BASE, PAGES, Operation, Parameter, Sources
from penstock.control.accounts.sight import not_found, sees
from penstock.control.accounts.turn import Gone, Page, Turn, invalid, newest_first, page, time_of
from penstock.control.objectives.standing import Stood, promise
from penstock.control.objectives.states import silenced_by
from penstock.control.observed.views import AlertView, MakeSilence, ObjectiveView, SilenceView
from penstock.core.accounts import EVERYWHERE
from penstock.core.administration import Ask
from penstock.core.errors import NOT_FOUND, PenstockError
from penstock.core.series import Alert, Silence
from penstock.core.usage import Act
from penstock.store import AlertStore

LONGEST_SILENCE_S = 90 * 86400.0
RECENT_S = 7 * 86400.0
"""Alerts that ended so long ago are listed where the query says nothing."""

_STATES = ("active", "silenced", "resolved")


class Silenced(msgspec.Struct, frozen=True, kw_only=True):
    """The content of an act about a silence."""

    before: SilenceView | None
    after: SilenceView | None


def objectives_of(stood: Sequence[Stood]) -> tuple[ObjectiveView, ...]:
    """What ``Sources.objectives`` gives, by service and name."""
    return tuple(objective_shown(each) for each in sorted(stood, key=lambda s: (s.service, s.objective.title)))


def objective_shown(each: Stood) -> ObjectiveView:
    objective, whole = each.objective, each.whole
    return ObjectiveView(
        service=each.service,
        kind=objective.kind,
        name=objective.title,
        target=objective.target,
        window_days=objective.window_days,
        text=promise(objective),
        # A mean cost has no good and bad requests.
        good=None if whole is None or objective.kind == "cost" else whole.total - whole.bad,
        total=None if whole is None else whole.total,
        budget_left=each.budget_left,
        burn=each.burns,
        within_s=objective.within_s,
    )


def alert_shown(alert: Alert, silences: Sequence[Silence], now: float) -> AlertView:
    """``silences`` are those that hold."""
    silence = None if alert.resolved_at is not None else silenced_by(alert.id, silences, now)
    return AlertView(
        id=alert.id,
        kind=alert.kind,
        severity=alert.severity,
        service=alert.service,
        project=alert.project,
        text=alert.text,
        since=alert.since,
        resolved_at=alert.resolved_at,
        silenced_until=silence.until if silence else None,
        notified_at=alert.notified_at,
    )


def alerts_of(store: AlertStore, turn: Turn, since: float) -> list[AlertView]:
    """Those that are not over, and those that ended since then, as far as the actor may see them: a project sees what
    is about it alone."""
    silences = store.silences(turn.now)
    return [
        alert_shown(each, silences, turn.now)
        for each in store.alerts(since)
        if sees(turn.actor, each.project or EVERYWHERE)
    ]


def _objectives(sources: Sources, turn: Turn, _: object, __: Ask) -> Page:
    project = None if turn.actor.everywhere else turn.actor.project
    given = turn.query.get("project")
    if given is not None and not sees(turn.actor, given):
        raise not_found("project", given, "project")
    service = turn.query.get("service")
    rows = (
        (f"{each.service}/{each.name}", each)
        for each in sources.objectives(given or project)
        if service in (None, each.service)
    )
    return page(turn, rows, lambda view: view)


def _alerts(sources: Sources, turn: Turn, _: object, __: Ask) -> Page:
    state, service = turn.query.get("state"), turn.query.get("service")
    if state not in (None, *_STATES):
        raise invalid("state", f"'state' must be one of {', '.join(_STATES)}; leave it out for all.")
    since = time_of(turn.query, "since")
    found = alerts_of(_store(sources), turn, turn.now - RECENT_S if since is None else since)
    rows = (
        (_order(each), each) for each in found if state in (None, _state(each)) and service in (None, each.service)
    )
    return page(turn, rows, lambda view: view)


def _state(alert: AlertView) -> str:
    if alert.resolved_at is not None:
        return "resolved"
    return "silenced" if alert.silenced_until is not None else "active"


def _order(alert: AlertView) -> str:
    # What is not over first, pages before tickets, then the newest.
    over, ticket = alert.resolved_at is not None, alert.severity == "ticket"
    return f"{over:d}{ticket and not over:d}{newest_first(alert.since, alert.id)}"


def _silences(sources: Sources, turn: Turn, _: object, __: Ask) -> Page:
    rows = ((newest_first(each.created_at, each.id), each) for each in _store(sources).silences(turn.now))
    return page(turn, rows, silence_shown)


def silence_shown(silence: Silence) -> SilenceView:
    return SilenceView(
        id=silence.id,
        pattern=silence.pattern,
        reason=silence.reason,
        by=silence.by,
        created_at=silence.created_at,
        until=silence.until,
    )


def _create(sources: Sources, turn: Turn, asked: MakeSilence, ask: Ask) -> SilenceView:
    pattern = asked.pattern.strip()
    if not 1 <= len(pattern) <= 512 or not pattern.isprintable():
        raise invalid("pattern", "'pattern' must be an alert's id, of 1 to 512 characters; '*' stands for anything.")
    if not 1.0 <= asked.for_s <= LONGEST_SILENCE_S:
        raise invalid("for_s", f"'for_s' must be 1 to {LONGEST_SILENCE_S:.0f} seconds (90 days).")
    if len(asked.reason) > 512:
        raise invalid("reason", "'reason' must have at most 512 characters.")
    made = Silence(
        id=turn.new_id("sil"),
        pattern=pattern,
        reason=asked.reason,
        by=turn.actor.user or turn.actor.key_id,
        created_at=turn.now,
        until=turn.now + asked.for_s,
    )
    store, shown = _store(sources), silence_shown(made)
    _note(sources, turn, ask, made.id, Silenced(before=None, after=shown))
    store.put_silence(made)
    return shown


def _delete(sources: Sources, turn: Turn, _: object, ask: Ask) -> Gone:
    store = _store(sources)
    found = next((each for each in store.silences(turn.now) if each.id == turn.target), None)
    if found is None:
        raise not_found("silence", turn.target)
    _note(sources, turn, ask, found.id, Silenced(before=silence_shown(found), after=None))
    store.put_silence(msgspec.structs.replace(found, until=turn.now))
    return Gone(object="silence", id=found.id)


def _note(sources: Sources, turn: Turn, ask: Ask, target: str, content: Silenced) -> None:
    """Before it is done: nothing is silenced that the audit does not know of."""
    act = Act(
        at=turn.now,
        actor=turn.actor.key_id,
        project=EVERYWHERE,
        action=ask.operation,
        target=target,
        address=ask.address,
        request_id=ask.request_id,
        content=msgspec.json.encode(content),
    )
    sources.audit.append_acts([(turn.new_id("act"), act)])


def _store(sources: Sources) -> AlertStore:
    if sources.alerts is None:
        raise PenstockError(
            NOT_FOUND,
            "Nothing is watched here: the log of requests is off. Set `observe: requests: enabled: true` in the "
            "deployment file.",
        )
    return sources.alerts


ALERTING: tuple[Operation, ...] = (
    Operation(
        name="objectives.list",
        method="GET",
        path=f"{BASE}/objectives",
        permissions=("alerts:read",),
        summary="What services promise, and how that stands; for a project's key, over the project's own requests",
        answer=ObjectiveView,
        listed=True,
        query=(
            Parameter("service", "Only of this service."),
            Parameter("project", "Over the requests of this project alone."),
            *PAGES,
        ),
        reads=_objectives,
    ),
    Operation(
        name="alerts.list",
        method="GET",
        path=f"{BASE}/alerts",
        permissions=("alerts:read",),
        summary="What wants somebody: alerts that are not over first, pages before tickets, then the newest",
        answer=AlertView,
        listed=True,
        query=(
            Parameter("state", "`active`, `silenced` or `resolved`. Default: all."),
            Parameter("service", "Only of this service."),
            Parameter("since", "Of those that are over, only if that was after this time. Default: seven days ago."),
            *PAGES,
        ),
        reads=_alerts,
    ),
    Operation(
        name="silences.list",
        method="GET",
        path=f"{BASE}/silences",
        permissions=("alerts:read",),
        summary="The silences that hold, newest first",
        everywhere=True,
        answer=SilenceView,
        listed=True,
        query=PAGES,
        reads=_silences,
    ),
    Operation(
        name="silences.create",
        method="POST",
        path=f"{BASE}/silences",
        permissions=("alerts:write",),
        summary="Tell nobody of some alerts for a while",
        everywhere=True,
        request=MakeSilence,
        answer=SilenceView,
        status=201,
        reads=_create,
    ),
    Operation(
        name="silences.delete",
        method="DELETE",
        path=f"{BASE}/silences/{{id}}",
        permissions=("alerts:write",),
        summary="End a silence now",
        everywhere=True,
        answer=Gone,
        reads=_delete,
    ),
)
