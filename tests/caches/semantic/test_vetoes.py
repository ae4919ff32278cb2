"""What is never a hit, and what may be: pair by pair."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.caches.semantic.features import COUNT, Rarity, features
from penstock.caches.semantic.profile import profile, stem
from penstock.caches.semantic.vetoes import Veto, veto


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        ("Which foods contain gluten?", "Which foods don't contain gluten?", "negation"),
        ("Is this mushroom edible?", "Is this mushroom inedible?", "contrary"),
        ("How do I cook rice for 4 people?", "How do I cook rice for forty people?", "number"),
        ("Is 1,500 euros enough?", "Is 15,000 euros enough?", "number"),
        ("iPhone 6 battery life", "iPhone 7 battery life", "number"),
        ("How far is 10 km?", "How far is 10 miles?", "unit"),
        ("What opens on Monday?", "What opens on Tuesday?", "kind"),
        ("Should I eat before running?", "Should I eat after running?", "contrary"),
        ("What are tenants liable for?", "What are landlords liable for?", "contrary"),
        ("trains from Paris to Lyon", "trains from Lyon to Paris", "swap"),
        ("Is gold heavier than silver?", "Is silver heavier than gold?", "swap"),
        ("Did Germany invade Poland?", "Did Poland invade Germany?", "swap"),
        ("Who wrote the novel Emma?", "Who wrote the novel Persuasion?", "name"),
        ("What are the benefits of yoga?", "What are the benefits of pilates?", "word"),
        ("When was the bridge built?", "Where was the bridge built?", "question"),
        ("How do I cook rice?", "Wie koche ich Reis?", "language"),
        ("What is tea?", "Что такое чай?", "script"),
    ],
)
def test_these_differ_in_what_an_answer_hangs_on(one: str, other: str, why: Veto) -> None:
    assert veto(profile(one), profile(other)) == why
    assert veto(profile(other), profile(one)) == why


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("How do I cook rice for 4 people?", "How can I cook rice for four people?"),
        ("Is 1,500 euros enough?", "Would 1500 € be enough?"),
        ("a walk of twenty-one kilometres", "a walk of 21 km"),
        ("How do I avoid a cold?", "How do I not catch a cold?"),
        ("What happened on July 4, 1776?", "What happened on 4 July 1776?"),
        ("What is the capital of the United Kingdom?", "What is the capital of the UK?"),
        ("What is the difference between tea and coffee?", "What is the difference between coffee and tea?"),
        ("How do I fix a leaking tap?", "How do I repair a leaking tap?"),
        ("What comes after the war?", "What came after the war?"),
        ("In 1998, who won the cup?", "Who won the cup in 1998?"),
        ("What time does it open?", "When does it open?"),
        ("HOW DO I COOK RICE", "how do i cook rice"),
    ],
)
def test_these_may_be_the_same(one: str, other: str) -> None:
    assert veto(profile(one), profile(other)) is None


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_two_texts_can_be_compared(one: str, other: str) -> None:
    a, b = profile(one), profile(other)
    assert veto(a, a) is None
    assert veto(a, b) == veto(b, a)
    rarity = Rarity()
    rarity.meet(a.bag)
    found = features(a, b, 0.5, rarity)
    assert len(found) == COUNT
    assert all(abs(each) < 60_000 for each in found)


@pytest.mark.parametrize(
    ("word", "root"),
    [
        ("cats", "cat"),
        ("studies", "study"),
        ("stopped", "stop"),
        ("running", "run"),
        ("glass", "glass"),
        ("is", "is"),
    ],
)
def test_stems(word: str, root: str) -> None:
    assert stem(word) == root


def test_numbers_are_read_in_words_and_digits() -> None:
    text = "one hundred and 2,500.75 of 3k and two million, 1st, a dozen, 12:30, mp3"
    assert profile(text).numbers == {"100", "2500.75", "3000", "2000000", "1", "12", "12:30", "3"}


def test_rare_words_weigh_more_and_memory_of_words_is_bounded() -> None:
    rarity = Rarity()
    for _ in range(100):
        rarity.meet({"the"})
    rarity.meet({"gluten"})
    weights = rarity.weights({"the", "gluten", "unheard"})
    assert weights["the"] < 0.1 < weights["gluten"] < weights["unheard"] < 9
    for at in range(0, 260_000, 1000):
        rarity.meet({"the", *(str(number) for number in range(at, at + 1000))})
    assert len(rarity.met) <= 200_000
    assert rarity.weights({"the"})["the"] < 0.1
