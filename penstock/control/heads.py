"""Signs how the audit ends, so that little of it can ever be changed unseen."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from penstock.core.errors import PenstockError
from penstock.store import AuditStore

EVERY_S = 60.0

_log = logging.getLogger("penstock.control")


class Heads:
    """Once a minute, when the audit has grown since. A store that is away is asked again a minute later."""

    def __init__(self, audit: AuditStore, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._audit = audit
        self._sleep = sleep

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.sign()
            await self._sleep(EVERY_S)

    async def sign(self) -> None:
        """Now, if there is anything new. Never raises."""
        try:
            await asyncio.to_thread(self._audit.head)
        except PenstockError as error:
            _log.warning("how the audit ends is not signed: %s", error.message)
