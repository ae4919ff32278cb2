"""Breaker: whether a replica that fails is left alone. Pure: time is an argument.

Closed, it lets everything through and counts. Open, it lets nothing through until a time. Then it is half open: one
attempt at a time is let through as a probe, and its outcome closes the breaker or opens it for twice as long.
"""

from __future__ import annotations

import enum

from penstock.core.policy import Breaker

_WINDOW_S = 10


class State(enum.Enum):
    """``RESTING`` is what a replica asked for itself, by a 429: no failure, and no probe is needed after it."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    RESTING = "resting"


class Circuit:
    """The breaker of one replica, for attempts in the order they happen. All methods are O(1)."""

    __slots__ = ("_failed", "_made", "_open_s", "_probing", "_returned", "_row", "_second", "_until", "rests_until")

    def __init__(self) -> None:
        self._row = 0
        self._second = 0
        self._made = [0] * _WINDOW_S
        self._failed = [0] * _WINDOW_S
        self._until: float | None = None
        self._open_s = 0.0
        self._probing = False
        self._returned: float | None = None
        self.rests_until = 0.0
        """When the replica may be asked again, by its own word."""

    def state(self, now: float) -> State:
        if self._until is not None:
            return State.OPEN if now < self._until else State.HALF_OPEN
        return State.RESTING if now < self.rests_until else State.CLOSED

    def lets(self, now: float) -> bool:
        """Whether an attempt may be made now."""
        if self._until is None:
            return now >= self.rests_until
        return now >= self._until and not self._probing

    def opens_in(self, now: float) -> float:
        """Seconds until ``lets`` may be true again; 0 when it is."""
        return max(0.0, (self._until or 0.0) - now, self.rests_until - now)

    def begin(self, now: float) -> bool | None:
        """Takes the way of one attempt: whether it is a probe; None when there is no way. Every other answer is
        followed by exactly one of ``succeeded``, ``failed`` and ``neither``."""
        if not self.lets(now):
            return None
        probe = self._until is not None
        self._probing = probe
        return probe

    def succeeded(self, now: float, probe: bool) -> None:
        """Closes it when it was the probe's; a replica that comes back begins its gradual return. What began before
        it opened says nothing about now."""
        if probe:
            self._until, self._open_s, self._probing, self._returned = None, 0.0, False, now
            self._made, self._failed = [0] * _WINDOW_S, [0] * _WINDOW_S
        self._row = 0
        self._count(now, 0)

    def failed(self, now: float, policy: Breaker, probe: bool) -> None:
        """Counts a failure; opens it when that is one too many, or when it was the probe's."""
        self._row += 1
        self._count(now, 1)
        if probe:
            self._probing = False
            self._open(now, policy)
        elif self._until is None and (self._row >= policy.failures or self._too_many(policy)):
            self._open(now, policy)

    def neither(self, probe: bool) -> None:
        """The attempt says nothing about the replica: its client left, or was at fault itself."""
        if probe:
            self._probing = False

    def rest(self, now: float, for_s: float) -> None:
        """The replica asked not to be asked for a while."""
        self.rests_until = max(self.rests_until, now + for_s)

    def eject(self, now: float, policy: Breaker) -> None:
        """Opens it for a reason of the caller's: it is far slower than its peers."""
        if self._until is None:
            self._open(now, policy)

    def share(self, now: float, return_s: float) -> float:
        """The part of its usual load that the replica should get, above 0 up to 1."""
        if self._returned is None:
            return 1.0
        since = now - self._returned
        if since >= return_s:
            self._returned = None
            return 1.0
        return max(0.05, since / return_s)

    def _open(self, now: float, policy: Breaker) -> None:
        self._open_s = min(policy.max_open_s, self._open_s * 2 or policy.open_s)
        self._until = now + self._open_s

    def _too_many(self, policy: Breaker) -> bool:
        made = sum(self._made)
        return made >= policy.least and sum(self._failed) >= policy.error_share * made

    def _count(self, now: float, failures: int) -> None:
        second = int(now)
        if second != self._second:
            for passed in range(max(self._second + 1, second - _WINDOW_S + 1), second + 1):
                self._made[passed % _WINDOW_S] = self._failed[passed % _WINDOW_S] = 0
            self._second = second
        place = second % _WINDOW_S
        self._made[place] += 1
        self._failed[place] += failures
