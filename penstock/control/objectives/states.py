"""From conditions to alerts: pending, firing, resolved. Pure.

An alert is pending while its condition has not held for long enough; that is kept by each gateway for itself. From
then on it is in the store, and what one gateway writes is what all of them go on from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from penstock.control.objectives.conditions import Condition
from penstock.core.series import Alert, Silence

GONE_S = 600.0
"""An alert whose condition nobody names any more, as the objective or the replica was removed, is over after this."""


class Memory(msgspec.Struct, frozen=True):
    """Since when a condition holds that is no alert yet, and since when one does not hold that still is one."""

    holds: Mapping[str, float] = {}
    clear: Mapping[str, float] = {}


class Turned(msgspec.Struct, frozen=True):
    """What is to be written: alerts that have begun, and those that are over."""

    fired: tuple[Alert, ...]
    resolved: tuple[Alert, ...]
    memory: Memory


def turn(
    now: float,
    open_alerts: Mapping[str, Alert],
    conditions: Mapping[str, Condition],
    memory: Memory,
) -> Turned:
    """The next step."""
    holds: dict[str, float] = {}
    clear: dict[str, float] = {}
    fired, resolved = [], []
    for id, condition in conditions.items():
        alert = open_alerts.get(id)
        if alert is None and condition.holds:
            holds[id] = memory.holds.get(id, now)
            if now - holds[id] >= condition.after_s:
                fired.append(_fired(condition, now))
                del holds[id]
        elif alert is None and condition.holds is None and id in memory.holds:
            holds[id] = memory.holds[id]
        elif alert is not None and condition.holds is False:
            clear[id] = memory.clear.get(id, now)
            if now - clear[id] >= condition.clear_s:
                resolved.append(_resolved(alert, now))
                del clear[id]
    for id, alert in open_alerts.items():
        if id not in conditions:
            clear[id] = memory.clear.get(id, now)
            if now - clear[id] >= _patience(id):
                resolved.append(_resolved(alert, now))
                del clear[id]
    return Turned(tuple(fired), tuple(resolved), Memory(holds, clear))


def _patience(id: str) -> float:
    # A budget that is no longer near its end is not named: that is how it is over.
    return 60.0 if id.startswith("budget/") else GONE_S


def _fired(condition: Condition, now: float) -> Alert:
    return Alert(
        id=condition.id,
        kind=condition.kind,
        severity=condition.severity,
        service=condition.service,
        project=condition.project,
        text=condition.text,
        value=condition.value,
        limit=condition.limit,
        since=now,
        changed_at=now,
    )


def _resolved(alert: Alert, now: float) -> Alert:
    return msgspec.structs.replace(alert, resolved_at=now, changed_at=now)


# -- silences ----------------------------------------------------------------------------------------------------


def matches(pattern: str, id: str) -> bool:
    """Whether the id is of the pattern; ``*`` stands for any characters, none and ``/`` included."""
    first, *rest = pattern.split("*")
    if not rest:
        return pattern == id
    *middle, last = rest
    if not id.startswith(first) or len(id) < len(first) + len(last) or not id.endswith(last):
        return False
    at, end = len(first), len(id) - len(last)
    for part in middle:
        found = id.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def silenced_by(id: str, silences: Iterable[Silence], now: float) -> Silence | None:
    """The one that keeps it quiet the longest, None: it is not silenced."""
    found = [each for each in silences if each.until > now and matches(each.pattern, id)]
    return max(found, key=lambda each: each.until, default=None)


def hushed(alerts: Iterable[Alert], silences: Sequence[Silence], now: float) -> list[Alert]:
    """The alerts whose silence is another than they say, as they are to be written; ``changed_at`` stays."""
    found = []
    for alert in alerts:
        silence = silenced_by(alert.id, silences, now)
        name = silence.id if silence else ""
        if name != alert.silenced_by:
            found.append(msgspec.structs.replace(alert, silenced_by=name))
    return found
