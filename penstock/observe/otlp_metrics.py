"""Metrics in OTLP's form: the rows that Prometheus reads, under the names of OpenTelemetry's conventions. Pure.

All of it is cumulative. Histograms are exponential ones, made of the fine buckets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

import msgspec

from penstock.core.metrics import Counter, Gauge, Histogram, Metric
from penstock.observe.otlp_form import KeyValue, Message, Resource, Scope, Sender, pairs
from penstock.observe.spans import OPERATIONS, Value
from penstock.observe.totals import LEAST, SCHEMA, Report, Series

MOST_BUCKETS = 160
"""Of one histogram, as OpenTelemetry's own libraries have it; one that is wider is told more coarsely."""

_CUMULATIVE = 2
_UNITS: Mapping[str, str] = MappingProxyType({"_seconds": "s", "_bytes": "By"})
_WORDS: Mapping[str, str] = MappingProxyType(
    {"kind": "gen_ai.operation.name", "direction": "gen_ai.token.type", "code": "error.type"}
)

Provider = Callable[[str], str]
"""Which engine serves a model; empty where that is not known."""


class Point(Message, frozen=True, kw_only=True):
    attributes: tuple[KeyValue, ...]
    start_time_unix_nano: str
    time_unix_nano: str
    as_double: float


class Buckets(Message, frozen=True, kw_only=True):
    offset: int
    bucket_counts: tuple[str, ...]


class FinePoint(Message, frozen=True, kw_only=True):
    attributes: tuple[KeyValue, ...]
    start_time_unix_nano: str
    time_unix_nano: str
    count: str
    sum: float
    scale: int
    zero_count: str
    positive: Buckets
    zero_threshold: float = 0.0


class Sum(Message, frozen=True, kw_only=True):
    data_points: tuple[Point, ...]
    aggregation_temporality: int
    is_monotonic: bool


class Level(Message, frozen=True, kw_only=True):
    data_points: tuple[Point, ...]


class Fine(Message, frozen=True, kw_only=True):
    data_points: tuple[FinePoint, ...]
    aggregation_temporality: int


class WrittenMetric(Message, frozen=True, kw_only=True):
    name: str
    description: str
    unit: str = ""
    sum: Sum | None = None
    gauge: Level | None = None
    exponential_histogram: Fine | None = None


class ScopeMetrics(msgspec.Struct, frozen=True):
    scope: Scope
    metrics: Sequence[WrittenMetric]


class ResourceMetrics(Message, frozen=True, kw_only=True):
    resource: Resource
    scope_metrics: tuple[ScopeMetrics, ...]


class Metrics(Message, frozen=True, kw_only=True):
    resource_metrics: tuple[ResourceMetrics, ...]


class Span(msgspec.Struct, frozen=True):
    """Since when it is counted, and when that was: nanoseconds since the epoch."""

    began: int
    at: int


def metrics(sender: Sender, rows: Iterable[Metric], report: Report, span: Span, provider: Provider) -> bytes:
    """An ``ExportMetricsServiceRequest``; metrics of which nothing was measured are left out."""
    written = [_metric(row, series, span, provider) for row in rows if (series := report.metrics.get(row.name, ()))]
    found = ResourceMetrics(resource=sender.resource(), scope_metrics=(ScopeMetrics(sender.scope(), written),))
    return msgspec.json.encode(Metrics(resource_metrics=(found,)))


def named(row: Metric) -> tuple[str, str]:
    """What it is called, and its unit. A collector that makes Prometheus' names of them has ours again."""
    suffix = next((suffix for suffix in _UNITS if row.name.endswith(suffix)), "")
    name = row.convention or row.name.removesuffix(suffix).replace("_", ".", 1)
    return name, row.unit or _UNITS.get(suffix, "")


def attributes(row: Metric, labels: Sequence[str], provider: Provider) -> dict[str, Value]:
    """Of one label set; what is empty is left out. Where the conventions name the metric they name its attributes:
    a server is asked for a service and answers with a model, a client asks for a model."""
    told: dict[str, Value] = {}
    said = {name: value for name, value in zip(row.labels, labels, strict=True) if value}
    for name, value in said.items():
        word = _WORDS.get(name, "") if row.convention else ""
        told[word or f"penstock.{name}"] = OPERATIONS.get(value, value) if name == "kind" else value
    if row.convention:
        service, model = said.get("service", ""), said.get("model", "")
        server = row.convention.startswith("gen_ai.server.")
        more = {
            "gen_ai.request.model": service if server else model,
            "gen_ai.response.model": model if server else "",
            "gen_ai.provider.name": provider(model) if model else "",
        }
        told |= {name: value for name, value in more.items() if value}
    return told


def _metric(row: Metric, series: Sequence[Series], span: Span, provider: Provider) -> WrittenMetric:
    name, unit = named(row)
    marked = [(pairs(attributes(row, each.labels, provider)), each) for each in series]
    match row:
        case Histogram():
            points = tuple(_fine(its, each, span) for its, each in marked)
            fine = Fine(data_points=points, aggregation_temporality=_CUMULATIVE)
            return WrittenMetric(name=name, description=row.help, unit=unit, exponential_histogram=fine)
        case Gauge():
            level = Level(data_points=_points(marked, span))
            return WrittenMetric(name=name, description=row.help, unit=unit, gauge=level)
        case Counter():
            total = Sum(data_points=_points(marked, span), aggregation_temporality=_CUMULATIVE, is_monotonic=True)
            return WrittenMetric(name=name, description=row.help, unit=unit, sum=total)


def _points(marked: Iterable[tuple[tuple[KeyValue, ...], Series]], span: Span) -> tuple[Point, ...]:
    return tuple(
        Point(
            attributes=its,
            start_time_unix_nano=str(span.began),
            time_unix_nano=str(span.at),
            as_double=each.values[0],
        )
        for its, each in marked
    )


def _fine(its: tuple[KeyValue, ...], series: Series, span: Span) -> FinePoint:
    count = int(sum(series.values[:-1]))
    scale, offset, counts = _dense(series.fine)
    return FinePoint(
        attributes=its,
        start_time_unix_nano=str(span.began),
        time_unix_nano=str(span.at),
        count=str(count),
        sum=series.values[-1],
        scale=scale,
        zero_count=str(count - sum(counts)),
        positive=Buckets(offset=offset, bucket_counts=tuple(map(str, counts))),
        zero_threshold=LEAST,
    )


def _dense(fine: Sequence[tuple[int, int]]) -> tuple[int, int, list[int]]:
    """Scale, index of the first bucket and their counts. OpenTelemetry numbers a bucket by its lower bound, we by its
    upper one; half the scale puts two neighbours together."""
    if not fine:
        return SCHEMA, 0, []
    low, high, scale = fine[0][0] - 1, fine[-1][0] - 1, SCHEMA
    shift = 0
    while (high >> shift) - (low >> shift) >= MOST_BUCKETS:
        shift += 1
    counts = [0] * ((high >> shift) - (low >> shift) + 1)
    for index, count in fine:
        counts[((index - 1) >> shift) - (low >> shift)] += count
    return scale - shift, low >> shift, counts
