"""How much of one counter is reserved.

A sliding window is cut into 600 buckets (100 ms of a minute). What was reserved in a bucket counts until the whole of
the bucket is older than the window, so that no window, at whatever offset, ever holds more than its limit.
"""

from __future__ import annotations

import math
from collections import deque

from penstock.core.leases import Hold

BUCKETS = 600
"""In one sliding window."""
GONE = -1
"""In place of a cell's bucket: it has left its window."""


class Tally:
    """``used`` is what counts now; ``rate`` the buckets in a second, 0 unless it is SLIDING; ``cells`` are
    ``[bucket, amount]`` by ascending bucket. ``turn`` is the reserve that touched it last."""

    __slots__ = ("cells", "held", "hold", "name", "rate", "turn", "until", "used", "window_s")

    def __init__(self, name: str, hold: Hold, window_s: float, until: float) -> None:
        self.name = name
        self.hold = hold
        self.held = hold is Hold.HELD
        self.window_s = window_s
        self.until = until
        self.rate = BUCKETS / window_s if hold is Hold.SLIDING else 0.0
        self.used = 0
        self.cells: deque[list[int]] = deque()
        self.turn = 0

    def expire(self, oldest: int) -> None:
        """Lets go of cells before the bucket ``oldest``."""
        cells = self.cells
        while cells and cells[0][0] < oldest:
            cell = cells.popleft()
            self.used -= cell[1]
            cell[0] = GONE

    def place(self, bucket: int, newest: int, amount: int) -> list[int]:
        """Counts an amount in a bucket that may lie before others; its cell."""
        if bucket < newest - BUCKETS:
            return [GONE, amount]
        cells = self.cells
        at = len(cells)
        while at and cells[at - 1][0] > bucket:
            at -= 1
        if at and cells[at - 1][0] == bucket:
            cell = cells[at - 1]
            cell[1] += amount
        else:
            cell = [bucket, amount]
            cells.insert(at, cell)
        self.used += amount
        return cell

    def leaves(self, bucket: int) -> float:
        """The first moment at which the bucket does not count any more."""
        edge = bucket + BUCKETS + 1
        moment = edge / self.rate
        return moment if int(moment * self.rate) >= edge else math.nextafter(moment, math.inf)

    def reset_s(self, now: float) -> float:
        """In how many seconds nothing counts any more."""
        if self.rate and self.used:
            for cell in reversed(self.cells):
                if cell[1]:
                    return self.leaves(cell[0]) - now
        return 0.0

    def room_s(self, amount: int, limit: int, now: float) -> float:
        """In how many seconds a sliding counter has room for ``amount``, which is at most ``limit``."""
        over = self.used + amount - limit
        for cell in self.cells:
            over -= cell[1]
            if over <= 0:
                return self.leaves(cell[0]) - now
        return 0.0
