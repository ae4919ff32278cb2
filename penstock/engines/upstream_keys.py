"""Which of several keys of one upstream is used next, and which rest. Pure: whoever calls says what time it is.

A key rests alone. After a 429 it rests for as long as the upstream says, else for ``FIRST_S``, doubling up to
``LONGEST_S`` while that is its answer. What else was refused for the key's sake (401, 403) is held against it only
once another key was given the same thing, for ``REFUSED_S``: some upstreams say 403 of a prompt they do not like, and
a request that no key may make must not put all of them to rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from penstock.core.errors import UPSTREAM_RATE_LIMITED, UPSTREAM_REFUSED_KEY, Fault, PenstockError

FIRST_S = 2.0
LONGEST_S = 60.0
REFUSED_S = 300.0
MOST_S = 3600.0
"""However long an upstream says to wait: its word may be wrong, and one request then finds out."""


class Rested(msgspec.Struct, frozen=True):
    """A key has begun to rest. ``number`` is its place in the deployment file, from 1."""

    number: int
    fault: Fault
    seconds: float


class UpstreamKeys:
    """The keys of one upstream. ``model`` is for messages, ``told`` hears of each rest that begins.

    Times are seconds of one clock that never goes back. Belongs to one event loop.
    """

    __slots__ = ("_keys", "_limited", "_model", "_place", "_rests", "_told")

    def __init__(self, model: str, keys: Sequence[str], told: Callable[[Rested], None]) -> None:
        self._model = model
        self._keys = tuple(keys)
        self._told = told
        self._place = 0
        self._rests: dict[str, tuple[float, Fault]] = {}
        self._limited: dict[str, int] = {}

    def turn(self) -> Turn:
        """One request's way through the keys."""
        return Turn(self)

    def rested(self, now: float) -> list[str]:
        """All keys: those that do not rest, then those that do, first the one that is back first."""
        return sorted(self._keys, key=lambda key: max(now, self._until(key)))

    def next(self, now: float, tried: Sequence[str]) -> str | None:
        """The next key that neither rests nor is among ``tried``, if there is one."""
        count = len(self._keys)
        for step in range(count):
            place = (self._place + step) % count
            key = self._keys[place]
            if key not in tried and self._until(key) <= now:
                self._place = (place + 1) % count
                return key
        return None

    def limited(self, key: str, retry_after: float | None, now: float) -> None:
        """The upstream said 429 to ``key``, and to come back after so many seconds, if it said when."""
        if retry_after is not None:
            self._rest(key, UPSTREAM_RATE_LIMITED, min(retry_after, MOST_S), now)
        elif self._until(key) <= now:
            row = self._limited.get(key, 0)
            self._limited[key] = row + 1
            self._rest(key, UPSTREAM_RATE_LIMITED, min(FIRST_S * 2 ** min(row, 10), LONGEST_S), now)

    def refused(self, key: str, now: float) -> None:
        """The upstream does not take ``key`` for what it takes another for."""
        self._rest(key, UPSTREAM_REFUSED_KEY, REFUSED_S, now)

    def served(self, key: str, now: float) -> None:
        """The upstream has taken ``key``."""
        if self._until(key) <= now:
            self._rests.pop(key, None)
            self._limited.pop(key, None)

    def resting(self, now: float) -> PenstockError | None:
        """What to say while keys rest: the fault of the one that is back first, and when; None while none rests."""
        rests = [(until, fault) for until, fault in self._rests.values() if until > now]
        if not rests:
            return None
        until, fault = min(rests, key=lambda rest: rest[0])
        who = f"The upstream of model {self._model!r}"
        if fault is UPSTREAM_RATE_LIMITED:
            text = f"{who} limits the rate of each key that could be used; try again later"
        else:
            text = f"{who} refused each key that could be used; check its api_key"
        return PenstockError(fault, text, retry_after=until - now)

    def _until(self, key: str) -> float:
        rest = self._rests.get(key)
        return rest[0] if rest is not None else 0.0

    def _rest(self, key: str, fault: Fault, seconds: float, now: float) -> None:
        before = self._until(key)
        if now + seconds > max(before, now):
            self._rests[key] = (now + seconds, fault)
            if before <= now:
                self._told(Rested(self._keys.index(key) + 1, fault, seconds))


class Turn:
    """The keys that one request has tried. ``next``, then ``failed`` or ``served``, until it is served or raised."""

    __slots__ = ("_error", "_keys", "_refused", "_tried")

    def __init__(self, keys: UpstreamKeys) -> None:
        self._keys = keys
        self._tried: list[str] = []
        self._refused: list[str] = []
        self._error: PenstockError | None = None

    def next(self, now: float) -> str:
        """The key to ask with; no key comes twice.

        Raises ``PenstockError`` when none is left: UPSTREAM_RATE_LIMITED or UPSTREAM_REFUSED_KEY, whichever made the
        one rest that is back first, with ``retry_after``; where none rests, the last that ``failed`` was told.
        """
        key = self._keys.next(now, self._tried)
        if key is None:
            error = self._keys.resting(now) or self._error
            assert error is not None
            raise error
        self._tried.append(key)
        return key

    def failed(self, error: PenstockError, now: float) -> bool:
        """The request failed with the key of ``next``; whether that was for the key's sake, and another may do."""
        self._error = error
        if error.fault is UPSTREAM_RATE_LIMITED:
            self._keys.limited(self._tried[-1], error.retry_after, now)
        elif error.fault is UPSTREAM_REFUSED_KEY:
            self._refused.append(self._tried[-1])
        else:
            return False
        return True

    def served(self, now: float) -> None:
        """The upstream took the key of ``next``."""
        for key in self._refused:
            self._keys.refused(key, now)
        self._keys.served(self._tried[-1], now)
