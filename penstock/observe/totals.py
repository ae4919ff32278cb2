"""Samples added up: in each process as they come, and over processes as they report."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import msgspec

from penstock.core.metrics import Counter, Gauge, Metric, Sample

MOST_LABEL_SETS = 2000
"""A label set beyond this many of one metric is counted under ``other``, so that no client can grow our memory."""


class Series(msgspec.Struct, frozen=True, array_like=True):
    """One label set. ``values``: the total of a counter, the level of a gauge; of a histogram how many fell in each
    bucket, in none of them, and the sum of what was observed."""

    labels: tuple[str, ...]
    values: tuple[float, ...]


class Report(msgspec.Struct, frozen=True):
    """Everything since a process began, by the name of the metric."""

    metrics: Mapping[str, tuple[Series, ...]] = {}


class Totals:
    """A ``Meter``: what one process has measured since it began. ``rows`` are declared up front; a sample of another
    metric is a ``KeyError``."""

    __slots__ = ("_record", "_rows")

    def __init__(self, rows: Iterable[Metric]) -> None:
        self._rows: dict[str, _Row] = {row.name: _row(row) for row in rows}
        self._record: dict[str, Callable[[float, tuple[str, ...]], None]] = {
            name: row.record for name, row in self._rows.items()
        }

    def record(self, sample: Sample) -> None:
        self._record[sample.metric.name](sample.value, sample.labels)

    def report(self) -> Report:
        """As it stands now."""
        return Report({name: row.series() for name, row in self._rows.items()})


class Sums:
    """The reports of several processes as one, in which no counter goes back when a process ends.

    A process reports its totals again and again, the last report counts. Gauges end with their process.
    """

    def __init__(self, rows: Iterable[Metric]) -> None:
        self._rows = {row.name: row for row in rows}
        self._living: dict[int, Report] = {}
        self._ended: dict[str, dict[tuple[str, ...], tuple[float, ...]]] = {name: {} for name in self._rows}
        # Which label sets have a series of their own is settled once, or a total could move to ``other`` and back.
        self._known: dict[str, set[tuple[str, ...]]] = {name: set() for name in self._rows}

    def take(self, process: int, report: Report) -> None:
        """What ``process`` adds up to now."""
        self._living[process] = report

    def end(self, process: int) -> None:
        """It will report no more; another that is called the same begins at nothing."""
        report = self._living.pop(process, Report())
        for name, ended in self._ended.items():
            if not isinstance(self._rows[name], Gauge):
                self._add(name, ended, report)

    def report(self) -> Report:
        """All of it."""
        total = {}
        for name, ended in self._ended.items():
            sums = dict(ended)
            for report in self._living.values():
                self._add(name, sums, report)
            total[name] = tuple(Series(labels, values) for labels, values in sums.items())
        return Report(total)

    def _add(self, name: str, sums: dict[tuple[str, ...], tuple[float, ...]], report: Report) -> None:
        known = self._known[name]
        for series in report.metrics.get(name, ()):
            labels = series.labels
            if labels not in known:
                if len(known) < MOST_LABEL_SETS:
                    known.add(labels)
                else:
                    labels = _other(labels)
            before = sums.get(labels)
            sums[labels] = series.values if before is None else tuple(map(float.__add__, before, series.values))


def _other(labels: tuple[str, ...]) -> tuple[str, ...]:
    return ("other",) * len(labels)


class _Row(Protocol):
    def record(self, value: float, labels: tuple[str, ...]) -> None: ...

    def series(self) -> tuple[Series, ...]: ...


def _row(metric: Metric) -> _Row:
    match metric:
        case Counter():
            return _Sum(not metric.labels)
        case Gauge():
            return _Level()
        case _:
            return _Distribution(metric.buckets)


class _Sum:
    __slots__ = ("_totals",)

    def __init__(self, alone: bool) -> None:
        # Without labels there is one series, and it is there before anything happens.
        self._totals: dict[tuple[str, ...], float] = {(): 0.0} if alone else {}

    def record(self, value: float, labels: tuple[str, ...]) -> None:
        try:
            self._totals[labels] += value
        except KeyError:
            labels = _bounded(labels, len(self._totals))
            self._totals[labels] = self._totals.get(labels, 0.0) + value

    def series(self) -> tuple[Series, ...]:
        return tuple(Series(labels, (float(total),)) for labels, total in self._totals.items())


class _Level:
    __slots__ = ("_levels",)

    def __init__(self) -> None:
        self._levels: dict[tuple[str, ...], float] = {}

    def record(self, value: float, labels: tuple[str, ...]) -> None:
        if labels not in self._levels:
            labels = _bounded(labels, len(self._levels))
        self._levels[labels] = value

    def series(self) -> tuple[Series, ...]:
        return tuple(Series(labels, (float(level),)) for labels, level in self._levels.items())


class _Distribution:
    __slots__ = ("_bounds", "_counts")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts: dict[tuple[str, ...], list[float]] = {}

    def record(self, value: float, labels: tuple[str, ...]) -> None:
        try:
            counts = self._counts[labels]
        except KeyError:
            labels = _bounded(labels, len(self._counts))
            counts = self._counts.setdefault(labels, [0.0] * (len(self._bounds) + 2))
        counts[bisect_left(self._bounds, value)] += 1.0
        counts[-1] += value

    def series(self) -> tuple[Series, ...]:
        return tuple(Series(labels, tuple(counts)) for labels, counts in self._counts.items())


def _bounded(labels: tuple[str, ...], known: int) -> tuple[str, ...]:
    return labels if known < MOST_LABEL_SETS else _other(labels)
