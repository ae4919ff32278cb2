"""Kinds of metric, and a measurement of one. The rows themselves are declared by the rooms that know them."""

from __future__ import annotations

from typing import Protocol

import msgspec


class Counter(msgspec.Struct, frozen=True):
    """Only grows. ``name`` without a ``_total`` suffix; ``labels`` in the order samples give their values."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


class Gauge(msgspec.Struct, frozen=True):
    """A level that goes up and down."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


class Histogram(msgspec.Struct, frozen=True):
    """A distribution; ``buckets`` are upper bounds, ascending, at most 20, the last one below infinity."""

    name: str
    help: str
    buckets: tuple[float, ...]
    labels: tuple[str, ...] = ()


Metric = Counter | Gauge | Histogram


class Sample(msgspec.Struct, frozen=True):
    """One measurement: a counter adds ``value``, a gauge becomes it, a histogram observes it."""

    metric: Metric
    value: float
    labels: tuple[str, ...] = ()


class Meter(Protocol):
    """Where samples go. Never blocks, never raises, may be called from any task of one event loop."""

    def record(self, sample: Sample) -> None:
        """Takes one measurement."""
