"""Samples added up: in each process as they come, and over processes as they report."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import msgspec

from penstock.core.metrics import Counter, Gauge, Metric, Sample
from penstock.observe.labels import Known

SCHEMA = 3
"""Of the fine buckets of histograms, as Prometheus and OpenTelemetry count them: bucket ``i`` ends, inclusive, at
``2 ** (i / 2 ** SCHEMA)``, so a value is known to 4.5 %."""
LEAST = 1e-9
"""What is below counts as nothing, in the bucket of zero."""

_PER_OCTAVE = float(2**SCHEMA)

Fine = dict[int, int]
"""Fine buckets by index."""


class Series(msgspec.Struct, frozen=True, array_like=True):
    """One label set. ``values``: the total of a counter, the level of a gauge; of a histogram how many fell in each
    bucket, in none of them, and the sum of what was observed. ``fine`` are a histogram's fine buckets, by index; what
    is in none of them is in the bucket of zero."""

    labels: tuple[str, ...]
    values: tuple[float, ...]
    fine: tuple[tuple[int, int], ...] = ()


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

    def levels(self, gauge: Gauge, levels: Mapping[tuple[str, ...], float]) -> None:
        """All that the gauge tells from now on: what is not among ``levels`` is gone, not nothing."""
        row = self._rows[gauge.name]
        if not isinstance(row, _Level):
            raise TypeError(f"{gauge.name} is no gauge.")
        row.become(levels)

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
        self._ended: dict[str, dict[tuple[str, ...], _Summed]] = {name: {} for name in self._rows}
        # Which label sets have a series of their own is settled once, or a total could move to ``other`` and back.
        self._known = {name: Known(row.labels) for name, row in self._rows.items()}

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
            total[name] = tuple(
                Series(labels, values, tuple(sorted(fine.items()))) for labels, (values, fine) in sums.items()
            )
        return Report(total)

    def _add(self, name: str, sums: dict[tuple[str, ...], _Summed], report: Report) -> None:
        known = self._known[name]
        for series in report.metrics.get(name, ()):
            labels = known.admitted(series.labels)
            before = sums.get(labels)
            if before is None:
                sums[labels] = (series.values, dict(series.fine))
                continue
            values, fine = before
            if series.fine:
                # What has ended is kept as it is, and added to again for the next report.
                fine = dict(fine)
                for index, count in series.fine:
                    fine[index] = fine.get(index, 0) + count
            sums[labels] = (tuple(map(float.__add__, values, series.values)), fine)


_Summed = tuple[tuple[float, ...], Fine]


class _Row(Protocol):
    def record(self, value: float, labels: tuple[str, ...]) -> None: ...

    def series(self) -> tuple[Series, ...]: ...


def _row(metric: Metric) -> _Row:
    match metric:
        case Counter():
            return _Sum(metric.labels)
        case Gauge():
            return _Level(metric.labels)
        case _:
            return _Distribution(metric.labels, metric.buckets)


class _Sum:
    __slots__ = ("_known", "_totals")

    def __init__(self, names: tuple[str, ...]) -> None:
        self._known = Known(names)
        # Without labels there is one series, and it is there before anything happens.
        self._totals: dict[tuple[str, ...], float] = {} if names else {(): 0.0}

    def record(self, value: float, labels: tuple[str, ...]) -> None:
        try:
            self._totals[labels] += value
        except KeyError:
            labels = self._known.admitted(labels)
            self._totals[labels] = self._totals.get(labels, 0.0) + value

    def series(self) -> tuple[Series, ...]:
        return tuple(Series(labels, (float(total),)) for labels, total in self._totals.items())


class _Level:
    __slots__ = ("_known", "_levels", "_names")

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self._known = Known(names)
        self._levels: dict[tuple[str, ...], float] = {}

    def record(self, value: float, labels: tuple[str, ...]) -> None:
        if labels not in self._levels:
            labels = self._known.admitted(labels)
        self._levels[labels] = value

    def become(self, levels: Mapping[tuple[str, ...], float]) -> None:
        self._known = Known(self._names)
        self._levels = {}
        for labels, value in levels.items():
            self.record(value, labels)

    def series(self) -> tuple[Series, ...]:
        return tuple(Series(labels, (float(level),)) for labels, level in self._levels.items())


class _Counts:
    __slots__ = ("bounded", "fine", "total")

    def __init__(self, bounds: int) -> None:
        self.bounded = [0.0] * (bounds + 1)
        self.fine: Fine = {}
        self.total = 0.0


class _Distribution:
    __slots__ = ("_bounds", "_counts", "_known")

    def __init__(self, names: tuple[str, ...], bounds: tuple[float, ...]) -> None:
        self._known = Known(names)
        self._bounds = bounds
        self._counts: dict[tuple[str, ...], _Counts] = {}

    def record(self, value: float, labels: tuple[str, ...]) -> None:
        counts = self._counts.get(labels)
        if counts is None:
            labels = self._known.admitted(labels)
            counts = self._counts.setdefault(labels, _Counts(len(self._bounds)))
        counts.bounded[bisect_left(self._bounds, value)] += 1.0
        counts.total += value
        if value >= LEAST:
            # ``log2`` is exact for powers of two, where the bounds of every schema lie.
            index = math.ceil(math.log2(value) * _PER_OCTAVE)
            fine = counts.fine
            fine[index] = fine.get(index, 0) + 1

    def series(self) -> tuple[Series, ...]:
        return tuple(
            Series(labels, (*counts.bounded, counts.total), tuple(sorted(counts.fine.items())))
            for labels, counts in self._counts.items()
        )
