"""Label sets are bounded label by label, so that many projects cost the numbers of no service."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.metrics import Counter, Sample
from penstock.observe.labels import MOST_LABEL_SETS, MOST_VALUES, Known
from penstock.observe.totals import Totals

NAMES = ("service", "release", "project")


def test_a_project_beyond_the_bound_is_other_and_its_service_is_not() -> None:
    known = Known(NAMES)
    for number in range(MOST_VALUES["project"]):
        assert known.admitted(("chat", "r1", f"p{number}")) == ("chat", "r1", f"p{number}")
    assert known.admitted(("chat", "r1", "late")) == ("chat", "r1", "other")
    assert known.admitted(("chat", "r1", "p0")) == ("chat", "r1", "p0")
    assert known.admitted(("new", "r1", "late")) == ("new", "r1", "other")


def test_a_full_metric_lets_go_of_projects_first() -> None:
    known = Known(NAMES)
    for service in range(MOST_LABEL_SETS // 50):
        for project in range(50):
            known.admitted((f"s{service}", "r", f"p{project}"))
    assert known.admitted(("late", "r", "p1")) == ("late", "r", "other")
    assert known.admitted(("late", "r", "p2")) == ("late", "r", "other")
    assert known.admitted(("s1", "r", "p1")) == ("s1", "r", "p1")


SETS = st.tuples(*(st.integers(0, 400).map(lambda n, of=of: f"{of}{n}") for of in "srp"))


@given(st.lists(SETS, max_size=300), st.data())
def test_what_was_admitted_stays_and_nothing_is_lost(asked: list[tuple[str, ...]], data: st.DataObject) -> None:
    row = Counter("seen", "Seen.", NAMES)
    known, totals = Known(NAMES), Totals([row])
    first = {labels: known.admitted(labels) for labels in asked}
    for labels in asked:
        assert known.admitted(labels) == first[labels]
        assert known.admitted(first[labels]) == first[labels]
        totals.record(Sample(row, 1.0, labels))
    assert sum(series.values[0] for series in totals.report().metrics["seen"]) == len(asked)


def test_a_client_that_invents_everything_gets_a_bounded_number_of_series() -> None:
    known = Known(NAMES)
    told = {known.admitted((f"s{n}", f"r{n}", f"p{n}")) for n in range(3 * MOST_LABEL_SETS)}
    assert len(told) <= MOST_LABEL_SETS * 3 // 2 + 1
    assert ("other",) * 3 in told
