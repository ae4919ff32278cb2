"""Reply: what the edge pumps to the client. That of an upstream owns the place, the upstream and the trail, and
closes each exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from penstock.core.chat import Sink
from penstock.core.errors import UPSTREAM_TIMEOUT, PenstockError
from penstock.core.trail import Ending, Trail
from penstock.gateway.alarm import Alarm
from penstock.gateway.dispatch import Won, watched
from penstock.gateway.lease import Lease
from penstock.gateway.place import Place
from penstock.gateway.settle import Settle, Summary

T = TypeVar("T")


class Hearing(Protocol):
    """Takes down what a client is told."""

    def take(self, chunks: Sequence[bytes]) -> None:
        """These go to the client. Never raises."""

    def through(self, sink: Sink) -> Sink:
        """``sink``, with what it is given taken down."""


class Reply(Protocol):
    """One answer on its way. Read by one task; ``aclose`` may come from any, at any moment.

    ``headers`` say what happened before the first chunk, for the HTTP response; ``summary`` is there once closed,
    when the journal has it.
    """

    headers: Mapping[str, str]
    summary: Summary | None

    async def read(self) -> Sequence[bytes]:
        """The chunks that may go to the client, at least one; an empty sequence once the answer is complete.

        Each is one JSON text in OpenAI's shape for the call's kind. Raises ``PenstockError`` when the answer breaks,
        or one of the service's deadlines runs out.
        """

    async def pour(self, sink: Sink) -> None:
        """Hands chunks to ``sink`` as they arrive, without a task that wakes for each, as far as it can do that.
        Returns when ``sink`` has given back False, and when ``read`` has something to tell. Raises as ``read`` does,
        and what ``sink`` raises.
        """

    async def aclose(self) -> None:
        """Stops what is under way unless the answer was complete, and settles. Idempotent."""


class UpstreamReply:
    """The ``Reply`` of the attempt that has won. ``between_s`` bounds each silence; ``whole`` says that the first
    chunk is all there is. What goes to the client is taken down by each of ``hearing``.
    """

    __slots__ = (
        "_alarm",
        "_between_s",
        "_closing",
        "_ending",
        "_error",
        "_first",
        "_hearing",
        "_lease",
        "_place",
        "_settle",
        "_trail",
        "_upstream",
        "_watch",
        "_whole",
        "_won",
        "headers",
        "summary",
    )

    def __init__(
        self,
        won: Won,
        *,
        whole: bool,
        alarm: Alarm,
        between_s: float | None,
        place: Place | None,
        lease: Lease,
        trail: Trail,
        settle: Settle,
        headers: Mapping[str, str],
        hearing: tuple[Hearing, ...] = (),
    ) -> None:
        self._won = won
        self._whole = whole
        self._upstream = won.upstream
        self._first: Sequence[bytes] = won.first
        self._watch = won.watch
        self._alarm = alarm
        self._between_s = between_s
        self._place = place
        self._lease = lease
        self._trail = trail
        self._settle = settle
        self._hearing = hearing
        self._ending = Ending.CLIENT_GONE
        self._error: PenstockError | None = None
        self._closing: asyncio.Future[None] | None = None
        self.summary: Summary | None = None
        self.headers = headers

    async def read(self) -> Sequence[bytes]:
        """As a ``Reply``."""
        if self._first:
            first, self._first = self._first, ()
            if self._whole:
                self._ending = Ending.COMPLETE
            return self._heard(first)
        if self._ending is Ending.COMPLETE:
            return ()
        if released := await self._timed(self._released):
            return self._heard(released)
        self._ending = Ending.COMPLETE
        return ()

    async def pour(self, sink: Sink) -> None:
        """As a ``Reply``, as far as the upstream can do that."""
        pour: Callable[[Sink], Awaitable[None]] | None = getattr(self._upstream, "pour", None)
        if pour is None or self._first or self._ending is Ending.COMPLETE:
            return
        alarm, watch, between_s = self._alarm, self._watch, self._between_s
        for transcript in self._hearing:
            sink = transcript.through(sink)

        def passed(chunks: Sequence[bytes]) -> bool:
            released = watched(chunks, watch)
            alarm.again(between_s)
            return not released or sink(released)

        await self._timed(lambda: pour(passed))

    def _heard(self, chunks: Sequence[bytes]) -> Sequence[bytes]:
        for transcript in self._hearing:
            transcript.take(chunks)
        return chunks

    async def _released(self) -> Sequence[bytes]:
        while chunks := await self._upstream.read():
            if released := watched(chunks, self._watch):
                return released
        return ()

    async def _timed(self, wait: Callable[[], Awaitable[T]]) -> T:
        """Waits while the service's deadlines allow it; notes how the answer broke."""
        try:
            with self._alarm.begin(self._between_s, self._silent):
                return await wait()
        except PenstockError as error:
            self._broke(error)
            raise

    async def aclose(self) -> None:
        """Closes the upstream, which cancels its work unless the answer was complete, and settles. Idempotent."""
        if self._closing is not None:
            await asyncio.shield(self._closing)
        elif self._ending is Ending.COMPLETE and self.summary is None:
            # Nothing is left upstream that would have to be stopped whatever happens here.
            await self._close()
        elif self.summary is None:
            self._closing = asyncio.ensure_future(self._close())
            await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self._alarm.close()
        try:
            await self._upstream.aclose()
        finally:
            if self._ending is not Ending.COMPLETE:
                self._won.tried.broke_off(self._upstream)
            self._won.attempt.running.closed()
            if self._place is not None:
                self._place.release()
            if self.summary is None:
                self.summary = self._settle(self._trail, self._ending, self._error, self._lease, self._won.tried)

    def _broke(self, error: PenstockError) -> None:
        self._ending, self._error = Ending.FAILED, error
        self._won.attempt.running.failed(error.fault, error.retry_after)

    def _silent(self) -> PenstockError:
        return PenstockError(
            UPSTREAM_TIMEOUT,
            f"The model '{self._won.attempt.model}' was silent for {self._between_s:g} seconds in the middle of its "
            "answer. Raise `deadlines: between_tokens_s` of the service if that is too short for it.",
        )
