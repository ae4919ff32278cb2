"""What a scope remembers of single requests and entries: a bounded number, the newest."""

from __future__ import annotations

from collections import OrderedDict

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.caches.semantic.model import Numbers, Rows

_FIRST = 256


class Ring:
    """Rows with two numbers each, at most ``most`` of them; room is taken as they come."""

    def __init__(self, most: int, width: int) -> None:
        self._most = most
        self.rows: Rows = np.zeros((min(_FIRST, most), width), np.float16)
        self.first: Numbers = np.zeros(len(self.rows), np.float32)
        self.second: Numbers = np.zeros(len(self.rows), np.float32)
        self.added = 0

    def __len__(self) -> int:
        return min(self.added, self._most)

    def add(self, row: Rows, first: float, second: float) -> None:
        """In the place of the oldest, once it is full."""
        at = self.added % self._most
        if at >= len(self.rows):
            room = min(self._most, 2 * len(self.rows))
            self.rows = np.concatenate([self.rows, np.zeros((room - len(self.rows), self.rows.shape[1]), np.float16)])
            self.first = np.concatenate([self.first, np.zeros(room - len(self.first), np.float32)])
            self.second = np.concatenate([self.second, np.zeros(room - len(self.second), np.float32)])
        self.rows[at], self.first[at], self.second[at] = row, first, second
        self.added += 1

    def resume(self, added: int) -> None:
        """The rows that are here are the newest of so many."""
        if added < self.added or (self.added < self._most and added != self.added):
            raise ValueError(f"{self.added} rows cannot be what is kept of {added}")
        if added > self._most:
            shift = added % self._most
            self.rows = np.roll(self.rows, shift, axis=0)
            self.first, self.second = np.roll(self.first, shift), np.roll(self.second, shift)
        self.added = added

    def kept(self) -> tuple[Rows, Numbers, Numbers]:
        """Copies, oldest first."""
        count, at = len(self), self.added % self._most if self.added > self._most else 0
        order: NDArray[np.intp] = np.concatenate([np.arange(at, count), np.arange(at)])
        return self.rows[order], self.first[order], self.second[order]


class Correction(msgspec.Struct):
    """What labels of one entry say beyond the model: the slope and the curvature of their likelihood, and how often
    it did not serve where the model thought that it would."""

    slope: float = 0.0
    curve: float = 0.0
    faults: int = 0


class Entries:
    """How much better or worse single entries serve than the model thinks, of at most ``most`` entries: those that a
    label touched last."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.found: OrderedDict[str, Correction] = OrderedDict()

    def shift(self, entry: str) -> float:
        """What is added to the log odds of this entry, in [-12, 1]: the mode of a normal prior of variance 1 and the
        labels, after one step, and 3 less for each fault. Distrust comes sooner than trust."""
        met = self.found.get(entry)
        if met is None:
            return 0.0
        return max(-12.0, min(1.0, met.slope / (1.0 + met.curve)) - 3.0 * met.faults)

    def label(self, entry: str, chance: float, same: bool) -> None:
        """One label, where the model (with the correction so far) gave this chance that the same answer serves."""
        met = self.found.pop(entry, None) or Correction()
        met.slope += same - chance
        met.curve += chance * (1.0 - chance)
        met.faults += chance > 0.5 and not same
        self.found[entry] = met
        if len(self.found) > self._most:
            self.found.popitem(last=False)
