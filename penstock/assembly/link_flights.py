"""What is said over the link of equal requests that several workers have at the same time."""

from __future__ import annotations

from typing import Literal

import msgspec


class JoinFlight(msgspec.Struct, frozen=True, tag="join_flight"):
    """A question: does this worker lead, of all that have a request of this key? Answered at once. Where it does not,
    the answer to ``number``, a question that is not asked, is a ``Joined``, when there is something to say. Until
    ``EndFlight`` of this number the worker leads, or waits."""

    number: int
    key: bytes
    within_s: float


class Joined(msgspec.Struct, frozen=True):
    """What ``penstock.caches.flight`` calls a seat."""

    leads: bool
    value: bytes | None = None

    def __repr__(self) -> str:
        return f"Joined(leads={self.leads}, {len(self.value or b'')} bytes)"


class EndFlight(msgspec.Struct, frozen=True, tag="end_flight"):
    """Who leads by this number has landed the value, or does what ``how`` says; who waits by it waits no more."""

    number: int
    how: Literal["land", "leave", "fail", "disband"]
    value: bytes = b""

    def __repr__(self) -> str:
        return f"EndFlight({self.number}, {self.how}, {len(self.value)} bytes)"
