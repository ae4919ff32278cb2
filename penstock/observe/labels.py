"""Which label sets of a metric have a series of their own. No client can grow our memory, nor a scraper's.

What is beyond a bound becomes ``other``: the value of a label that has too many of its own, then those of project and
release, then the whole set; so services keep their numbers when projects are many.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

MOST_LABEL_SETS = 2000
"""Of one metric, each with its own values; beyond it those that have lost a label may be half as many again."""

MOST_VALUES: Mapping[str, int] = MappingProxyType({"project": 100, "release": 100, "code": 60})
"""Of one label of one metric."""

OTHER = "other"

# Those that a full metric lets go of first.
_FIRST = ("project", "release")
_MOST_IN_ALL = MOST_LABEL_SETS * 3 // 2


class Known:
    """The label sets of one metric whose labels are called ``names``. What was admitted once is admitted for good."""

    __slots__ = ("_first", "_sets", "_values")

    def __init__(self, names: Sequence[str]) -> None:
        self._values: tuple[tuple[int, int, set[str]], ...] = tuple(
            (place, MOST_VALUES[name], set()) for place, name in enumerate(names) if name in MOST_VALUES
        )
        self._first = tuple(names.index(name) for name in _FIRST if name in names)
        self._sets: set[tuple[str, ...]] = set()

    def admitted(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        """The set under which this one is counted."""
        if labels in self._sets:
            return labels
        labels = self._bounded(labels)
        if labels in self._sets:
            return labels
        if len(self._sets) < MOST_LABEL_SETS:
            self._sets.add(labels)
            return labels
        for place in self._first:
            labels = (*labels[:place], OTHER, *labels[place + 1 :])
            if labels in self._sets:
                return labels
            if len(self._sets) < _MOST_IN_ALL:
                self._sets.add(labels)
                return labels
        return (OTHER,) * len(labels)

    def _bounded(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        for place, most, values in self._values:
            value = labels[place]
            if value in values or value in ("", OTHER):
                continue
            if len(values) < most:
                values.add(value)
            else:
                labels = (*labels[:place], OTHER, *labels[place + 1 :])
        return labels
