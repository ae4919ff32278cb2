"""How the audit ends is signed, again and again, whatever the store does."""

from __future__ import annotations

import asyncio
from typing import cast

from penstock.control.heads import EVERY_S, Heads
from penstock.core.errors import STORE_UNAVAILABLE, PenstockError
from penstock.store import AuditStore
from tests.control.timing import ManualTime, until


class Audit:
    """Is asked for its head."""

    def __init__(self) -> None:
        self.asked = 0
        self.away = False

    def head(self) -> None:
        self.asked += 1
        if self.away:
            raise PenstockError(STORE_UNAVAILABLE, "away")


async def test_once_a_minute_and_again_after_the_store_was_away() -> None:
    audit, time = Audit(), ManualTime()
    task = asyncio.create_task(Heads(cast(AuditStore, audit), time.sleep).run())
    try:
        for times, away in ((1, False), (2, True), (3, True), (4, False)):
            await until(lambda times=times: len(time.slept) == times)  # type: ignore[misc]
            assert audit.asked == times
            audit.away = away
            await time.advance(EVERY_S)
    finally:
        task.cancel()
        await asyncio.wait((task,))
    assert set(time.slept) == {EVERY_S}
