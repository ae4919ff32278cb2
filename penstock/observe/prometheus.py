"""Metrics as Prometheus reads them; its own client library writes the text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate

import prometheus_client as prometheus
from prometheus_client import metrics_core as families
from prometheus_client.registry import Collector

from penstock.core.metrics import Counter, Gauge, Histogram, Metric
from penstock.observe.totals import Report


def render(rows: Iterable[Metric], report: Report, processes: Mapping[str, int]) -> bytes:
    """``report`` in Prometheus's text format, and below it what the kernel says of ``processes``, ids by name.

    Takes some milliseconds, and a second where there are thousands of label sets. Any thread may call it.
    """
    return prometheus.generate_latest(_Page(rows, report, processes))


class _Page(Collector):
    def __init__(self, rows: Iterable[Metric], report: Report, processes: Mapping[str, int]) -> None:
        self._rows = rows
        self._report = report
        self._processes = processes

    def collect(self) -> Iterator[families.Metric]:
        for row in self._rows:
            yield _family(row, self._report)
        yield from _of_processes(self._processes)


def _family(row: Metric, report: Report) -> families.Metric:
    series = report.metrics.get(row.name, ())
    match row:
        case Counter():
            counter = families.CounterMetricFamily(row.name, row.help, labels=row.labels)
            for each in series:
                counter.add_metric(each.labels, each.values[0])
            return counter
        case Gauge():
            gauge = families.GaugeMetricFamily(row.name, row.help, labels=row.labels)
            for each in series:
                gauge.add_metric(each.labels, each.values[0])
            return gauge
        case Histogram(buckets=bounds):
            histogram = families.HistogramMetricFamily(row.name, row.help, labels=row.labels)
            names = [*(str(float(bound)) for bound in bounds), "+Inf"]
            for each in series:
                buckets = list(zip(names, accumulate(each.values[:-1]), strict=True))
                histogram.add_metric(each.labels, buckets, each.values[-1])
            return histogram


def _of_processes(processes: Mapping[str, int]) -> Iterable[families.Metric]:
    found: dict[str, families.Metric] = {}
    for name, pid in processes.items():
        for family in prometheus.ProcessCollector(pid=pid.__int__, registry=None).collect():
            kept = found.setdefault(family.name, families.Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                kept.add_sample(sample.name, {"process": name}, sample.value)
    return found.values()
