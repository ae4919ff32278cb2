"""When two answers are the same, by their texts; and what a judge is asked and heard."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.caches.semantic.agreement import MOST_SHOWN, equal, judge_messages, judged, plain


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Canberra.", "canberra"),
        ("It's **Canberra**!", "Its Canberra"),
        ("a\n\n- one\n- two", "A one two"),
        ("“Yes,” he said.", "yes he said"),
        ("straße", "STRASSE"),
        ("e\u0301t\u00e9", "\u00e9te\u0301"),
    ],
)
def test_case_white_space_and_punctuation_are_nothing(first: str, second: str) -> None:
    assert equal(first, second)
    assert equal(second, first)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("3.5", "35"),
        ("3.5", "3 5"),
        ("-5 degrees", "5 degrees"),
        ("$5", "€5"),
        ("5%", "5"),
        ("10:30", "1030"),
        ("5²", "52"),
        ("Canberra", "Sydney"),
        ("a < b", "a > b"),
        ("", ""),
        ("...", "!?"),
        ("   ", "   "),
    ],
)
def test_what_says_something_else_or_nothing_is_not_the_same(first: str, second: str) -> None:
    assert not equal(first, second)


@given(st.text(max_size=60))
def test_a_text_is_plain_after_once(text: str) -> None:
    assert plain(plain(text)) == plain(text)
    assert plain(f"  {text}\n") == plain(text)


@given(st.lists(st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True), min_size=1, max_size=8))
def test_the_order_of_words_counts(words: list[str]) -> None:
    other = [*words[1:], words[0]]
    assert equal(" ".join(words), ", ".join(words).upper()) or any(word[-1:].isdigit() for word in words)
    assert equal(" ".join(words), " ".join(other)) == (words == other)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("Both say Canberra.\n\nVERDICT: SAME", True),
        ("verdict: different", False),
        ("**VERDICT:** SAME", True),
        ("At first VERDICT: SAME, but the year differs.\nVERDICT: DIFFERENT", False),
        ("SAME", None),
        ("", None),
        ("VERDICT: SAMEISH", None),
    ],
)
def test_the_last_verdict_holds(answer: str, said: bool | None) -> None:
    assert judged(answer) is said


def test_a_judge_sees_the_question_and_both_answers_apart() -> None:
    system, user = judge_messages("Capital?", "Canberra", "x" * (MOST_SHOWN + 1) + "end")
    assert (system["role"], user["role"]) == ("system", "user")
    assert "VERDICT: SAME" in system["content"]
    assert "<question>\nCapital?\n</question>" in user["content"]
    assert "<first>\nCanberra\n</first>" in user["content"]
    assert "[...]" in user["content"]
    assert user["content"].rstrip().endswith("end\n</second>")
    assert len(user["content"]) < MOST_SHOWN + 200
