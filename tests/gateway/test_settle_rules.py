"""What a closed trail tells the meter: times, tokens, attempts, retries and fallbacks."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from penstock.core.chat import Kind, Usage
from penstock.core.metrics import Histogram
from penstock.core.trail import (
    Admitted,
    Arrived,
    Assigned,
    AttemptFailed,
    AttemptStarted,
    Closed,
    Counted,
    Ending,
    FirstChunk,
    TrailFact,
)
from penstock.gateway import metrics
from penstock.gateway.settle import RULES, Summary, summed
from penstock.observe.totals import Totals


def trail(
    *facts: TrailFact, stream: bool = True, ending: Ending = Ending.COMPLETE, code: str = ""
) -> list[TrailFact]:
    return [
        Arrived(100.0, 1e9, "r", Kind.CHAT, "chat", stream),
        Admitted(100.001, "k", "shop"),
        Assigned(100.002, "chat", "rel1"),
        *facts,
        Closed(102.0, ending, 200, code, 5_000_000),
    ]


FELL_BACK = trail(
    AttemptStarted(100.01, 1, "a", "a-0"),
    AttemptFailed(100.11, 1, "upstream_failed", "no"),
    AttemptStarted(100.11, 2, "a", "a-1"),
    AttemptFailed(100.31, 2, "upstream_failed", "no"),
    AttemptStarted(100.31, 3, "b", "b-0"),
    FirstChunk(100.5, 3),
    Counted(Usage(7, 4)),
)


def told(facts: Sequence[TrailFact], away_s: float = 0.0) -> tuple[Summary, Totals]:
    totals, summary = Totals(metrics.ROWS), summed(facts, away_s)
    for rule in RULES:
        rule(summary, facts, totals)
    return summary, totals


def sums(totals: Totals, name: str) -> dict[tuple[str, ...], float]:
    return {series.labels: series.values[-1] for series in totals.report().metrics[name]}


def test_a_stream_tells_how_fast_it_was() -> None:
    summary, totals = told(FELL_BACK, away_s=0.49)
    assert summary.between_s == pytest.approx(0.5)
    assert summary.overhead_s == pytest.approx(0.01)
    labels = ("chat", "b", "chat", "rel1")
    assert sums(totals, metrics.BETWEEN.name) == {labels: pytest.approx(0.5)}
    assert sums(totals, metrics.SPEED.name) == {("chat", "b"): pytest.approx(2.0)}
    assert sums(totals, metrics.OVERHEAD.name) == {("chat",): pytest.approx(0.01)}
    assert sums(totals, metrics.FIRST_CHUNK.name) == {labels: pytest.approx(0.5)}
    assert sums(totals, metrics.DURATION.name) == {(*labels, ""): pytest.approx(2.0)}


def test_attempts_retries_and_fallbacks_are_told_apart() -> None:
    _, totals = told(FELL_BACK)
    assert sums(totals, metrics.ATTEMPTS.name) == {
        ("chat", "a", "chat", "upstream_failed"): pytest.approx(0.3),
        ("chat", "b", "chat", ""): pytest.approx(1.69),
    }
    assert sums(totals, metrics.ATTEMPTS_FAILED.name) == {("chat", "a", "upstream_failed"): 2.0}
    assert sums(totals, metrics.RETRIES.name) == {("chat", "a"): 1.0, ("chat", "b"): 1.0}
    assert sums(totals, metrics.FALLBACKS.name) == {("chat", "b"): 1.0}


def test_tokens_and_cost_are_known_by_release_and_project() -> None:
    _, totals = told(FELL_BACK)
    assert sums(totals, metrics.TOKENS.name) == {
        ("chat", "b", "input", "rel1", "shop"): 7.0,
        ("chat", "b", "output", "rel1", "shop"): 4.0,
    }
    assert sums(totals, metrics.REQUEST_TOKENS.name)[("chat", "b", "chat", "output")] == 4.0
    assert sums(totals, metrics.COST.name) == {("chat", "b", "rel1", "shop"): 0.005}


def test_an_answer_that_broke_is_the_fault_of_the_attempt_that_gave_it() -> None:
    broken = trail(
        AttemptStarted(100.0, 1, "a", "a-0"),
        FirstChunk(100.5, 1),
        ending=Ending.FAILED,
        code="upstream_disconnected",
    )
    _, totals = told(broken)
    assert list(sums(totals, metrics.ATTEMPTS.name)) == [("chat", "a", "chat", "upstream_disconnected")]
    assert sums(totals, metrics.FALLBACKS.name) == {}


@pytest.mark.parametrize(("stream", "tokens"), [(False, 9), (True, 1), (True, 0)])
def test_what_has_no_time_between_tokens_tells_none(stream: bool, tokens: int) -> None:
    facts = trail(
        AttemptStarted(100.0, 1, "a", "a-0"), FirstChunk(100.5, 1), Counted(Usage(7, tokens)), stream=stream
    )
    summary, totals = told(facts)
    assert summary.between_s is None
    assert sums(totals, metrics.BETWEEN.name) == {}


def test_one_that_was_refused_has_made_no_attempt() -> None:
    summary, totals = told(trail(ending=Ending.FAILED, code="rate_limited"), away_s=0.5)
    assert summary.overhead_s == pytest.approx(1.5)
    assert sums(totals, metrics.ATTEMPTS.name) == {}
    assert list(sums(totals, metrics.DURATION.name)) == [("chat", "", "chat", "rel1", "rate_limited")]


def test_no_histogram_has_more_classic_buckets_than_are_allowed() -> None:
    assert all(len(row.buckets) <= 20 for row in metrics.ROWS if isinstance(row, Histogram))
    with pytest.raises(ValueError, match="1 to 20 buckets"):
        Histogram("h", "", tuple(map(float, range(21))))
