"""What the devices of this machine are at, as far as somebody can tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """One device. Memory in bytes; ``utilisation`` is the share of the last moments in which it computed, None: it
    does not say. ``processes`` are bytes by process id, None where the driver does not say how many."""

    name: str
    memory: int
    memory_total: int
    utilisation: float | None = None
    processes: Mapping[int, int | None] = {}


class Devices(Protocol):
    """The port: who knows the devices."""

    def read(self) -> Sequence[Device]:
        """All of them now; none where there are none, or where they cannot be asked. May block for a second, raises
        nothing."""
