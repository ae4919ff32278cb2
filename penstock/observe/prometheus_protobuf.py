"""Metrics as Prometheus reads native histograms: its protobuf exposition, as its text has no form for them.

The schema is https://github.com/prometheus/client_model (``io/prometheus/client/metrics.proto``); each family has its
length before it. Histograms have their classic buckets beside the fine ones, for who asks for both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

from penstock.core.metrics import Counter, Gauge, Histogram, Metric
from penstock.observe.processes import Level, of_processes
from penstock.observe.protobuf import double, message, signed, text, unsigned, varint
from penstock.observe.totals import LEAST, SCHEMA, Report, Series

_COUNTER, _GAUGE, _HISTOGRAM = 0, 1, 4


def render(rows: Iterable[Metric], report: Report, processes: Mapping[str, int]) -> bytes:
    """``report``, and after it what the kernel says of ``processes``, ids by name. Any thread may call it."""
    families = [_family(row, report.metrics.get(row.name, ())) for row in rows]
    families += _levels(of_processes(processes))
    return b"".join(varint(len(family)) + family for family in families)


def _family(row: Metric, series: Sequence[Series]) -> bytes:
    match row:
        case Counter():
            bodies = (message(3, double(1, each.values[0])) for each in series)
            return _named(row.name + "_total", row.help, _COUNTER, row.labels, series, bodies)
        case Gauge():
            bodies = (message(2, double(1, each.values[0])) for each in series)
            return _named(row.name, row.help, _GAUGE, row.labels, series, bodies)
        case Histogram(buckets=bounds):
            bodies = (message(7, _histogram(bounds, each)) for each in series)
            return _named(row.name, row.help, _HISTOGRAM, row.labels, series, bodies)


def _named(
    name: str, about: str, kind: int, labels: tuple[str, ...], series: Sequence[Series], bodies: Iterable[bytes]
) -> bytes:
    metrics = (
        message(4, _labelled(zip(labels, each.labels, strict=True)) + body)
        for each, body in zip(series, bodies, strict=True)
    )
    return text(1, name) + text(2, about) + unsigned(3, kind) + b"".join(metrics)


def _labelled(pairs: Iterable[tuple[str, str]]) -> bytes:
    return b"".join(message(1, text(1, name) + text(2, value)) for name, value in pairs)


def _histogram(bounds: Sequence[float], series: Series) -> bytes:
    *counts, total = series.values
    cumulative = [int(count) for count in accumulate(counts)]
    classic = (
        message(3, unsigned(1, count) + double(2, bound)) for count, bound in zip(cumulative, bounds, strict=False)
    )
    zero = cumulative[-1] - sum(count for _, count in series.fine)
    return b"".join(
        (
            unsigned(1, cumulative[-1]),
            double(2, total),
            *classic,
            signed(4, SCHEMA),
            double(5, LEAST),
            unsigned(6, zero),
            message(8, _fine(series.fine)) if series.fine else b"",
        )
    )


def _fine(fine: Sequence[tuple[int, int]]) -> bytes:
    deltas, before = [], 0
    for _, count in fine:
        deltas.append(signed(2, count - before))
        before = count
    spans = (message(1, signed(1, gap) + unsigned(2, length)) for gap, length in _spans(fine))
    return b"".join((*spans, *deltas))


def _spans(fine: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Runs of indexes: the gap since the end of the run before, the first since index 0, and the length. Index 0 is
    the bucket that ends at 1, here as in our own."""
    start = end = fine[0][0]
    after = 0
    for index, _ in (*fine[1:], (None, 0)):
        if index == end + 1:
            end = index
            continue
        yield start - after, end - start + 1
        if index is not None:
            after, start, end = end + 1, index, index


def _levels(levels: Iterable[Level]) -> Iterator[bytes]:
    families: dict[str, list[Level]] = {}
    for each in levels:
        families.setdefault(each.name, []).append(each)
    for name, ours in families.items():
        field, kind = (3, _COUNTER) if ours[0].grows else (2, _GAUGE)
        metrics = (
            message(4, _labelled((("process", each.process),)) + message(field, double(1, each.value)))
            for each in ours
        )
        yield text(1, name) + text(2, ours[0].about) + unsigned(3, kind) + b"".join(metrics)
