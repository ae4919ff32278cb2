"""What one answer is worth."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as some

from penstock.core.errors import PenstockError
from penstock.core.releases import Scorer
from penstock.quality import scorers
from penstock.quality.config import (
    FeedbackSettings,
    FormatSettings,
    JudgeSettings,
    NoSettings,
    ScorerSettings,
    SimilaritySettings,
    measure,
    settings_of,
)

_ALL: list[tuple[Scorer, ScorerSettings | None, float | None]] = [
    ("success", None, None),
    ("latency", None, 2.5),
    ("speed", None, 20.0),
    ("cost", None, 0.01),
    ("format", FormatSettings(json_schema={"type": "object", "required": ["a"]}, max_chars=10), None),
    ("similarity", SimilaritySettings(service="embed", text="Kind regards"), None),
    ("judge", JudgeSettings(service="judge", rubric="Short and right."), None),
    ("feedback", FeedbackSettings(name="thumb"), None),
]


@pytest.mark.parametrize(("scorer", "settings", "bound"), _ALL)
def test_the_settings_of_a_measure_come_back_as_they_were(
    scorer: Scorer, settings: ScorerSettings | None, bound: float | None
) -> None:
    made = measure("m", scorer, settings, bound)

    assert settings_of(scorer, made.settings) == (settings or NoSettings())
    assert made == measure("m", scorer, settings, bound)


def test_a_version_is_of_scorer_settings_and_bound_and_not_of_the_name() -> None:
    versions = {measure("m", *each).version for each in _ALL}

    assert len(versions) == len(_ALL)
    assert measure("other", "latency", bound=2.5).version in versions
    assert measure("m", "latency", bound=2.6).version not in versions
    assert measure("m", "format", FormatSettings(json=True)).version not in versions


@pytest.mark.parametrize(
    ("scorer", "settings", "bound"),
    [
        ("latency", None, None),
        ("latency", None, 0.0),
        ("latency", None, math.nan),
        ("success", None, 1.0),
        ("format", None, None),
        ("format", FormatSettings(regex="("), None),
        ("format", FormatSettings(json_schema={"typo": 1}), None),
        ("similarity", SimilaritySettings(service="embed"), None),
        ("judge", FeedbackSettings(name="thumb"), None),
        ("feedback", FeedbackSettings(name="stars", low=1.0, high=1.0), None),
    ],
)
def test_what_cannot_score_is_refused_before_a_rollout_starts(
    scorer: Scorer, settings: ScorerSettings | None, bound: float | None
) -> None:
    with pytest.raises(PenstockError):
        measure("m", scorer, settings, bound)


def test_bounds() -> None:
    assert (scorers.latency(2.0, 2.0), scorers.latency(2.01, 2.0)) == (1.0, 0.0)
    assert (scorers.speed(40, 2.0, 20.0), scorers.speed(39, 2.0, 20.0)) == (1.0, 0.0)
    assert [scorers.cost(dollars, 0.04) for dollars in (0.0, 0.01, 0.04, 1.0)] == [1.0, 0.75, 0.0, 0.0]
    assert (scorers.success(failed=False), scorers.success(failed=True)) == (1.0, 0.0)


@given(vector=some.lists(some.floats(-10, 10), min_size=2, max_size=5), scale=some.floats(0.1, 10))
def test_similarity_is_of_the_direction(vector: list[float], scale: float) -> None:
    score = scorers.similarity(vector, [each * scale for each in vector])

    assert 0 <= score <= 1
    assert score == pytest.approx(1.0) or sum(map(abs, vector)) < 1e-100


def test_vectors_that_have_nothing_in_common_score_0() -> None:
    assert scorers.similarity([1, 0], [0, 1]) == 0.0
    assert scorers.similarity([1, 0], [-1, 0]) == 0.0
    assert scorers.similarity([0, 0], [1, 0]) == 0.0
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        scorers.similarity([1, 0, 0], [1, 0])


@pytest.mark.parametrize(
    ("settings", "good", "bad"),
    [
        (FormatSettings(json=True), ' {"a": [1]}\n', '```json\n{"a": 1}\n```'),
        (FormatSettings(json=True), "1", "NaN"),
        (FormatSettings(json=True), "{}", ""),
        (FormatSettings(json_schema={"required": ["a"], "type": "object"}), '{"a": 1}', '{"b": 1}'),
        (FormatSettings(json_schema={"type": "array"}), "[]", "not JSON"),
        (FormatSettings(regex=r"^\d{4}$"), "2026", "in 2026"),
        (FormatSettings(min_chars=3, max_chars=5), " abc  ", "      "),
        (FormatSettings(max_chars=5), "12345", "123456"),
    ],
)
def test_the_form_of_a_reply(settings: FormatSettings, good: str, bad: str) -> None:
    form = scorers.Form(settings)

    assert (form.score(good), form.fault(good)) == (1.0, "")
    assert form.score(bad) == 0.0
    assert form.fault(bad)


def test_json_of_any_depth_is_survived() -> None:
    assert scorers.Form(FormatSettings(json=True)).score("[" * 100_000 + "]" * 100_000) == 0.0


def test_feedback_lies_between_its_ends_either_way() -> None:
    stars = FeedbackSettings(name="stars", low=1, high=5)
    minutes = FeedbackSettings(name="minutes", low=10, high=0)

    assert [scorers.feedback(value, stars) for value in (1, 4, 5, 9)] == [0, 0.75, 1, 1]
    assert [scorers.feedback(value, minutes) for value in (0, 5, 20)] == [1, 0.5, 0]


_JUDGE = JudgeSettings(service="judge", rubric="Short and right.", scale=5, max_chars=200)


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("Right, but long.\nGRADE: 4", 0.75),
        ("**Grade: 5**", 1.0),
        ("GRADE: 1", 0.0),
        ("GRADE: 2? No.\nGRADE: 3", 0.5),
        ("GRADE: 6", None),
        ("GRADE: 0", None),
        ("GRADE: 4.5", None),
        ("Four out of five.", None),
        ("", None),
    ],
)
def test_a_grade_counts_when_it_is_one(answer: str, score: float | None) -> None:
    assert scorers.judged(_JUDGE, answer) == score


def test_a_judge_sees_the_rubric_and_the_ends_of_what_is_long() -> None:
    system, user = scorers.judge_messages(_JUDGE, "Why?", "begin" + "x" * 1000 + "end")

    assert (system["role"], user["role"]) == ("system", "user")
    assert "Short and right." in system["content"]
    assert "from 1 (as bad as can be) to 5" in system["content"]
    assert "<request>\nWhy?\n</request>" in user["content"]
    assert "<reply>\nbegin" in user["content"]
    assert "end\n</reply>" in user["content"]
    assert len(user["content"]) < 300
