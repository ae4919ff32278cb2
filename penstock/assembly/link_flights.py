"""What is said over the link of equal requests that several workers have at the same time."""

from __future__ import annotations

from typing import Literal

import msgspec


class JoinFlight(msgspec.Struct, frozen=True, tag="join_flight"):
    """A question: does another worker make the answer of this key? Waits for it, ``within_s`` seconds at most.
    Answered by ``Joined``; a worker that leads then says ``EndFlight``."""

    key: bytes
    within_s: float


class Joined(msgspec.Struct, frozen=True):
    """What ``penstock.caches.flight`` calls a seat."""

    leads: bool
    value: bytes | None = None

    def __repr__(self) -> str:
        return f"Joined(leads={self.leads}, {len(self.value or b'')} bytes)"


class EndFlight(msgspec.Struct, frozen=True, tag="end_flight"):
    """The one who was told to lead by the answer to the question ``id`` has landed this, has left, or has
    disbanded."""

    id: int
    how: Literal["land", "leave", "disband"]
    value: bytes = b""

    def __repr__(self) -> str:
        return f"EndFlight({self.id}, {self.how}, {len(self.value)} bytes)"
