"""Queue: who waits for a place in a service, who is next, and who gives way when it is full. No I/O, no clock.

Classes of priority come first; inside a class projects take turns, however much each has sent; inside a project it is
first come, first served.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict

import msgspec


class Entry(msgspec.Struct, eq=False):
    """One that waits, until ``until``. ``number`` is unique in its queue, and grows."""

    number: int
    project: str
    priority: int
    until: float
    waiting: bool = True


class Full(msgspec.Struct, frozen=True):
    """The newcomer is refused."""


class Taken(msgspec.Struct, frozen=True):
    """The newcomer waits. ``shed`` had to give way for it; ``lower`` says that it was of a lower class."""

    entry: Entry
    shed: Entry | None = None
    lower: bool = False


class WaitQueue:
    """The queue of one service. All operations are O(log n), but for those that shed, which look at every project."""

    __slots__ = ("_classes", "_numbers", "_soonest", "count")

    def __init__(self) -> None:
        # Per class, the projects in the order of their turns, each with its entries in the order they came.
        self._classes: dict[int, OrderedDict[str, OrderedDict[int, Entry]]] = {}
        self._soonest: list[tuple[float, int, Entry]] = []
        self._numbers = 0
        self.count = 0
        """How many wait."""

    def offer(self, project: str, priority: int, until: float, length: int) -> Taken | Full:
        """A newcomer to a queue that may hold ``length``.

        When it is full, the newest of the lowest class below the newcomer's gives way, of the project that has most
        waiting there. When there is none below, the project with most in the newcomer's own class gives way, if it
        has at least two more than the newcomer's: so that a full queue belongs to all. Otherwise the newcomer is
        refused.
        """
        shed: Entry | None = None
        if self.count >= length:
            shed = self._gives_way(project, priority) if length else None
            if shed is None:
                return Full()
            self.remove(shed)
        self._numbers += 1
        entry = Entry(self._numbers, project, priority, until)
        self._classes.setdefault(priority, OrderedDict()).setdefault(project, OrderedDict())[entry.number] = entry
        heapq.heappush(self._soonest, (until, entry.number, entry))
        self.count += 1
        return Taken(entry, shed, shed is not None and shed.priority > priority)

    def take(self) -> Entry | None:
        """The next one; None when nobody waits. Its project's next turn comes after everybody else's."""
        for priority in sorted(self._classes):
            projects = self._classes[priority]
            project, entries = next(iter(projects.items()))
            entry = next(iter(entries.values()))
            projects.move_to_end(project)
            self.remove(entry)
            return entry
        return None

    def remove(self, entry: Entry) -> None:
        """It waits no longer. Idempotent."""
        if not entry.waiting:
            return
        entry.waiting = False
        self.count -= 1
        projects = self._classes[entry.priority]
        entries = projects[entry.project]
        del entries[entry.number]
        if not entries:
            del projects[entry.project]
            if not projects:
                del self._classes[entry.priority]

    def expired(self, now: float) -> list[Entry]:
        """Those whose time is over, taken out."""
        over = []
        while self._soonest and (self._soonest[0][0] <= now or not self._soonest[0][2].waiting):
            entry = heapq.heappop(self._soonest)[2]
            if entry.waiting:
                self.remove(entry)
                over.append(entry)
        return over

    def soonest(self) -> float | None:
        """When the first of them is over; None when nobody waits."""
        while self._soonest and not self._soonest[0][2].waiting:
            heapq.heappop(self._soonest)
        return self._soonest[0][0] if self._soonest else None

    def _gives_way(self, project: str, priority: int) -> Entry | None:
        lowest = max(self._classes)
        if lowest > priority:
            return self._newest_of_most(lowest)
        own = self._classes.get(priority)
        if own is None:
            return None
        most = max(len(entries) for entries in own.values())
        return self._newest_of_most(priority) if most >= len(own.get(project, ())) + 2 else None

    def _newest_of_most(self, priority: int) -> Entry:
        entries = max(self._classes[priority].values(), key=len)
        return next(reversed(entries.values()))
