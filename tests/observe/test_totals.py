"""Samples are added up, in one process and over several, and no total ever goes back."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.metrics import Counter, Gauge, Histogram, Metric, Sample
from penstock.observe.labels import MOST_LABEL_SETS
from penstock.observe.totals import LEAST, Report, Series, Sums, Totals

SEEN = Counter("seen", "Things seen.", ("kind",))
PLAIN = Counter("plain", "Things.")
LEVEL = Gauge("level", "A level.")
TOOK = Histogram("took_seconds", "How long.", (0.1, 1.0))
SLACK = 1 + 1e-12
ROWS: tuple[Metric, ...] = (SEEN, PLAIN, LEVEL, TOOK)


def values(report: Report, metric: Metric, *labels: str) -> tuple[float, ...]:
    return next((each.values for each in report.metrics[metric.name] if each.labels == labels), ())


def test_counters_add_gauges_become_and_histograms_sort() -> None:
    totals = Totals(ROWS)
    for value in (0.1, 0.11, 1.0, 7.0):
        totals.record(Sample(SEEN, value, ("a",)))
        totals.record(Sample(LEVEL, value))
        totals.record(Sample(TOOK, value))
    totals.record(Sample(SEEN, 1, ("b",)))
    report = totals.report()
    assert values(report, SEEN, "a") == (pytest.approx(8.21),)
    assert values(report, SEEN, "b") == (1.0,)
    assert values(report, LEVEL) == (7.0,)
    assert values(report, TOOK) == (1.0, 2.0, 1.0, pytest.approx(8.21))
    assert values(report, PLAIN) == (0.0,)


def test_a_report_is_of_its_moment_and_travels() -> None:
    totals = Totals(ROWS)
    totals.record(Sample(TOOK, 0.5))
    report = totals.report()
    totals.record(Sample(TOOK, 0.5))
    assert values(report, TOOK) == (0.0, 1.0, 0.0, 0.5)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(report), type=Report) == report


@given(st.lists(st.floats(0.0, 1e6), max_size=80), st.integers(0, 80))
def test_fine_buckets_hold_every_value_where_it_belongs_over_processes_too(values: list[float], cut: int) -> None:
    sums = Sums([TOOK])
    for process, part in enumerate((values[:cut], values[cut:])):
        totals = Totals([TOOK])
        for value in part:
            totals.record(Sample(TOOK, value))
        sums.take(process, totals.report())
        sums.report()
        sums.end(process)
    series = sums.report().metrics["took_seconds"]
    fine = dict(series[0].fine) if series else {}
    for value in (value for value in values if value >= LEAST):
        assert any(2 ** ((index - 1) / 8) / SLACK < value <= 2 ** (index / 8) * SLACK for index in fine)
    assert sum(fine.values()) == sum(value >= LEAST for value in values)


def test_levels_are_all_that_a_gauge_tells() -> None:
    depth = Gauge("depth", "How deep.", ("service",))
    totals = Totals([depth, PLAIN])
    totals.levels(depth, {("a",): 1.0, ("b",): 2.0})
    totals.levels(depth, {("b",): 3.0})
    assert totals.report().metrics["depth"] == (Series(("b",), (3.0,)),)


def test_an_undeclared_metric_is_a_mistake_of_ours() -> None:
    with pytest.raises(KeyError):
        Totals([SEEN]).record(Sample(LEVEL, 1.0))


@pytest.mark.parametrize("metric", [SEEN, Gauge("g", "", ("kind",)), Histogram("h", "", (1.0,), ("kind",))])
def test_label_sets_are_bounded_however_many_are_sent(metric: Metric) -> None:
    totals = Totals([metric])
    for number in range(MOST_LABEL_SETS + 1000):
        for _ in range(2):
            totals.record(Sample(metric, 1.0, (f"kind-{number}",)))
    report = totals.report()
    assert len(report.metrics[metric.name]) == MOST_LABEL_SETS + 1
    assert values(report, metric, "kind-0")[-1] == (1.0 if isinstance(metric, Gauge) else 2.0)
    assert values(report, metric, "other")[-1] == (1.0 if isinstance(metric, Gauge) else 2000.0)


def test_processes_are_summed_and_the_last_report_of_each_counts() -> None:
    sums = Sums(ROWS)
    sums.take(0, told(SEEN, 1.0))
    sums.take(1, told(SEEN, 5.0))
    sums.take(0, told(SEEN, 2.0))
    assert values(sums.report(), SEEN, "a") == (7.0,)


def test_a_process_that_ends_leaves_what_it_counted_and_no_level() -> None:
    sums = Sums(ROWS)
    sums.take(0, Report(told(SEEN, 3.0).metrics | {"level": (Series((), (9.0,)),)}))
    sums.take(1, Report({"level": (Series((), (2.0,)),)}))
    sums.end(0)
    sums.end(0)
    assert values(sums.report(), SEEN, "a") == (3.0,)
    assert values(sums.report(), LEVEL) == (2.0,)
    sums.take(0, told(SEEN, 1.0))
    assert values(sums.report(), SEEN, "a") == (4.0,)


def test_the_sum_is_bounded_and_no_series_changes_its_place() -> None:
    sums = Sums([SEEN])
    for process in range(3):
        sums.take(process, Report({"seen": tuple(Series((f"{process}-{n}",), (1.0,)) for n in range(1500))}))
        sums.report()
        sums.end(process)
    series = sums.report().metrics["seen"]
    assert len(series) == MOST_LABEL_SETS + 1
    assert values(sums.report(), SEEN, "other") == (2500.0,)
    assert sum(each.values[0] for each in series) == 4500.0


# What processes do: count something under a label, report, end.
DEED = st.tuples(st.integers(0, 2), st.one_of(st.sampled_from(["a", "b"]), st.just("report"), st.just("end")))


@given(st.lists(DEED, max_size=60))
def test_what_has_been_reported_is_never_lost_nor_counted_twice(deeds: list[tuple[int, str]]) -> None:
    sums, processes = Sums(ROWS), [Totals(ROWS) for _ in range(3)]
    counted, unreported, before = 0.0, [0.0] * 3, 0.0
    for process, deed in deeds:
        if deed == "report":
            sums.take(process, processes[process].report())
            counted, unreported[process] = counted + unreported[process], 0.0
        elif deed == "end":
            sums.end(process)
            processes[process], unreported[process] = Totals(ROWS), 0.0
        else:
            processes[process].record(Sample(SEEN, 1.0, (deed,)))
            unreported[process] += 1.0
        now = sum(each.values[0] for each in sums.report().metrics["seen"])
        assert now == counted >= before
        before = now


def told(metric: Metric, value: float) -> Report:
    return Report({metric.name: (Series(("a",), (value,)),)})
