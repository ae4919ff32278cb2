"""Kinds of metric, and a measurement of one. The rows themselves are declared by the rooms that know them."""

from __future__ import annotations

from typing import Protocol

import msgspec

MOST_BUCKETS = 20
"""Of a histogram that is shown by its bounds. The finer one beside them has as many as it needs."""


class Counter(msgspec.Struct, frozen=True):
    """Only grows. ``name`` without a ``_total`` suffix; ``labels`` in the order samples give their values.

    ``convention`` is what OpenTelemetry's semantic conventions call it, empty where they have no word for it;
    ``unit`` is in UCUM, empty: as the end of the name says. So in every kind of metric.
    """

    name: str
    help: str
    labels: tuple[str, ...] = ()
    convention: str = ""
    unit: str = ""


class Gauge(msgspec.Struct, frozen=True):
    """A level that goes up and down."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    convention: str = ""
    unit: str = ""


class Histogram(msgspec.Struct, frozen=True):
    """A distribution; ``buckets`` are upper bounds, ascending, at most ``MOST_BUCKETS``, the last one below
    infinity."""

    name: str
    help: str
    buckets: tuple[float, ...]
    labels: tuple[str, ...] = ()
    convention: str = ""
    unit: str = ""

    def __post_init__(self) -> None:
        if not 0 < len(self.buckets) <= MOST_BUCKETS or list(self.buckets) != sorted(set(self.buckets)):
            raise ValueError(f"{self.name}: 1 to {MOST_BUCKETS} buckets, ascending; these are {self.buckets}.")


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
