"""The entries of one scope: what was asked, the packed answer, and which is nearest to a question."""

from __future__ import annotations

import math
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

import msgspec

from penstock.caches.invalidations import Invalidations
from penstock.caches.semantic.nearest import Index, Layered, Vector
from penstock.caches.semantic.profile import Profile, profile
from penstock.core.caching import Entry

OVERHEAD: Final = 2048
"""Bytes that an entry costs beside its text, its answer and its vector."""
_PROFILES: Final = 2_000
_DEAD_AT_ONCE: Final = 16


def about(entry: Entry) -> Entry:
    """What of an entry decides whether it is invalidated; words that many have are there once."""
    return msgspec.structs.replace(
        entry, chunks=(), usage=None, model="", price="",
        service=sys.intern(entry.service), release=sys.intern(entry.release), project=sys.intern(entry.project),
    )  # fmt: skip


class Item(msgspec.Struct, frozen=True, gc=False):
    """``about`` is what ``about`` leaves of the entry; ``until`` when it may not be served any more, in seconds since
    the epoch. ``number`` is used once in a scope."""

    number: int
    release: str
    rest: bytes
    text: str
    packed: bytes
    about: Entry
    until: float

    @property
    def group(self) -> tuple[str, bytes]:
        """Only a question of the same release, with the same rest, may get it."""
        return self.release, self.rest


class Shelf:
    """Bounded by whoever keeps several. For one thread. ``dropped`` is called with the number of each item that
    leaves, for whatever reason."""

    def __init__(
        self, dimensions: int, graph: Callable[[int], Index], dropped: Callable[[int], None] = lambda _: None
    ) -> None:
        self.dimensions = dimensions
        self.bytes = 0
        self.erased = 0
        """How many were dropped because they were invalidated."""
        self._graph = graph
        self._dropped = dropped
        self._items: OrderedDict[int, Item] = OrderedDict()
        self._indexes: dict[tuple[str, bytes], Layered] = {}
        self._texts: dict[tuple[str, bytes, str], int] = {}
        self._profiles: OrderedDict[int, Profile] = OrderedDict()

    def __len__(self) -> int:
        return len(self._items)

    def numbers(self) -> frozenset[int]:
        """Of all that is here."""
        return frozenset(self._items)

    def keep(self, item: Item, vector: Vector) -> None:
        """In the place of what has the same text in its group."""
        if (same := self._texts.get((*item.group, item.text))) is not None:
            self.drop(same)
        self._items[item.number] = item
        self._texts[*item.group, item.text] = item.number
        index = self._indexes.get(item.group)
        if index is None:
            index = self._indexes[item.group] = Layered(self.dimensions, self._graph)
        index.add(item.number, vector)
        self.bytes += self._cost(item)

    def has_newer(self, item: Item) -> bool:
        """Whether there is an answer to the same text in its group that was made no earlier."""
        same = self._texts.get((*item.group, item.text))
        return same is not None and self._items[same].about.created_at >= item.about.created_at

    def nearest(
        self, group: tuple[str, bytes], vector: Vector, invalid: Invalidations, wall: float, since: float
    ) -> Item | None:
        """The nearest that may be served at ``wall`` and was made after ``since``; what may not is dropped on the
        way. None: there is none, or only such as were dropped by the dozen."""
        for _ in range(_DEAD_AT_ONCE):
            index = self._indexes.get(group)
            found = None if index is None else index.nearest(vector)
            if found is None:
                return None
            item = self._items[found[0]]
            if not self._dead(item, invalid, wall, since):
                self._items.move_to_end(item.number)
                return item
        return None

    def vector(self, item: Item) -> Vector:
        """That of an item that is here."""
        return self._indexes[item.group].vector(item.number)

    def profile(self, item: Item) -> Profile:
        """That of its text."""
        found = self._profiles.pop(item.number, None)
        if found is None:
            found = profile(item.text)
            if len(self._profiles) >= _PROFILES:
                self._profiles.popitem(last=False)
        self._profiles[item.number] = found
        return found

    def drop(self, number: int) -> None:
        """One that is not there is nothing."""
        item = self._items.pop(number, None)
        if item is None:
            return
        del self._texts[*item.group, item.text]
        index = self._indexes[item.group]
        index.remove(number)
        if not len(index):
            del self._indexes[item.group]
        self._profiles.pop(number, None)
        self.bytes -= self._cost(item)
        self._dropped(number)

    def drop_oldest(self) -> None:
        """The one that was kept or found nearest longest ago; there is one."""
        self.drop(next(iter(self._items)))

    def sweep(self, numbers: Iterator[int], count: int, invalid: Invalidations, wall: float) -> bool:
        """Looks at the next ``count`` of these and drops what may not be served at ``wall``. Whether there are
        more."""
        for number in islice(numbers, count):
            if (item := self._items.get(number)) is not None:
                self._dead(item, invalid, wall)
            count -= 1
        return count == 0

    def _dead(self, item: Item, invalid: Invalidations, wall: float, since: float = -math.inf) -> bool:
        """Drops it, if so."""
        if covered := invalid.covers(item.about):
            self.erased += 1
        if covered or item.until <= wall or item.about.created_at <= since:
            self.drop(item.number)
            return True
        return False

    def _cost(self, item: Item) -> int:
        return len(item.packed) + len(item.text) + 2 * self.dimensions + OVERHEAD
