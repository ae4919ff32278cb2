"""CachedReply: an answer that was there already, as the edge pumps it to the client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from penstock.core.chat import Sink
from penstock.core.trail import Ending, Trail
from penstock.gateway.lease import Lease
from penstock.gateway.reply import Hearing
from penstock.gateway.settle import Settle, Summary


class CachedReply:
    """A ``Reply`` of ``chunks``, which are all that the client is told, at least one. Nothing is held for it but the
    lease."""

    __slots__ = ("_chunks", "_ending", "_hearing", "_lease", "_settle", "_trail", "headers", "summary")

    def __init__(
        self,
        chunks: Sequence[bytes],
        *,
        lease: Lease,
        trail: Trail,
        settle: Settle,
        headers: Mapping[str, str],
        hearing: tuple[Hearing, ...] = (),
    ) -> None:
        self._chunks = chunks
        self._lease = lease
        self._trail = trail
        self._settle = settle
        self._hearing = hearing
        self._ending = Ending.CLIENT_GONE
        self.summary: Summary | None = None
        self.headers = headers

    async def read(self) -> Sequence[bytes]:
        """All of them, then nothing. Never waits."""
        chunks, self._chunks = self._chunks, ()
        for transcript in self._hearing:
            transcript.take(chunks)
        self._ending = Ending.COMPLETE
        return chunks

    async def pour(self, sink: Sink) -> None:
        """There is nothing that could arrive later."""

    async def aclose(self) -> None:
        """Settles. Idempotent."""
        if self.summary is None:
            self.summary = self._settle(self._trail, self._ending, None, self._lease, None)
