"""Dialects: one file per client API. Each reads request bytes to a ``Call`` and writes chunks to its own wire."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from penstock.core.chat import Call
from penstock.core.errors import PenstockError


class Wire(Protocol):
    """How one reply is written. Made for one request, used by one task; holds what the dialect must remember.

    The three of a stream give whole server-sent events; after ``end`` or ``failure`` nothing is asked of it.
    """

    def whole(self, answer: bytes) -> bytes:
        """The body of a reply that is not streamed. Raises ``PenstockError`` when the answer cannot be read."""

    def chunks(self, chunks: Sequence[bytes]) -> bytes:
        """Events for chunks that have arrived; may be empty. Raises ``PenstockError`` as ``whole`` does."""

    def end(self) -> bytes:
        """The events that close a complete stream."""

    def failure(self, error: PenstockError) -> bytes:
        """The events that tell of a failure in mid-stream."""


class Asked(msgspec.Struct, frozen=True):
    """What a dialect has read: the call for the gateway, and the wire for its reply."""

    call: Call
    wire: Wire


Read = Callable[[str, bytes], Asked]
"""Request id and body to what is asked. Raises ``PenstockError`` that names the field at fault."""
