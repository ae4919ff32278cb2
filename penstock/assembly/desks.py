"""The worker's side of the desks, which the supervisor has: questions over the link, and what they came to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from penstock.assembly.asking import Asker
from penstock.assembly.link import ToldOfSupervisor
from penstock.assembly.link_desks import Disown, LearnDesk, SeekDesk, TeachDesk
from penstock.caches.metrics import SEMANTIC_UNSAID
from penstock.core.caching import Learnt, Seek, Sought, Taught
from penstock.core.errors import OUT_OF_RESOURCES, PenstockError
from penstock.core.metrics import Meter, Sample

WITHIN_S: Final = 1.0
_GONE_WITHIN_S: Final = 12.0
"""To be on the safe side of the store, which an invalidation waits for."""
_TEACHES_BELOW: Final = 8 << 20
_LEARNS_BELOW: Final = 24 << 20
"""Bytes that may wait on the link. What a ticket came to is small and matters more than one more answer."""
LONGEST: Final = 4 << 20
"""An answer with more bytes is not taught."""


class RemoteDesks:
    """``send`` is the link's, ``waiting`` how many bytes wait on it."""

    def __init__(
        self,
        asker: Asker[ToldOfSupervisor],
        send: Callable[[LearnDesk | TeachDesk], None],
        waiting: Callable[[], int],
        meter: Meter,
    ) -> None:
        self._asker = asker
        self._send = send
        self._waiting = waiting
        self._meter = meter

    async def seek(self, ask: Seek) -> Sought:
        """What the scope's desk says, within a second. Raises ``PenstockError`` when the supervisor cannot say."""
        try:
            told = await self._asker.ask(SeekDesk(ask), WITHIN_S)
        except TimeoutError:
            raise _silent() from None
        return msgspec.msgpack.decode(told.answer, type=Sought)

    def learn(self, what: Learnt) -> None:
        """What became of a ticket. Never waits; while the supervisor does not listen it is counted and not said, and
        an audit counts as wrong."""
        self._say(LearnDesk(what), _LEARNS_BELOW)

    def keep(self, what: Taught) -> None:
        """An answer that others may get from now on. As ``learn``."""
        if len(what.entry) <= LONGEST:
            self._say(TeachDesk(what), _TEACHES_BELOW)

    async def wrong(self, request_id: str, project: str, key_id: str = "") -> bool:
        """The answer that a cache gave to this request is wrong, says that key: when this returns true, it is not
        served again. False: none was given, or long ago. Raises ``PenstockError``."""
        try:
            told = await self._asker.ask(Disown(request_id, project, key_id), _GONE_WITHIN_S)
        except TimeoutError:
            raise _silent() from None
        return msgspec.msgpack.decode(told.answer, type=bool)

    def _say(self, message: LearnDesk | TeachDesk, below: int) -> None:
        if self._waiting() < below:
            self._send(message)
        else:
            self._meter.record(Sample(SEMANTIC_UNSAID, 1.0))


def _silent() -> PenstockError:
    return PenstockError(
        OUT_OF_RESOURCES,
        "The supervisor process did not say what the semantic cache knows. Try again; when this stays, look for what "
        "keeps its machine busy.",
        retry_after=1.0,
    )
