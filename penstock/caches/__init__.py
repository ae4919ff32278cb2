"""Answers and embeddings that were paid for once: which requests are equal, what is kept of them, where, how long.

``canonical`` says which requests are one, ``recorded`` what is kept of an answer and how it is given again,
``flight`` makes equal requests at the same time cost one, ``answers`` is the desk of exact entries, ``embeddings``
that of vectors. Both lie on a ``chain`` of tiers: memory, Redis, S3. A cache never fails a request: whatever goes
wrong with it is a miss.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import msgspec

Items = Sequence[tuple[bytes, bytes]]
"""Keys, each with its value."""


class Kept(msgspec.Struct, frozen=True):
    """What is put: ``value`` under ``key``, for ``for_s`` seconds (above 0)."""

    key: bytes
    value: bytes
    for_s: float


class TierFailed(Exception):
    """A tier could not do it. The text says why, without secrets."""


class Tier(Protocol):
    """A place of bytes under keys, which may forget anything at any time.

    Keys are 1 to 64 bytes, values any. It serves one event loop; any number of calls may run at once, and of two that
    put under one key either may win. All calls raise ``TierFailed`` and nothing else, and may wait for ever:
    deadlines, and what a failure means, are the caller's. A call that is cancelled may have been carried out.
    """

    name: str
    """What it is called in metrics: ``memory``, ``redis``, ``s3``."""

    async def get(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        """The values of ``keys``, in order; None where it has none. A value may come back after its time: the caller
        knows from the value itself."""

    async def put(self, items: Sequence[Kept]) -> None:
        """Keeps what is given instead of what it had. Some of it may have been put when it raises."""

    async def delete(self, keys: Sequence[bytes]) -> None:
        """Forgets ``keys``; those that it has not are nothing."""

    def walk(self) -> AsyncIterator[Items]:
        """All that it holds, in batches, in any order; what comes and goes meanwhile may be left out or be there
        twice. Looking at it so does not make it hotter."""

    async def aclose(self) -> None:
        """Lets go of its connections. Idempotent."""
