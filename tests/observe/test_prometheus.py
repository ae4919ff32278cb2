"""The page that Prometheus reads, parsed by its own library."""

from __future__ import annotations

import os

from prometheus_client.parser import text_string_to_metric_families

from penstock.core.metrics import Counter, Gauge, Histogram, Sample
from penstock.observe.prometheus import render
from penstock.observe.totals import Report, Totals

SEEN = Counter("seen", "Things seen.", ("kind",))
LEVEL = Gauge("level", "A level.", ("where",))
TOOK = Histogram("took_seconds", "How long.", (0.1, 1.0))
ROWS = (SEEN, LEVEL, TOOK)


def test_each_kind_of_metric_is_rendered() -> None:
    totals = Totals(ROWS)
    for value in (0.05, 1.0, 2.0):
        totals.record(Sample(SEEN, value, ('quo"ted\n',)))
        totals.record(Sample(LEVEL, value, ("here",)))
        totals.record(Sample(TOOK, value))
    text = render(ROWS, totals.report(), {}).decode()
    assert 'seen_total{kind="quo\\"ted\\n"} 3.05' in text
    assert 'level{where="here"} 2.0' in text
    assert [line for line in text.splitlines() if line.startswith("took_seconds")] == [
        'took_seconds_bucket{le="0.1"} 1.0',
        'took_seconds_bucket{le="1.0"} 2.0',
        'took_seconds_bucket{le="+Inf"} 3.0',
        "took_seconds_count 3.0",
        "took_seconds_sum 3.05",
    ]
    assert [family.type for family in text_string_to_metric_families(text)] == ["counter", "gauge", "histogram"]


def test_processes_stand_beside_one_another_by_name() -> None:
    text = render((), Report(), {"supervisor": os.getpid(), "worker-0": os.getpid(), "gone": 2**22 + 1}).decode()
    for name in ("process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"):
        assert f'{name}{{process="supervisor"}}' in text
        assert f'{name}{{process="worker-0"}}' in text
        assert text.count(f"# TYPE {name}") == 1
    assert "gone" not in text
