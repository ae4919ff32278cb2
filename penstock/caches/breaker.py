"""When a tier that fails is left alone, and when it is tried again. Pure: the time is an argument."""

from __future__ import annotations

FAILURES = 3
"""So many in a row, and it rests."""
REST_S = 0.5
"""How long at first; twice as long after each trial that fails."""
MOST_REST_S = 15.0


class Breaker:
    """One tier's state. Ask ``may`` before a call, and tell ``good``, ``bad`` or ``unknown`` after each that it
    allowed. Times are ``Clock.now`` seconds."""

    __slots__ = ("_failures", "_rest_s", "_rests_until", "_trying")

    def __init__(self) -> None:
        self._failures = 0
        self._rest_s = REST_S
        self._rests_until: float | None = None
        self._trying = False

    @property
    def resting(self) -> bool:
        """Whether calls are refused, but for a trial now and then."""
        return self._rests_until is not None

    def may(self, now: float) -> bool:
        """Whether a call may go out: any while all is well, one at a time once it has rested."""
        if self._rests_until is None:
            return True
        if self._trying or now < self._rests_until:
            return False
        self._trying = True
        return True

    def good(self) -> bool:
        """It answered. Tells whether that ended a rest."""
        ended = self.resting
        self._failures, self._rest_s, self._rests_until, self._trying = 0, REST_S, None, False
        return ended

    def bad(self, now: float) -> bool:
        """It failed. Tells whether a rest begins, that is not the longer one after a failed trial."""
        if self._rests_until is not None:
            # Calls that went out before it rested say nothing new.
            if self._trying:
                self._trying = False
                self._rest_s = min(self._rest_s * 2, MOST_REST_S)
                self._rests_until = now + self._rest_s
            return False
        self._failures += 1
        if self._failures < FAILURES:
            return False
        self._rests_until = now + self._rest_s
        return True

    def unknown(self) -> None:
        """The call was given up before it said anything."""
        self._trying = False
