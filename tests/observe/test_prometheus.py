from __future__ import annotations

import pytest

from penstock.core.metrics import Counter, Gauge, Histogram, Sample
from penstock.observe.prometheus import PrometheusMeter

SEEN = Counter("seen", "Things seen.", ("kind",))
LEVEL = Gauge("level", "A level.")
TOOK = Histogram("took_seconds", "How long.", (0.1, 1.0))


def test_each_kind_of_metric_is_rendered() -> None:
    meter = PrometheusMeter([SEEN, LEVEL, TOOK])
    for value in (1.0, 2.0):
        meter.record(Sample(SEEN, value, ("a",)))
        meter.record(Sample(LEVEL, value))
        meter.record(Sample(TOOK, value))
    text = meter.render().decode()
    assert 'seen_total{kind="a"} 3.0' in text
    assert "\nlevel 2.0" in text
    assert 'took_seconds_bucket{le="1.0"} 1.0' in text
    assert "took_seconds_count 2.0" in text
    assert "process_resident_memory_bytes" in text


def test_labels_are_bounded_however_many_are_sent() -> None:
    meter = PrometheusMeter([SEEN])
    for number in range(3000):
        meter.record(Sample(SEEN, 1.0, (f"kind-{number}",)))
    text = meter.render().decode()
    assert 'seen_total{kind="other"} 1000.0' in text
    assert text.count("seen_total{") == 2001


def test_an_undeclared_metric_is_a_mistake_of_ours() -> None:
    with pytest.raises(KeyError):
        PrometheusMeter([SEEN]).record(Sample(LEVEL, 1.0))
