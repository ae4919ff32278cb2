"""The console, as the supervisor answers for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from penstock import catalog
from penstock.core.administration import Answer, Ask
from penstock.core.console import PageAsk


class _Console(Protocol):
    async def answer(self, ask: PageAsk) -> Answer: ...


class Pages:
    """Its pages. What writes them is loaded by the first who asks: a gateway without a reader needs none of it."""

    def __init__(self, administer: Callable[[Ask], Awaitable[Answer]]) -> None:
        self._administer = administer
        self._console: _Console | None = None

    async def page(self, ask: PageAsk) -> Answer:
        """Raises ``PenstockError``."""
        if self._console is None:
            self._console = catalog.load("console")(self._administer)
        return await self._console.answer(ask)
