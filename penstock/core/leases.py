"""What a request holds of limits and budgets, and how the counters are asked for it."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec


class Hold(enum.Enum):
    """How long what was reserved counts."""

    SLIDING = "sliding"
    """For ``window_s`` seconds after it was reserved; settling corrects how much it was."""
    HELD = "held"
    """Until it is settled."""
    KEPT = "kept"
    """To the end of the counter's life, ``until``; settling corrects how much it was."""

    __hash__ = object.__hash__


class Need(msgspec.Struct, frozen=True):
    """``amount`` (at least 0) of what ``counter`` has; never more than ``limit`` of it at once.

    A counter is named by the limit or budget, its subject and period, such as ``lim_4:project:red`` or
    ``bud_2:project:red:1761955200``; each has one ``hold`` and one ``window_s`` for life. ``until`` is when a KEPT
    counter may be forgotten, in seconds since the epoch.
    """

    counter: str
    hold: Hold
    limit: int
    amount: int
    window_s: float = 0.0
    until: float = 0.0


class Level(msgspec.Struct, frozen=True):
    """How a counter stands after a reserve: ``remaining`` of its limit, and in how many seconds all of it is back
    (0: it is; for HELD and KEPT always 0)."""

    remaining: int
    reset_s: float


class Granted(msgspec.Struct, frozen=True, tag="granted"):
    """All of it is reserved. ``levels`` are those of the needs, in their order; ``at`` is when it was, by the
    counters' clock, in seconds since the epoch."""

    levels: tuple[Level, ...]
    at: float = 0.0


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """Nothing was reserved. ``tightest`` is the index of the need that must wait longest; ``retry_after`` the seconds
    until it would fit if nobody else came: None when nobody can know (HELD, KEPT), ``inf`` when it never fits because
    it is more than the limit itself. ``levels`` without this request."""

    tightest: int
    retry_after: float | None
    levels: tuple[Level, ...]


class Counters(Protocol):
    """The port. Exact under any concurrency: a reserve is all or nothing, and at every moment what is reserved of a
    counter (for SLIDING: in any window, to a sixhundredth of it on the safe side) is at most the limit it was asked
    with. ``tests/contracts/counters.py`` is its law, and every adapter runs it.

    A lease is named by whoever asks; ``owner`` is the worker that holds it, a name never used twice. Every call
    raises ``PenstockError(COUNTERS_UNAVAILABLE)`` when the counters cannot be reached within their deadline; whether
    it was carried out is then unknown, and doing it again is safe.
    """

    async def reserve(self, owner: str, lease: str, needs: Sequence[Need]) -> Granted | Refused:
        """Opens the lease, or adds to one that is open: more of a counter it holds already adds to that. A reserve
        of the same lease is not to be made twice at a time."""

    async def settle(self, owner: str, lease: str, used: Mapping[str, int]) -> None:
        """Closes it: of each counter named, ``used`` (may be more than was reserved) takes the place of what was
        reserved; a counter not named keeps all of it; HELD is given back whatever is said. A lease that is not open
        is left alone, so settling twice changes nothing."""

    async def end(self, owner: str) -> int:
        """The owner is gone: its open leases are settled as if nothing had been used. How many there were."""

    async def begin(self, counters: Mapping[str, tuple[int, float]]) -> None:
        """What was spent before a counter began: for KEPT counters an amount and ``until``. One that is there already
        is left alone."""

    async def aclose(self) -> None:
        """Lets go of what is open. Idempotent."""
