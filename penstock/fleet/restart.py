"""What to do about a replica that ended or would not start: a pure decision from what happened before."""

from __future__ import annotations

import msgspec

FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 30.0
HEALTHY_S = 60.0
ATTEMPTS = 3


class History(msgspec.Struct, frozen=True):
    """What is remembered of one replica.

    ``failures`` counts ends and refused starts since it last stayed up for a healthy minute, ``refusals`` the
    refused starts in a row of a replica that has never been up.
    """

    failures: int = 0
    refusals: int = 0
    was_up: bool = False


class Again(msgspec.Struct, frozen=True):
    """Start it again after so many seconds."""

    after_s: float


class GiveUp(msgspec.Struct, frozen=True):
    """What it was started with does not work; starting it again would not help."""


Decision = Again | GiveUp


def after_end(history: History, up_s: float) -> tuple[History, Decision]:
    """The replica had been up for ``up_s`` seconds and ended. What has worked once is always started again."""
    failures = 1 if up_s >= HEALTHY_S else history.failures + 1
    return History(failures=failures, was_up=True), Again(backoff_s(failures))


def after_refusal(history: History) -> tuple[History, Decision]:
    """A start failed. A replica that has never been up is given up after ``ATTEMPTS`` refusals in a row."""
    failures = history.failures + 1
    if history.was_up:
        return History(failures=failures, was_up=True), Again(backoff_s(failures))
    refusals = history.refusals + 1
    decision: Decision = GiveUp() if refusals >= ATTEMPTS else Again(backoff_s(failures))
    return History(failures=failures, refusals=refusals), decision


def backoff_s(failures: int) -> float:
    """Seconds to wait after so many failures: none after the first, then .5 and twice as long each time, to 30."""
    if failures <= 1:
        return 0.0
    # The exponent is bounded so that a float always holds the power.
    return min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** min(failures - 2, 32))
