"""Retry: what follows a failed attempt. A pure decision, and the budget it looks at."""

from __future__ import annotations

import msgspec

from penstock.core.errors import UPSTREAM_MODEL_UNKNOWN, UPSTREAM_RATE_LIMITED, UPSTREAM_REFUSED_KEY, Fault
from penstock.core.policy import Retry

_WINDOW_S = 10
REST_S = 1.0
"""How long a replica rests that says 429 without saying for how long."""
# A timer may ring a little early, and the replica that is asked again would still be resting.
_LATER_S = 0.01
# What the deployment file gets wrong about a replica is still wrong a moment later.
_LASTING = (UPSTREAM_REFUSED_KEY, UPSTREAM_MODEL_UNKNOWN)
_ALWAYS = 10
"""Retries that any service may make in a window, however few requests it has."""


class Again(msgspec.Struct, frozen=True):
    """Another attempt at this model: after so many seconds, at the ``same`` replica or at another."""

    after_s: float
    same: bool


class NextModel(msgspec.Struct, frozen=True):
    """No more of this model; its fallback, at once."""


class GiveUp(msgspec.Struct, frozen=True):
    """No attempt can cure this."""


Decision = Again | NextModel | GiveUp


class RetryBudget:
    """Retries as a share of recent requests: a sliding window of ten seconds in one-second buckets."""

    __slots__ = ("_requests", "_retries", "_second")

    def __init__(self) -> None:
        self._second = 0
        self._requests = [0] * _WINDOW_S
        self._retries = [0] * _WINDOW_S

    def request(self, now: float) -> None:
        """A request has begun its first attempt."""
        self._slide(int(now))
        self._requests[self._second % _WINDOW_S] += 1

    def spend(self, now: float, share: float) -> bool:
        """Whether one more retry is within ``share`` of the requests; it is counted then."""
        self._slide(int(now))
        if sum(self._retries) >= _ALWAYS + share * sum(self._requests):
            return False
        self._retries[self._second % _WINDOW_S] += 1
        return True

    def _slide(self, second: int) -> None:
        if second == self._second:
            return
        for passed in range(max(self._second + 1, second - _WINDOW_S + 1), second + 1):
            self._requests[passed % _WINDOW_S] = self._retries[passed % _WINDOW_S] = 0
        self._second = second


def after_failure(
    retry: Retry,
    *,
    number: int,
    fault: Fault,
    retry_after: float | None,
    others: bool,
    fallback: bool,
    left_s: float,
    draw: float,
) -> Decision:
    """What follows attempt ``number`` (from 1, at this model) that failed by ``fault``.

    ``others``: another replica of the model has not been tried yet. ``fallback``: another model follows. ``left_s``
    is what remains of the request's time, ``draw`` a random number in [0, 1).
    """
    if not fault.retry:
        return GiveUp()
    if number >= retry.attempts:
        return NextModel()
    if others:
        return Again(0.0, same=False)
    throttled = fault is UPSTREAM_RATE_LIMITED
    if fault in _LASTING or (throttled and retry_after is None and fallback):
        return NextModel()
    asked = REST_S if throttled and retry_after is None else retry_after
    if asked is None:
        longest = min(retry.max_backoff_s, retry.backoff_s * 2.0 ** (number - 1))
        wait = longest * (0.5 + draw / 2)
    elif asked > retry.max_backoff_s:
        return NextModel()
    else:
        # Never sooner than asked, and not everybody at once.
        wait = asked + max(_LATER_S, retry.backoff_s * draw)
    return Again(wait, same=True) if wait < left_s else NextModel()
