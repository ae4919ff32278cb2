"""Lets go of what has been kept for long enough."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from penstock.core.accounts import EVERYWHERE
from penstock.core.clock import Clock
from penstock.core.errors import PenstockError
from penstock.core.usage import Act
from penstock.store import AuditStore, LedgerStore, ScoreStore
from penstock.store.config import StateSettings

EVERY_S = 3600.0
_DAY_S = 86400.0

_log = logging.getLogger("penstock.control")


class Retention:
    """Once an hour: rows of the ledger, scores, contents of the audit, each by its own time. A store that is away is
    asked again an hour later."""

    def __init__(
        self,
        ledger: LedgerStore,
        audit: AuditStore,
        scores: ScoreStore,
        settings: StateSettings,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._ledger = ledger
        self._audit = audit
        self._scores = scores
        self._settings = settings
        self._clock = clock
        self._sleep = sleep

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await asyncio.to_thread(self.once)
            except PenstockError as error:
                _log.warning("what is too old was not let go of: %s", error.message)
            await self._sleep(EVERY_S)

    def once(self) -> None:
        """Raises ``PenstockError(STORE_UNAVAILABLE)``."""
        now, audit = self._clock.wall(), self._settings.audit
        self._ledger.forget(now - self._settings.ledger_days * _DAY_S)
        self._scores.forget_scores(now - self._settings.scores_days * _DAY_S)
        for kind, days in (("content", audit.content_days), ("administrative", audit.administrative_days)):
            act = Act(at=now, actor="gateway", project=EVERYWHERE, action="audit.expire", target=kind)
            self._audit.expire(kind, now - days * _DAY_S, act)
