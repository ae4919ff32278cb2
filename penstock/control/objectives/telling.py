"""Whom to tell of what, and when. Pure.

Telling is claimed in the store before it is done: who changes ``changed_at`` first tells people, and for ``LEASE_S``
nobody else does. What was delivered is noted as ``notified_at``; whoever dies before that is followed by another, so
that an alert may be told twice, and is never told by nobody.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from penstock.core.series import Alert, Severity

LEASE_S = 60.0
RENEW_S = 20.0
"""A claim is renewed when it is so old and its delivery is still under way."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What receivers are told at once: alerts of one ``service`` (empty: of none), the most urgent first. ``repeat``:
    they were told of before. ``console_url`` empty: there is none."""

    status: Literal["firing", "resolved"]
    service: str
    alerts: tuple[Alert, ...]
    at: float
    repeat: bool = False
    console_url: str = ""

    def of(self, alerts: tuple[Alert, ...]) -> Message:
        """The same about these alone."""
        return msgspec.structs.replace(self, alerts=alerts)

    @property
    def severity(self) -> Severity:
        """That of the most urgent."""
        return "page" if any(each.severity == "page" for each in self.alerts) else "ticket"

    @property
    def title(self) -> str:
        """One line."""
        more = len(self.alerts) - 1
        word = "Resolved" if self.status == "resolved" else "Page" if self.severity == "page" else "Ticket"
        still = ", still" if self.repeat and self.status == "firing" else ""
        return f"{word}{still}: {_about(self.alerts[0])}" + (f" and {more} more" if more else "")


def _about(alert: Alert) -> str:
    """What it is about, as its id has it: ``assistant: availability``, ``replica small-0``."""
    kind, _, rest = alert.id.partition("/")
    if kind == "slo":
        objective = rest.removeprefix(f"{alert.service}/").rpartition("/")[0]
        return f"{alert.service}: {objective}"
    if kind == "replica":
        return f"replica {rest.partition('/')[2].rpartition('/')[0]}"
    if kind == "delivery":
        return f"receiver {rest.partition('/')[2]}"
    return f"{kind} {rest.partition('/')[0]}"


def claimed(alert: Alert) -> bool:
    """Whether somebody has said that they will tell of it, and has not said that they did."""
    return alert.changed_at > (alert.since if alert.notified_at is None else alert.notified_at)


def due_at(alert: Alert, group_s: float, repeat_s: float) -> float:
    """When it may be told of."""
    if claimed(alert):
        return alert.changed_at + LEASE_S
    return alert.since + group_s if alert.notified_at is None else alert.notified_at + repeat_s


def due(
    now: float, alerts: Iterable[Alert], severities: frozenset[str], group_s: float, repeat_s: float
) -> list[tuple[Alert, ...]]:
    """Alerts to tell of now, by message. ``severities`` are those that anybody wants.

    A ticket is quiet while the page of the same objective is there. With the first of a service that is due go all
    others of it that nobody has been told of.
    """
    firing = {each.id: each for each in alerts if each.resolved_at is None}
    groups: dict[tuple[str, bool], list[Alert]] = {}
    for alert in firing.values():
        paged = alert.severity == "ticket" and f"{alert.id.removesuffix('/ticket')}/page" in firing
        if not alert.silenced_by and alert.severity in severities and not paged:
            groups.setdefault((alert.service, alert.notified_at is not None), []).append(alert)
    found = []
    for group in groups.values():
        if any(due_at(each, group_s, repeat_s) <= now for each in group):
            ready = [each for each in group if not claimed(each) or due_at(each, group_s, repeat_s) <= now]
            found.append(tuple(sorted(ready, key=_urgent)))
    return found


def claim(alerts: Sequence[Alert], now: float) -> tuple[tuple[Alert, ...], dict[str, float]]:
    """The same as they are to be written, and what must still be there."""
    # Later than what was there even in the moment in which it began: that is how a claim is known.
    taken = tuple(msgspec.structs.replace(each, changed_at=max(now, each.changed_at + 0.001)) for each in alerts)
    return taken, {each.id: each.changed_at for each in alerts}


def resolutions(resolved: Iterable[Alert], before: Mapping[str, Alert]) -> list[tuple[Alert, ...]]:
    """What is over, by message: only what somebody was told of, or is being told of; ``before`` are the same alerts
    as they were. A silence keeps that from nobody: who was woken wants to know that it is over, and an incident of
    theirs is closed by nobody else."""
    groups: dict[str, list[Alert]] = {}
    for alert in resolved:
        was = before.get(alert.id)
        if was is not None and (was.notified_at is not None or claimed(was)):
            groups.setdefault(alert.service, []).append(alert)
    return [tuple(sorted(group, key=_urgent)) for group in groups.values()]


def wanting(alerts: Sequence[Alert], severities: Iterable[Severity]) -> tuple[Alert, ...]:
    """Those that a receiver of these severities is told of."""
    wanted = set(severities)
    return tuple(each for each in alerts if each.severity in wanted)


def _urgent(alert: Alert) -> tuple[bool, float, str]:
    return alert.severity != "page", alert.since, alert.id


def when(at: float) -> str:
    """RFC 3339, to the second, UTC."""
    return datetime.datetime.fromtimestamp(int(at), datetime.UTC).isoformat().replace("+00:00", "Z")
