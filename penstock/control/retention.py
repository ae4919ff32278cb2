"""Lets go of what has been kept for long enough."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from penstock.control.threads import in_thread
from penstock.core.accounts import EVERYWHERE
from penstock.core.clock import Clock
from penstock.core.errors import PenstockError
from penstock.core.usage import Act
from penstock.observe.config import Requests
from penstock.store import AlertStore, AuditStore, LedgerStore, RequestStore, ScoreStore, SeriesStore
from penstock.store.config import StateSettings

EVERY_S = 3600.0
SERIES_EVERY_S = 300.0
FINE_S = 3 * 3600.0
"""How long the series are kept in their finest steps."""
MIDDLE_DAYS = 7.0
"""How long in the middle ones."""
COARSE_DAYS = 400.0
"""How long in the coarsest."""
ALERT_DAYS = 90.0
"""How long alerts are kept that are over."""
_DAY_S = 86400.0

_log = logging.getLogger("penstock.control")


class Seen(msgspec.Struct, frozen=True):
    """What is seen of requests, and how long the log of them is kept."""

    requests: RequestStore
    series: SeriesStore
    alerts: AlertStore
    settings: Requests


class _Chore(msgspec.Struct, frozen=True):
    """``do`` gets the time, ``what`` is for people."""

    what: str
    do: Callable[[float], object]


class Retention:
    """Once an hour: rows of the ledger, scores, contents of the audit; with ``seen`` old days of the request log and
    alerts that are over; and every five minutes the finer steps of the series. Each by its own time, and whatever
    fails is tried again at its next turn, and keeps nothing else from its own."""

    def __init__(
        self,
        ledger: LedgerStore,
        audit: AuditStore,
        scores: ScoreStore,
        settings: StateSettings,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        *,
        seen: Seen | None = None,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._rounds: Sequence[tuple[float, Sequence[_Chore]]] = (
            (EVERY_S, _books(ledger, audit, scores, settings)),
            *(() if seen is None else ((EVERY_S, _log_of(seen)), (SERIES_EVERY_S, _series(seen.series)))),
        )

    async def run(self) -> None:
        """Until cancelled; what is under way is then at its end."""
        async with asyncio.TaskGroup() as rounds:
            for every_s, chores in self._rounds:
                rounds.create_task(self._keep_at(every_s, chores))

    def once(self) -> None:
        """All of it, now. What fails is logged."""
        for _, chores in self._rounds:
            self._do(chores)

    async def _keep_at(self, every_s: float, chores: Sequence[_Chore]) -> None:
        while True:
            await in_thread(self._do, chores)
            await self._sleep(every_s)

    def _do(self, chores: Sequence[_Chore]) -> None:
        for chore in chores:
            try:
                chore.do(self._clock.wall())
            except PenstockError as error:
                _log.warning("of %s what is too old was not let go of: %s", chore.what, error.message)
            except Exception:  # noqa: BLE001 - one that cannot be done must not end all others
                _log.exception("of %s what is too old was not let go of", chore.what)


def _books(ledger: LedgerStore, audit: AuditStore, scores: ScoreStore, settings: StateSettings) -> Sequence[_Chore]:
    def expire(kind: str, days: float) -> Callable[[float], object]:
        def do(now: float) -> object:
            act = Act(at=now, actor="gateway", project=EVERYWHERE, action="audit.expire", target=kind)
            return audit.expire(kind, now - days * _DAY_S, act)

        return do

    return (
        _Chore("usage", lambda now: ledger.forget(now - settings.ledger_days * _DAY_S)),
        _Chore("scores", lambda now: scores.forget_scores(now - settings.scores_days * _DAY_S)),
        _Chore("contents in the audit", expire("content", settings.audit.content_days)),
        _Chore("what administrative acts changed", expire("administrative", settings.audit.administrative_days)),
    )


def _log_of(seen: Seen) -> Sequence[_Chore]:
    days = seen.settings

    def archive(now: float) -> int:
        return seen.requests.archive(now - days.archive_after_days * _DAY_S)

    def forget(now: float) -> int:
        return seen.requests.forget_requests(now - days.days * _DAY_S, now - days.content_days * _DAY_S)

    return (
        # What goes for good need not be archived first.
        _Chore("the request log", forget),
        _Chore("days that should be archived", archive),
        _Chore("alerts", lambda now: seen.alerts.forget_alerts(now - ALERT_DAYS * _DAY_S)),
    )


def _series(series: SeriesStore) -> Sequence[_Chore]:
    def coarsen(now: float) -> None:
        series.coarsen(now - FINE_S, now - MIDDLE_DAYS * _DAY_S, now - COARSE_DAYS * _DAY_S)

    return (_Chore("the series", coarsen),)
