"""Metrics as Prometheus reads them, through its own client library."""

from __future__ import annotations

from collections.abc import Iterable

import prometheus_client as prometheus

from penstock.core.metrics import Counter, Gauge, Metric, Sample

# A label set beyond this many for one metric is counted under "other", so that a client cannot grow our memory.
_MOST_LABEL_SETS = 2000


class PrometheusMeter:
    """One registry, of this process. ``rows`` are declared up front; a sample of another metric is a ``KeyError``."""

    def __init__(self, rows: Iterable[Metric]) -> None:
        self._registry = prometheus.CollectorRegistry()
        self._rows = {row.name: _Row(row, self._registry) for row in rows}
        prometheus.ProcessCollector(registry=self._registry)
        prometheus.GCCollector(registry=self._registry)

    def record(self, sample: Sample) -> None:
        self._rows[sample.metric.name].record(sample.value, sample.labels)

    def render(self) -> bytes:
        """Everything, in Prometheus's text format."""
        return prometheus.generate_latest(self._registry)


class _Row:
    __slots__ = ("_children", "_labels", "_of")

    def __init__(self, row: Metric, registry: prometheus.CollectorRegistry) -> None:
        self._labels = len(row.labels)
        self._children: dict[tuple[str, ...], prometheus.Counter | prometheus.Gauge | prometheus.Histogram] = {}
        match row:
            case Counter():
                self._of: prometheus.Counter | prometheus.Gauge | prometheus.Histogram = prometheus.Counter(
                    row.name, row.help, row.labels, registry=registry
                )
            case Gauge():
                self._of = prometheus.Gauge(row.name, row.help, row.labels, registry=registry)
            case _:
                self._of = prometheus.Histogram(
                    row.name, row.help, row.labels, registry=registry, buckets=row.buckets
                )

    def record(self, value: float, labels: tuple[str, ...]) -> None:
        child = self._children.get(labels)
        if child is None:
            child = self._child(labels)
        match child:
            case prometheus.Counter():
                child.inc(value)
            case prometheus.Gauge():
                child.set(value)
            case _:
                child.observe(value)

    def _child(self, labels: tuple[str, ...]) -> prometheus.Counter | prometheus.Gauge | prometheus.Histogram:
        if not self._labels:
            return self._of
        if len(self._children) >= _MOST_LABEL_SETS:
            labels = ("other",) * self._labels
        child = self._children[labels] = self._of.labels(*labels)
        return child
