"""Pace: whether a replica answers so much later than its peers that it is better left alone for a while. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

_NEWEST = 0.2
_LEAST_SAMPLES = 5
_LEAST_PEERS = 2


class Latency:
    """Seconds to the first chunk: an exponentially weighted mean in which the newest counts a fifth."""

    __slots__ = ("count", "mean")

    def __init__(self) -> None:
        self.mean = 0.0
        self.count = 0

    def add(self, seconds: float) -> None:
        self.mean = seconds if not self.count else self.mean + _NEWEST * (seconds - self.mean)
        self.count += 1


def far_slower(own: Latency, peers: Sequence[Latency], factor: float) -> bool:
    """Whether ``own`` is above ``factor`` times the median of its peers, of which at least two must be known as well
    as itself: five answers each."""
    known = [peer.mean for peer in peers if peer.count >= _LEAST_SAMPLES]
    if own.count < _LEAST_SAMPLES or len(known) < _LEAST_PEERS:
        return False
    return own.mean > factor * median(known)
