"""Metrics as Prometheus reads them: as text, which its own client library writes, or with native histograms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate

import msgspec
import prometheus_client as prometheus
from prometheus_client import metrics_core as families
from prometheus_client.registry import Collector

from penstock.core.metrics import Counter, Gauge, Histogram, Metric
from penstock.observe import prometheus_protobuf
from penstock.observe.processes import of_processes
from penstock.observe.totals import Report

TEXT = "text/plain; version=0.0.4; charset=utf-8"
PROTOBUF = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"

_PROTOBUF = "application/vnd.google.protobuf"
_FORM = {"proto": "io.prometheus.client.MetricFamily", "encoding": "delimited"}


class Exposed(msgspec.Struct, frozen=True):
    """The page of ``/metrics``, and what it is."""

    content_type: str
    body: bytes


def exposed(rows: Iterable[Metric], report: Report, processes: Mapping[str, int], accept: str) -> Exposed:
    """``report``, and below it what the kernel says of ``processes``, ids by name, in the form that an ``Accept``
    header asks for: text, unless it wants protobuf no less. Native histograms are in protobuf alone.

    Takes some milliseconds, and a second where there are thousands of label sets. Any thread may call it.
    """
    if wants_protobuf(accept):
        return Exposed(PROTOBUF, prometheus_protobuf.render(rows, report, processes))
    return Exposed(TEXT, render(rows, report, processes))


def wants_protobuf(accept: str) -> bool:
    """Whether the header prefers it to text; what it says of other forms is not heeded."""
    protobuf = text = 0.0
    for asked in accept.split(","):
        kind, *parameters = (part.strip() for part in asked.split(";"))
        said = {name.strip().lower(): value.strip(' "') for name, _, value in (p.partition("=") for p in parameters)}
        weight = _weight(said.get("q", "1"))
        if kind.lower() == _PROTOBUF and all(said.get(name) == value for name, value in _FORM.items()):
            protobuf = max(protobuf, weight)
        elif kind.lower() in ("text/plain", "text/*"):
            text = max(text, weight)
    return protobuf > 0.0 and protobuf >= text


def _weight(said: str) -> float:
    try:
        return float(said)
    except ValueError:
        return 0.0


def render(rows: Iterable[Metric], report: Report, processes: Mapping[str, int]) -> bytes:
    """All of it as text."""
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
    for each in of_processes(processes):
        name = each.name.removesuffix("_total") if each.grows else each.name
        kind = "counter" if each.grows else "gauge"
        found.setdefault(name, families.Metric(name, each.about, kind)).add_sample(
            each.name, {"process": each.process}, each.value
        )
    return found.values()
