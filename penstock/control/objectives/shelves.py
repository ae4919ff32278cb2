"""Where alerts are: those that all gateways see alike in the store, those of this gateway alone here, as it must tell
of a store that is away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from penstock.control.objectives.conditions import owner_of
from penstock.core.series import Alert, Silence


class Alerts(Protocol):
    """What this needs of ``penstock.store.AlertStore``."""

    def alerts(self, since: float) -> Sequence[Alert]: ...

    def put_alerts(self, alerts: Sequence[Alert], expected: Mapping[str, float]) -> bool: ...

    def silences(self, now: float) -> Sequence[Silence]: ...


class Own:
    """The alerts that only this gateway knows of: it alone writes them, so nobody is ever faster. What is written is
    copied to the store when that is there."""

    def __init__(self, gateway: str) -> None:
        self._gateway = gateway
        self._open: dict[str, Alert] = {}
        self._changed: dict[tuple[str, float], Alert] = {}
        self._copied: dict[str, float] = {}
        self._adopted = False

    @property
    def alerts(self) -> Mapping[str, Alert]:
        """Those that are not over, by id."""
        return self._open

    def put(self, alerts: Sequence[Alert], expected: Mapping[str, float]) -> bool:
        """As ``AlertStore.put_alerts``; nobody is ever faster."""
        for alert in alerts:
            self._changed[alert.id, alert.since] = alert
            if alert.resolved_at is None:
                self._open[alert.id] = alert
            else:
                self._open.pop(alert.id, None)
        return True

    def copy(self, store: Alerts, stored: Mapping[str, Alert]) -> None:
        """Brings what was written to the store; ``stored`` are its alerts that are not over. The first time it takes
        over what an earlier life of this gateway has left. Raises ``PenstockError``; nothing is lost then."""
        mine = {id: alert for id, alert in stored.items() if owner_of(id) == self._gateway}
        if not self._adopted:
            for id, alert in mine.items():
                if id in self._open:
                    del self._changed[id, self._open[id].since]
                self._open[id] = alert
            self._adopted = True
        self._copied = {id: alert.changed_at for id, alert in mine.items()}
        for key, alert in sorted(self._changed.items(), key=lambda item: item[1].changed_at):
            there = self._copied.get(alert.id, 0.0)
            if store.put_alerts([alert], {alert.id: there}):
                self._copied[alert.id] = 0.0 if alert.resolved_at is not None else alert.changed_at
                del self._changed[key]
