"""Whether a change may be merged, by a golden set."""

from __future__ import annotations

from random import Random

from penstock.core.releases import Gate
from penstock.quality.golden import Check, Row, check, report

GATES = (Gate(metric="format"), Gate(metric="similarity", margin=0.1))


def _rows(count: int, *, candidate: float, champion: float, seed: int = 1) -> list[Row]:
    random = Random(seed)

    def scores(mean: float, hard: float) -> dict[str, float]:
        return {"format": float(hard < mean), "similarity": mean * (1 - hard / 4)}

    return [
        Row(id=f"row-{at}", candidate=scores(candidate, hard), champion=scores(champion, hard))
        for at, hard in enumerate(random.random() for _ in range(count))
    ]


def _says(found: Check) -> list[str]:
    return [each.says for each in found.outcomes]


def test_the_same_answers_pass_once_there_are_enough_of_them() -> None:
    assert _says(check(_rows(200, candidate=0.8, champion=0.8), GATES)) == ["passed", "passed"]
    assert check(_rows(200, candidate=0.8, champion=0.8), GATES).passed
    few = check(_rows(10, candidate=0.8, champion=0.8), GATES)
    assert not few.passed
    assert _says(few) == ["open", "open"]
    assert few.outcomes[0].more_rows


def test_what_is_worse_fails_and_the_report_shows_where() -> None:
    found = check(_rows(300, candidate=0.6, champion=0.9), GATES)

    assert not found.passed
    assert _says(found) == ["worse", "worse"]
    text = report(found, candidate="rel_b", champion="rel_a")
    assert "300 rows of a golden set: rel_b against rel_a" in text
    assert "format: rows that the candidate lost by most" in text
    assert ": 0.00 against 1.00" in text
    assert text.endswith("FAILED: format is worse; similarity is worse.\n")
    (line,) = (line for line in text.splitlines() if line.startswith("format "))
    assert line.endswith("WORSE")


def test_too_few_rows_are_no_verdict() -> None:
    found = check(_rows(8, candidate=0.9, champion=0.9), GATES)

    assert not found.passed
    assert "UNDECIDED: format may be worse" in report(found, candidate="b", champion="a")


def test_a_row_without_a_score_fails_the_check() -> None:
    rows = _rows(300, candidate=0.9, champion=0.9)
    rows[7] = Row(id="row-7", candidate={"format": 1.0}, champion=rows[7].champion)

    found = check(rows, GATES)

    assert not found.passed
    assert _says(found) == ["passed", "passed"]
    assert "FAILED: similarity has no score of 1 rows." in report(found, candidate="b", champion="a")


def test_nothing_to_compare_does_not_pass() -> None:
    assert not check([], GATES).passed
    assert not check(_rows(300, candidate=0.9, champion=0.9), ()).passed
    assert "FAILED: there is no metric" in report(check([], ()), candidate="b", champion="a")


def test_a_candidate_that_is_worse_by_the_margin_rarely_passes() -> None:
    gate = (Gate(metric="format", margin=0.1),)

    passed = sum(check(_rows(150, candidate=0.8, champion=0.9, seed=seed), gate).passed for seed in range(100))

    # Of 100 that pass in at most 5 % of the cases, 13 or more do once in 800 times.
    assert passed <= 12


def test_a_check_that_passes_says_so() -> None:
    found = check(_rows(300, candidate=0.9, champion=0.85), GATES)

    assert found.passed
    assert report(found, candidate="b", champion="a").endswith(
        "PASSED: in no metric is the candidate worse by the margin.\n"
    )
