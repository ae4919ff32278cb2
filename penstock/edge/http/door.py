"""Who is let in to administer, and what the audit hears of those who are not."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import msgspec

from penstock.access.scopes import check_endpoint
from penstock.core.accounts import EVERYWHERE
from penstock.core.errors import PenstockError
from penstock.core.identity import Principal
from penstock.core.usage import Act
from penstock.edge.http.exchange import Exchange
from penstock.edge.http.routes import Needs
from penstock.gateway.snapshot import Admission

Admit = Callable[[str | None, str], Awaitable[Admission]]
"""Key and client's address to who it is."""

TOLD = 10
"""Refusals of one key in a minute that the audit hears of, from one worker; the next one says how many more there
were."""
MOST_KEYS = 1000
_MINUTE_S = 60.0
_LONGEST_PATH = 200


class Untold(msgspec.Struct, frozen=True):
    """The content of an act: refusals of the same key since the one before, of which the audit did not hear."""

    untold: int


class _Tally:
    __slots__ = ("begun", "count", "untold")

    def __init__(self, begun: float) -> None:
        self.begun = begun
        self.count = self.untold = 0


class Door:
    """``admit`` lets a caller in by its key, as the gateway does. ``note`` hears of who has a good key and may not do
    what it asked; it must neither wait nor raise. ``now`` is in monotonic seconds."""

    def __init__(self, admit: Admit, note: Callable[[Act], None], now: Callable[[], float] = time.monotonic) -> None:
        self._admit = admit
        self._note = note
        self._now = now
        self._tallies: dict[str, _Tally] = {}

    async def let_in(self, exchange: Exchange, needs: Needs, path: str) -> Principal:
        """Who asks. Raises ``PenstockError``: what ``admit`` raises, ENDPOINT_FORBIDDEN, PERMISSION_DENIED."""
        exchange.admission = await self._admit(exchange.presented_key(), exchange.client)
        principal = exchange.admission.principal
        try:
            check_endpoint(principal, path)
            needs.check(principal)
        except PenstockError as error:
            self._denied(exchange, principal, error.fault.code)
            raise
        return principal

    def _denied(self, exchange: Exchange, principal: Principal, code: str) -> None:
        tally = self._tally(principal.key_id)
        if tally is None:
            return
        if tally.count >= TOLD:
            tally.untold += 1
            return
        tally.count += 1
        content = msgspec.json.encode(Untold(tally.untold)) if tally.untold else b""
        tally.untold = 0
        self._note(
            Act(
                at=time.time(),
                actor=principal.key_id,
                project=EVERYWHERE if principal.everywhere else principal.project,
                action="admin.denied",
                target=f"{exchange.method} {exchange.path[:_LONGEST_PATH]}",
                outcome=code,
                address=exchange.client,
                request_id=exchange.request_id,
                content=content,
            )
        )

    def _tally(self, key_id: str) -> _Tally | None:
        """That of the key in this minute; None when there are too many keys to count."""
        now, tallies = self._now(), self._tallies
        tally = tallies.get(key_id)
        if tally is None:
            if len(tallies) >= MOST_KEYS:
                self._tallies = tallies = {k: t for k, t in tallies.items() if now - t.begun < _MINUTE_S}
            if len(tallies) >= MOST_KEYS:
                return None
            tally = tallies[key_id] = _Tally(now)
        elif now - tally.begun >= _MINUTE_S:
            tally.begun, tally.count = now, 0
        return tally
