"""Watches objectives and everything else that may want somebody, and sees to it that people are told.

Every gateway runs this loop over the same store. What all of them see alike, objectives and budgets, is written by
whoever is first, which then tells people; what only one of them knows, its replicas say, it tells by itself, with or
without the store.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from penstock.control import metrics
from penstock.control.objectives import conditions as about
from penstock.control.objectives.book import Book, Promises, Series
from penstock.control.objectives.conditions import Condition, Spent, by_id, owner_of
from penstock.control.objectives.receivers import Delivery, Receiver
from penstock.control.objectives.shelves import Alerts, Own
from penstock.control.objectives.standing import Means, Stood, conditions, stood
from penstock.control.objectives.states import Memory, hushed, turn
from penstock.control.objectives.telling import RENEW_S, Message, claim, claimed, due, resolutions
from penstock.core.accounts import Directory
from penstock.core.clock import Clock
from penstock.core.errors import PenstockError
from penstock.core.series import Alert, Silence
from penstock.core.serving import Deployment
from penstock.observe import config, totals

EVERY_S = 15.0
BUDGETS_S = 60.0
"""How often budgets are looked at."""
PROJECT_S, PROJECT_FINE_S = 30.0, 7200.0
"""For how long it is good how objectives of one project stand, and for how long back that is read by minutes."""
_MOST_PROJECTS = 500
DRAIN_S = 2.0
"""How long a stop waits for messages on their way. Who was not told then is told by another gateway, or later."""

_log = logging.getLogger("penstock.alerts")

Known = tuple[str, float]
"""An alert, by id and ``since``."""
Put = Callable[[Sequence[Alert], Mapping[str, float]], bool]


class Sources(Protocol):
    """What is looked at. The calls are made in a thread; they may raise ``PenstockError(STORE_UNAVAILABLE)``."""

    def promises(self) -> Promises:
        """The objectives of each service, as the deployment file has them now."""

    def directory(self) -> Directory: ...

    def deployment(self) -> Deployment: ...

    def standing(self) -> Collection[str]:
        """The gateways that are alive."""


class Alerting:
    """``gateway`` is the name of this one. ``tick`` one at a time."""

    def __init__(
        self,
        *,
        gateway: str,
        sources: Sources,
        series: Series,
        means: Means,
        spent: Spent,
        alerts: Alerts,
        receivers: Sequence[Receiver],
        settings: config.Alerts,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._gateway = gateway
        self._sources = sources
        self._series = series
        self._means = means
        self._spent = spent
        self._store = alerts
        self._settings = settings
        self._clock = clock
        self._sleep = sleep
        self.delivery = Delivery(receivers, self._done, clock.now, sleep)
        self._book = Book({})
        self._stood: tuple[Stood, ...] = ()
        self._of_projects: dict[str, tuple[float, tuple[Stood, ...]]] = {}
        self._own = Own(gateway)
        self._memory = self._own_memory = Memory()
        self._silences: Sequence[Silence] = ()
        self._budgets: tuple[float, tuple[Condition, ...]] = (0.0, ())
        self._away_since: float | None = None
        self._lost: int | None = None
        self._open: Mapping[str, Alert] = {}
        # Changed on the event loop alone.
        self._flying: dict[Known, int] = {}
        self._told: set[Known] = set()

    async def run(self) -> None:
        """Until cancelled."""
        lines = asyncio.create_task(self.delivery.run())
        try:
            while True:
                try:
                    await self.tick()
                except Exception:  # noqa: BLE001 - said, and tried again; other loops go on
                    _log.exception("objectives are not watched for a fault of the gateway itself")
                await self._sleep(EVERY_S)
        finally:
            await self.delivery.drained(DRAIN_S)
            lines.cancel()
            await asyncio.wait([lines])
            await self.delivery.aclose()

    async def tick(self) -> None:
        """Looks once, and hands over what people are to be told."""
        told, flying = frozenset(self._told), frozenset(self._flying)
        messages, noted = await asyncio.to_thread(self._look, told, flying, self.delivery.failing)
        self._told -= noted
        for message in messages:
            self._send(message)

    async def drained(self, within_s: float) -> bool:
        """Whether everything was delivered, or given up, within this time."""
        return await self.delivery.drained(within_s)

    def standing(self, project: str | None = None) -> Sequence[Stood]:
        """How the objectives stand: of all requests, as of the last tick, or of one project's, as of at most
        ``PROJECT_S`` ago. Blocks in the latter case, and may raise ``PenstockError``. Any thread may call it."""
        if project is None:
            return self._stood or tuple(_all_stood(Book(self._sources.promises()), _unknown, self._clock.wall()))
        now = self._clock.wall()
        at, found = self._of_projects.get(project, (0.0, ()))
        if now - at < PROJECT_S:
            return found
        book = Book(self._sources.promises(), project, PROJECT_FINE_S)
        book.read(self._series, now)
        found = tuple(_all_stood(book, _unknown, now))
        if len(self._of_projects) >= _MOST_PROJECTS:
            self._of_projects.clear()
        self._of_projects[project] = (now, found)
        return found

    def measured(self) -> totals.Report:
        """The rows of ``penstock.control.metrics`` that are about alerts."""
        firing = dict.fromkeys(("page", "ticket"), 0)
        for alert in (*tuple(self._open.values()), *tuple(self._own.alerts.values())):
            firing[alert.severity] += 1
        rows: dict[str, tuple[totals.Series, ...]] = {
            metrics.ALERTS_FIRING.name: tuple(totals.Series((name,), (float(n),)) for name, n in firing.items()),
            metrics.ALERTS_DELIVERED.name: tuple(
                totals.Series((line.receiver.name, outcome), (float(count),))
                for line in self.delivery.lines
                for outcome, count in (("delivered", line.delivered), ("failed", line.failed))
            ),
            metrics.BUDGET_LEFT.name: tuple(
                totals.Series((each.service, each.objective.title), (each.budget_left,))
                for each in self._stood
                if each.budget_left is not None
            ),
        }
        return totals.Report(rows)

    # -- on the event loop -------------------------------------------------------------------------------------------

    def _send(self, message: Message) -> None:
        if message.status == "firing":
            for alert in message.alerts:
                wanted = sum(alert.severity in line.receiver.severities for line in self.delivery.lines)
                if wanted:
                    self._flying[alert.id, alert.since] = wanted
        self.delivery.put(message)

    def _done(self, message: Message, delivered: bool) -> None:
        if message.status == "resolved":
            return
        for alert in message.alerts:
            known = (alert.id, alert.since)
            left = self._flying.pop(known, 0) - 1
            if left > 0:
                self._flying[known] = left
            if delivered:
                self._told.add(known)

    # -- in a thread -------------------------------------------------------------------------------------------------

    def _look(
        self, told: Collection[Known], flying: Collection[Known], failing: Mapping[str, str]
    ) -> tuple[list[Message], set[Known]]:
        """What to tell people, and of what was told the part that is noted."""
        now = self._clock.wall()
        stored: dict[str, Alert] | None = None
        shared: dict[str, Condition] = {}
        lost: int | None = None
        try:
            stored = {each.id: each for each in self._store.alerts(now) if each.resolved_at is None}
            self._silences = self._store.silences(now)
            self._own.copy(self._store, stored)
            lost = self._newly_lost()
            shared = by_id(self._shared(now))
            self._away_since = None
        except PenstockError as error:
            if self._away_since is None:
                _log.warning("objectives are not known: %s", error.message)
                self._away_since = now
            stored = None
        said: list[Message] = []
        own = by_id(self._of_this(now, failing, lost))
        self._own_memory, _ = self._carry(
            now, self._own.alerts, own, self._own_memory, self._own.put, told, flying, said
        )
        noted = {known for known in told if owner_of(known[0]) == self._gateway}
        if stored is None:
            return said, noted
        standing = self._sources.standing()
        # What only a gateway knew that is gone is over some time later: nobody else would say so.
        alien = {id for id in stored if (owner := owner_of(id)) and (owner == self._gateway or owner in standing)}
        self._open = {id: alert for id, alert in stored.items() if id not in alien}
        try:
            self._memory, self._open = self._carry(
                now, self._open, shared, self._memory, self._store.put_alerts, told, flying, said
            )
        except PenstockError as error:
            # What was claimed before is told; the rest is seen again.
            _log.warning("alerts could not be written: %s", error.message)
            return said, noted
        return said, set(told)

    def _carry(
        self,
        now: float,
        alerts: Mapping[str, Alert],
        found: Mapping[str, Condition],
        memory: Memory,
        put: Put,
        told: Iterable[Known],
        flying: Collection[Known],
        said: list[Message],
    ) -> tuple[Memory, Mapping[str, Alert]]:
        """One step of some alerts, and those that are not over then. Whatever another gateway has changed meanwhile
        is left for the next tick."""
        current = dict(alerts)

        def written(changed: Sequence[Alert], expected: Mapping[str, float]) -> bool:
            if not put(changed, expected):
                return False
            for each in changed:
                if each.resolved_at is None:
                    current[each.id] = each
                else:
                    current.pop(each.id, None)
            return True

        for id, since in told:
            alert = current.get(id)
            if alert is not None and alert.since == since and claimed(alert):
                noted = msgspec.structs.replace(alert, notified_at=now, changed_at=now)
                written([noted], {id: alert.changed_at})
        turned = turn(now, dict(current), found, memory)
        for alert in turned.fired:
            written([alert], {alert.id: 0.0})
        before = dict(current)
        over = [a for a in turned.resolved if written([a], {a.id: before[a.id].changed_at})]
        said += [self._message("resolved", group, now) for group in resolutions(over, before)]
        for alert in hushed(current.values(), self._silences, now):
            written([alert], {alert.id: alert.changed_at})
        for alert in tuple(current.values()):
            if (alert.id, alert.since) in flying and claimed(alert) and now - alert.changed_at >= RENEW_S:
                written([msgspec.structs.replace(alert, changed_at=now)], {alert.id: alert.changed_at})
        settings = self._settings
        ready = due(now, current.values(), self.delivery.severities, settings.group_s, settings.repeat_s)
        for group in ready:
            fresh = tuple(self._reworded(each, found) for each in group if (each.id, each.since) not in flying)
            taken, expected = claim(fresh, now)
            if taken and written(taken, expected):
                said.append(self._message("firing", taken, now))
        return turned.memory, current

    def _reworded(self, alert: Alert, found: Mapping[str, Condition]) -> Alert:
        """With what is so now, as far as it is known."""
        condition = found.get(alert.id)
        if condition is None or not condition.holds:
            return alert
        return msgspec.structs.replace(alert, text=condition.text, value=condition.value, limit=condition.limit)

    def _message(self, status: str, alerts: tuple[Alert, ...], now: float) -> Message:
        return Message(
            status="resolved" if status == "resolved" else "firing",
            service=alerts[0].service,
            alerts=alerts,
            at=now,
            repeat=any(each.notified_at is not None for each in alerts),
            console_url=self._settings.console_url,
        )

    def _shared(self, now: float) -> list[Condition]:
        promises = self._sources.promises()
        if promises != self._book.promises:
            self._book = Book(promises)
        self._book.read(self._series, now)
        self._stood = tuple(_all_stood(self._book, self._means, now))
        if now - self._budgets[0] >= BUDGETS_S:
            self._budgets = (now, tuple(about.budgets(self._sources.directory(), self._spent, now)))
        return [*(each for one in self._stood for each in conditions(one)), *self._budgets[1]]

    def _newly_lost(self) -> int:
        shed = {each.gateway: each.shed for each in self._series.fed()}.get(self._gateway, 0)
        lost = 0 if self._lost is None else shed - self._lost
        self._lost = shed
        return lost

    def _of_this(self, now: float, failing: Mapping[str, str], lost: int | None) -> list[Condition]:
        found = [about.store(self._gateway, self._away_since, now)]
        found += about.replicas(self._gateway, self._sources.deployment())
        found += about.delivery(self._gateway, failing, self.delivery.names)
        found.append(about.shed(self._gateway, lost))
        return found


def _all_stood(book: Book, means: Means, now: float) -> Iterable[Stood]:
    for service, objectives in book.promises.items():
        for objective in objectives:
            yield stood(book, means, service, objective, now)


def _unknown(service: str, metric: str, since: float) -> None:
    return None
