"""Time as an argument: decisions take it, the simulator and the tests supply it."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Two times: ``now`` for differences, ``wall`` for people."""

    def now(self) -> float:
        """Seconds on a clock that never goes back; only differences mean anything."""

    def wall(self) -> float:
        """Seconds since 1970-01-01 UTC; may jump."""


class SystemClock:
    """The machine's clocks."""

    __slots__ = ()

    now = staticmethod(time.monotonic)
    wall = staticmethod(time.time)
