"""The counters of limits and budgets as plain values in one process: no I/O, time is an argument."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from penstock.access.counters_tally import BUCKETS, GONE, Tally
from penstock.core.leases import Granted, Hold, Level, Need, Refused
from penstock.core.usage import Held, Opened, Opening, Settled

GRACE_S = 3600.0
"""For how long after its ``until`` a KEPT counter is remembered: a request of the last moment of a period may still
reserve of it, and must not find it empty."""
_SWEPT = 16
"""So many counters are looked at in one reserve, at most, to drop those that are empty."""


_Part = tuple[Tally, int, list[int] | None, float]
"""What a lease holds of a counter: how much, in which cell of a sliding one, since when."""


class _Lease:
    """``doubled``: it holds some counter more than once."""

    __slots__ = ("doubled", "parts")

    def __init__(self, parts: list[_Part], doubled: bool) -> None:
        self.parts = parts
        self.doubled = doubled


class _CounterState(msgspec.Struct, frozen=True, array_like=True):
    """``live``: not only remembered by a lease. ``cells``: bucket, amount, bucket, amount ..."""

    name: str
    hold: Hold
    window_s: float
    until: float
    used: int
    live: bool
    cells: list[int]


class _LeaseState(msgspec.Struct, frozen=True, array_like=True):
    """``parts``: which counter, how much, which bucket (-1: none), since when."""

    owner: str
    lease: str
    parts: list[tuple[int, int, int, float]]


class _State(msgspec.Struct, frozen=True, array_like=True):
    now: float
    counters: list[_CounterState]
    leases: list[_LeaseState]


class Book:
    """What is reserved of every counter, and by which leases. Not for several threads.

    ``now`` is in seconds since the epoch; where it goes back, the latest one seen holds. Every call is O(1) for each
    need, amortised; a refusal walks the window's buckets once. Empty counters are dropped while others are reserved.
    """

    __slots__ = ("_counters", "_due", "_now", "_owners", "_turn")

    def __init__(self) -> None:
        self._counters: dict[str, Tally] = {}
        self._owners: dict[str, dict[str, _Lease]] = {}
        self._due: list[tuple[float, int, Tally]] = []
        self._now = 0.0
        self._turn = 0

    def reserve(self, owner: str, lease: str, needs: Sequence[Need], now: float) -> Granted | Refused:
        """As ``Counters.reserve``.

        A need of nothing always fits. The tightest of those that do not fit is one that never will, else a KEPT one
        (a budget's period is longer than any wait), else the SLIDING one with the longest wait, else a HELD one; the
        first of equals.
        """
        if now > self._now:
            self._now = now
        else:
            now = self._now
        if self._due and self._due[0][0] <= now:
            self._sweep(now)
        self._turn = turn = self._turn + 1
        counters = self._counters
        parts: list[_Part] = []
        levels: list[Level] = []
        fresh: list[Tally] = []
        doubled = False
        for need in needs:
            name = need.counter
            counter = counters.get(name)
            if counter is None:
                counters[name] = counter = Tally(name, need.hold, need.window_s, need.until)
                fresh.append(counter)
            amount = need.amount
            if rate := counter.rate:
                cells = counter.cells
                bucket = int(now * rate)
                if cells and cells[0][0] < bucket - BUCKETS:
                    counter.expire(bucket - BUCKETS)
                used = counter.used + amount
                if used > need.limit and amount:
                    return self._refuse(needs, parts, fresh, now)
                if cells and cells[-1][0] == bucket:
                    cell = cells[-1]
                    cell[1] += amount
                else:
                    cell = [bucket, amount]
                    cells.append(cell)
                counter.used = used
                parts.append((counter, amount, cell, now))
                reset_s = (bucket + BUCKETS + 1) / rate - now if amount else counter.reset_s(now)
            else:
                used = counter.used + amount
                if used > need.limit and amount:
                    return self._refuse(needs, parts, fresh, now)
                counter.used = used
                parts.append((counter, amount, None, now))
                reset_s = 0.0
            if counter.turn == turn:
                doubled = True
            counter.turn = turn
            remaining = need.limit - used
            levels.append(Level(remaining if remaining > 0 else 0, reset_s))
        for counter in fresh:
            self._enrol(counter)
        self._hold(owner, lease, parts, doubled)
        return Granted(tuple(levels), now)

    def settle(self, owner: str, lease: str, used: Mapping[str, int]) -> None:
        """As ``Counters.settle``. Of a counter that was reserved several times, what was reserved first is given back
        first, and what was used beyond all of it counts from the last time."""
        leases = self._owners.get(owner)
        held = leases.pop(lease, None) if leases else None
        if held is None:
            return
        if held.doubled:
            _spread(held.parts, used)
            used = {}
        for counter, amount, cell, _ in held.parts:
            if counter.held:
                self._give_back(counter, amount)
                continue
            said = used.get(counter.name, amount)
            if said == amount:
                continue
            if cell is None:
                counter.used += said - amount
            elif cell[0] != GONE:
                cell[1] += said - amount
                counter.used += said - amount

    def end(self, owner: str) -> int:
        """As ``Counters.end``."""
        leases = self._owners.get(owner, {})
        ended = len(leases)
        for lease, held in tuple(leases.items()):
            self.settle(owner, lease, {part[0].name: 0 for part in held.parts})
        self._owners.pop(owner, None)
        return ended

    def begin(self, counters: Mapping[str, tuple[int, float]]) -> None:
        """As ``Counters.begin``."""
        for name, (amount, until) in counters.items():
            if name not in self._counters:
                self._counter(name, Hold.KEPT, 0.0, until).used = amount

    def count(self, past: Iterable[Held]) -> None:
        """What was used before the counters began and no lease holds any more: of SLIDING counters, say, what the
        ledger has of the last minute. Limits are not asked."""
        for held in past:
            self._count(held)

    def open(self) -> Iterator[tuple[str, str, tuple[Held, ...]]]:
        """The open leases: owner, lease, and what each holds. Not to be changed meanwhile."""
        for owner, leases in self._owners.items():
            for lease, held in leases.items():
                yield (
                    owner,
                    lease,
                    tuple(
                        Held(counter.name, counter.hold, amount, counter.window_s, counter.until, at)
                        for counter, amount, _, at in held.parts
                    ),
                )

    def follow(self, owner: str, record: Opened | Opening | Settled) -> None:
        """Does what another book did, from the owner's journal: each record once, in order. ``Opened.held`` is what
        the reserve before it added, with ``Granted.at``. A book that followed all of another's reserves and settles
        holds the same."""
        if isinstance(record, Settled):
            self.settle(owner, record.lease, record.used)
            return
        parts = [self._count(held) for held in record.held]
        names = {held.counter for held in record.held}
        self._hold(owner, record.lease, parts, len(names) < len(parts))

    def state(self) -> bytes:
        """All of it, for ``from_state`` in another process of the same version."""
        numbers: dict[int, int] = {}
        counters: list[_CounterState] = []

        def number(counter: Tally) -> int:
            found = numbers.get(id(counter))
            if found is None:
                numbers[id(counter)] = found = len(counters)
                live = self._counters.get(counter.name) is counter
                cells = [value for cell in counter.cells for value in cell]
                counters.append(
                    _CounterState(
                        counter.name, counter.hold, counter.window_s, counter.until, counter.used, live, cells
                    )
                )
            return found

        for counter in self._counters.values():
            number(counter)
        leases = [
            _LeaseState(
                owner,
                lease,
                [(number(each), amount, cell[0] if cell else GONE, at) for each, amount, cell, at in held.parts],
            )
            for owner, open_leases in self._owners.items()
            for lease, held in open_leases.items()
        ]
        return msgspec.msgpack.encode(_State(self._now, counters, leases))

    @classmethod
    def from_state(cls, state: bytes) -> Book:
        """The book whose ``state`` it is. Raises ``msgspec.DecodeError`` for anything else."""
        said = msgspec.msgpack.decode(state, type=_State)
        book = cls()
        book._now = said.now
        counters: list[Tally] = []
        cells: list[dict[int, list[int]]] = []
        for each in said.counters:
            counter = Tally(each.name, each.hold, each.window_s, each.until)
            counter.used = each.used
            counter.cells.extend([bucket, amount] for bucket, amount in zip(*[iter(each.cells)] * 2, strict=True))
            counters.append(counter)
            cells.append({cell[0]: cell for cell in counter.cells})
            if each.live:
                book._counters[each.name] = counter
                book._enrol(counter)
        for held in said.leases:
            parts: list[_Part] = []
            for number, amount, bucket, at in held.parts:
                counter = counters[number]
                cell = cells[number].get(bucket, [GONE, amount]) if counter.rate else None
                parts.append((counter, amount, cell, at))
            book._hold(held.owner, held.lease, parts, len({id(part[0]) for part in parts}) < len(parts))
        return book

    def __len__(self) -> int:
        """How many counters are remembered."""
        return len(self._counters)

    def _refuse(self, needs: Sequence[Need], parts: list[_Part], fresh: list[Tally], now: float) -> Refused:
        for counter, amount, cell, _ in parts:
            counter.used -= amount
            if cell is not None:
                cell[1] -= amount
        for counter in fresh:
            del self._counters[counter.name]
        wanted: dict[str, int] = {}
        for need in needs:
            wanted[need.counter] = wanted.get(need.counter, 0) + need.amount
        levels: list[Level] = []
        tightest, worst, retry_after = 0, (-1, 0.0), None
        for index, need in enumerate(needs):
            counter = self._counters.get(need.counter) or Tally(need.counter, need.hold, need.window_s, 0.0)
            if counter.rate:
                counter.expire(int(now * counter.rate) - BUCKETS)
            amount = wanted[need.counter]
            levels.append(Level(max(need.limit - counter.used, 0), counter.reset_s(now)))
            if not need.amount or counter.used + amount <= need.limit:
                continue
            wait: float | None = None
            if amount > need.limit:
                rank, wait = 3, math.inf
            elif counter.rate:
                rank, wait = 1, counter.room_s(amount, need.limit, now)
            else:
                rank = 0 if counter.held else 2
            if (rank, wait or 0.0) > worst:
                tightest, worst, retry_after = index, (rank, wait or 0.0), wait
        return Refused(tightest, retry_after, tuple(levels))

    def _hold(self, owner: str, lease: str, parts: list[_Part], doubled: bool) -> None:
        leases = self._owners.get(owner)
        if leases is None:
            self._owners[owner] = leases = {}
        held = leases.get(lease)
        if held is None:
            leases[lease] = _Lease(parts, doubled)
        else:
            held.parts.extend(parts)
            held.doubled = True

    def _give_back(self, counter: Tally, amount: int) -> None:
        counter.used -= amount
        if not counter.used and self._counters.get(counter.name) is counter:
            del self._counters[counter.name]

    def _count(self, held: Held) -> _Part:
        counter = self._counter(held.counter, held.hold, held.window_s, held.until)
        self._now = max(self._now, held.at)
        if not counter.rate:
            counter.used += held.amount
            return counter, held.amount, None, held.at
        cell = counter.place(int(held.at * counter.rate), int(self._now * counter.rate), held.amount)
        return counter, held.amount, cell, held.at

    def _counter(self, name: str, hold: Hold, window_s: float, until: float) -> Tally:
        counter = self._counters.get(name)
        if counter is None:
            self._counters[name] = counter = Tally(name, hold, window_s, until)
            self._enrol(counter)
        return counter

    def _enrol(self, counter: Tally) -> None:
        """Notes when it may have become empty. A HELD one is dropped with its last lease."""
        if counter.rate:
            last = counter.cells[-1][0] if counter.cells else int(self._now * counter.rate)
            due = counter.leaves(last)
        elif counter.held or counter.until == math.inf:
            return
        else:
            due = counter.until + GRACE_S
        self._turn += 1
        heapq.heappush(self._due, (due, self._turn, counter))

    def _sweep(self, now: float) -> None:
        for _ in range(_SWEPT):
            if not self._due or self._due[0][0] > now:
                return
            counter = heapq.heappop(self._due)[2]
            if counter.rate:
                counter.expire(int(now * counter.rate) - BUCKETS)
            if counter.cells:
                self._enrol(counter)
            else:
                self._counters.pop(counter.name)


def _spread(parts: list[_Part], used: Mapping[str, int]) -> None:
    """Settles what several parts of one lease hold of one counter."""
    change = dict(used)
    for counter, amount, _, _ in parts:
        if counter.name in change:
            change[counter.name] -= amount
    for counter, amount, cell, _ in parts:
        less = max(change.get(counter.name, 0), -amount)
        if less < 0:
            change[counter.name] -= less
            _correct(counter, cell, less)
    for counter, _, cell, _ in reversed(parts):
        more = change.get(counter.name, 0)
        if more > 0:
            change[counter.name] = 0
            _correct(counter, cell, more)


def _correct(counter: Tally, cell: list[int] | None, change: int) -> None:
    if counter.held:
        return
    if cell is not None:
        if cell[0] == GONE:
            return
        cell[1] += change
    counter.used += change
