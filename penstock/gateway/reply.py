"""Reply: what the edge pumps to the client. It owns the upstream and the trail, and closes each exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from penstock.core.errors import PenstockError
from penstock.core.trail import Ending, Trail
from penstock.gateway.dispatch import Won, watched
from penstock.gateway.settle import Settle, Summary
from penstock.gateway.watch import Watcher


class Reply:
    """One answer on its way. Read by one task; ``aclose`` may come from any, at any moment.

    ``headers`` say what happened before the first chunk, for the HTTP response; ``summary`` is there once closed.
    """

    __slots__ = (
        "_closing",
        "_ending",
        "_error",
        "_first",
        "_settle",
        "_trail",
        "_upstream",
        "_watch",
        "headers",
        "summary",
    )

    def __init__(self, won: Won, watch: tuple[Watcher, ...], trail: Trail, settle: Settle) -> None:
        self._upstream = won.upstream
        self._first: Sequence[bytes] = won.first
        self._watch = watch
        self._trail = trail
        self._settle = settle
        self._ending = Ending.CLIENT_GONE
        self._error: PenstockError | None = None
        self._closing: asyncio.Future[None] | None = None
        self.summary: Summary | None = None
        self.headers: Mapping[str, str] = {
            "x-penstock-model": won.attempt.model,
            "x-penstock-attempts": str(won.number),
        }

    async def read(self) -> Sequence[bytes]:
        """The chunks that may go to the client, at least one; an empty sequence once the answer is complete.

        Each is one JSON text in OpenAI's shape for the call's kind. Raises ``PenstockError`` when the answer breaks.
        """
        if self._first:
            first, self._first = self._first, ()
            return first
        try:
            while chunks := await self._upstream.read():
                if released := watched(chunks, self._watch):
                    return released
        except PenstockError as error:
            self._ending, self._error = Ending.FAILED, error
            raise
        self._ending = Ending.COMPLETE
        return ()

    async def aclose(self) -> None:
        """Closes the upstream, which cancels its work unless the answer was complete, and settles. Idempotent."""
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        try:
            await self._upstream.aclose()
        finally:
            self.summary = self._settle(self._trail, self._ending, self._error)
