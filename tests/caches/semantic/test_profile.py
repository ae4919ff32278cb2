"""What is kept of a text: whatever it is made of, and in no longer than a text of its length should take."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.caches.semantic import lexicon
from penstock.caches.semantic.profile import profile
from penstock.caches.semantic.vetoes import veto

PARTS = st.sampled_from(
    [
        *lexicon.NUMBERS,
        *lexicon.MULTIPLIERS,
        *lexicon.ORDINALS,
        *lexicon.UNITS,
        "k",
        "may",
        "1,000.5",
        "10:30",
        "%",
        "x",
    ]
)


@given(st.lists(PARTS | st.text(max_size=4), max_size=60), st.lists(PARTS, max_size=20))
def test_no_text_is_too_odd(words: list[str], others: list[str]) -> None:
    veto(profile(" ".join(words)), profile(" ".join(others)))


def test_a_number_may_be_as_large_as_somebody_writes_it() -> None:
    assert profile("one million million").numbers == profile("1000000000000").numbers
    assert profile("one " + "million " * 166).numbers
    assert profile("9" * 2000).numbers


@pytest.mark.parametrize("part", ["to bake bread ", "cat from dog ", "one million ", "a.", "not "])
def test_a_text_made_to_take_long_takes_no_longer(part: str) -> None:
    text = (part * 2000)[:2000]
    took: list[float] = []
    for _ in range(5):
        began = time.perf_counter()
        veto(profile(text), profile(f"{text} x"))
        took.append(time.perf_counter() - began)
    assert min(took) < 0.03
