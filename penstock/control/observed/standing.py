"""What only the running gateway knows, as the operations are told of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec


class ServiceStanding(msgspec.Struct, frozen=True, kw_only=True):
    """A service as this gateway has it now. ``state`` is a word for people: ``ready``, ``starting``, ``down``,
    ``failed``; ``reason`` says why it is not ready, in one line. ``releases`` are shares, in [0, 1], by release."""

    service: str
    ready: bool
    state: str
    reason: str = ""
    releases: Mapping[str, float] = {}


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """This gateway now. ``in_flight`` are requests that are worked on, ``queued`` those that wait for a place; None:
    nobody knows. ``gateway`` is its name. ``stale_since``: the store has taken nothing of what is seen since then,
    None: it does."""

    gateway: str = ""
    services: Sequence[ServiceStanding] = ()
    in_flight: int | None = None
    queued: int | None = None
    stale_since: float | None = None


class Flush(Protocol):
    """Waits until what this gateway has seen is in the store."""

    def __call__(self, within_s: float) -> None:
        """Blocks; called in a thread. Raises ``TimeoutError`` when it takes longer than ``within_s``."""


def at_once(within_s: float) -> None:
    """``Flush`` of a gateway where nothing is ever on its way."""
