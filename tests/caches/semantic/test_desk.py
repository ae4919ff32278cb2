"""A desk: learns, keeps the bound, explains itself, and begins again where it was."""

from __future__ import annotations

import numpy as np
import pytest

from penstock.caches.semantic import desk as desks
from penstock.caches.semantic.control import Limits
from penstock.caches.semantic.desk import Desk
from penstock.caches.semantic.state import Unreadable, restored, saved
from tests.caches.semantic.stream import Pair, bags, candidate, stream, taught

LIMITS = Limits(max_error=0.05, first_labels=300)
PAIRS = stream(1500, seed=3)
MORE = [
    Pair("How do I clean a kite?", "How can I clean a kite?", same=True),
    Pair("How do I clean a kite in 2 hours?", "How can I clean a kite in 3 hours?", same=False),
    Pair("How do I clean a kite?", "Who makes a wheelbarrow?", same=False),
]
VECTORS = bags([text for pair in PAIRS + MORE for text in (pair.asked, pair.answered)])
WIDE = len(next(iter(VECTORS.values())))


@pytest.fixture(scope="module")
def used() -> tuple[Desk, list[tuple[bool, bool]]]:
    desk = Desk(LIMITS, WIDE)
    return desk, taught(desk, PAIRS, VECTORS, seed=4)


def test_it_learns_to_hit_and_keeps_the_bound(used: tuple[Desk, list[tuple[bool, bool]]]) -> None:
    desk, found = used
    wrong = np.cumsum([each for _, each in found])
    asked = np.arange(1, len(found) + 1)
    assert not any(hit for hit, _ in found[:300])
    assert sum(hit for hit, _ in found[-500:]) > 100
    assert (wrong <= 0.05 * asked).all()
    figures = desk.figures()
    assert figures.requests == len(found)
    assert figures.wrong_seen <= wrong[-1] <= figures.wrong_at_most <= 0.05 * len(found) + 1


def test_it_says_why(used: tuple[Desk, list[tuple[bool, bool]]]) -> None:
    desk = restored(LIMITS, WIDE, saved(used[0]))
    same, other_number, other = [desk.decide(candidate(pair, VECTORS), 0.999) for pair in MORE]
    assert (same.hit, same.reason) == (True, "serves")
    assert same.risk < 0.2
    assert (other_number.hit, other_number.reason, other_number.risk) == (False, "number", 1.0)
    assert (other.hit, other.reason) == (False, "risk")
    assert desk.alone().reason == "alone"
    new = Desk(LIMITS, WIDE)
    assert new.decide(candidate(MORE[0], VECTORS), 0.0).reason == "learning"


def test_the_coin_decides_about_an_audit(used: tuple[Desk, list[tuple[bool, bool]]]) -> None:
    desk = restored(LIMITS, WIDE, saved(used[0]))
    below = desk.decide(candidate(MORE[0], VECTORS), 0.0)
    above = desk.decide(candidate(MORE[0], VECTORS), 0.999)
    assert below.hit
    assert above.hit
    assert (below.audited, above.audited) == (True, False)
    assert 0.05 <= below.probability < 1


def test_hits_stop_while_the_bound_is_at_its_limit(used: tuple[Desk, list[tuple[bool, bool]]]) -> None:
    desk = restored(LIMITS, WIDE, saved(used[0]))
    for _ in range(2000):
        verdict = desk.decide(candidate(MORE[0], VECTORS), 0.0)
        if not verdict.hit:
            break
        # Audits come to no end: each counts as wrong until it does, and by more than 1 where it stands for others.
        assert desk.figures().wrong_at_most <= LIMITS.max_error * desk.requests + 1
    assert verdict.reason == "bound"


def test_an_entry_that_was_wrong_is_distrusted(used: tuple[Desk, list[tuple[bool, bool]]]) -> None:
    desk = restored(LIMITS, WIDE, saved(used[0]))
    risks = []
    while (verdict := desk.decide(candidate(MORE[0], VECTORS), 0.0)).hit:
        risks.append(verdict.risk)
        desk.learn(verdict.ticket, same=False)
    assert verdict.reason == "risk"
    assert 1 <= len(risks) <= 4
    assert risks == sorted(risks)
    other = Pair("How can I repair a kite?", "How do I repair a kite?", same=True)
    vectors = VECTORS | bags([other.asked, other.answered])
    assert desk.decide(candidate(other, vectors), 0.0).hit, "others are trusted as before"


def test_a_word_from_outside_teaches_and_proves_nothing(used: tuple[Desk, list[tuple[bool, bool]]]) -> None:
    desk = restored(LIMITS, WIDE, saved(used[0]))
    hit = desk.decide(candidate(MORE[0], VECTORS), 0.999)
    before = desk.figures()
    desk.learn(hit.ticket, same=False)
    after = desk.figures()
    assert (after.audits, after.wrong_seen) == (before.audits, before.wrong_seen)
    assert after.labels == before.labels + 1
    desk.learn(hit.ticket, same=False)
    desk.learn(10**9, same=True)
    assert desk.figures().labels == after.labels, "a ticket teaches once"


def test_a_lost_audit_stays_wrong(used: tuple[Desk, list[tuple[bool, bool]]]) -> None:
    desk = restored(LIMITS, WIDE, saved(used[0]))
    before = desk.figures().wrong_seen
    hit = desk.decide(candidate(MORE[0], VECTORS), 0.0)
    assert hit.audited
    desk.lost(hit.ticket)
    assert desk.figures().wrong_seen == before + 1


def test_a_ceiling_per_hit_holds_too() -> None:
    limits = Limits(max_error=0.05, max_wrong_per_hit=0.02, first_labels=300)
    desk = Desk(limits, WIDE)
    taught(desk, PAIRS, VECTORS, seed=5)
    figures = desk.figures()
    assert figures.hits > 50
    assert figures.wrong_at_most <= 0.02 * figures.hits + 5


def test_it_goes_on_as_if_it_had_not_been_away(used: tuple[Desk, list[tuple[bool, bool]]]) -> None:
    desk = Desk(LIMITS, WIDE)
    taught(desk, PAIRS[:900], VECTORS, seed=6)
    again = restored(LIMITS, WIDE, saved(desk))
    assert again.figures() == desk.figures()
    assert taught(again, PAIRS[900:], VECTORS, seed=7) == taught(desk, PAIRS[900:], VECTORS, seed=7)
    assert again.figures() == desk.figures()


def test_bytes_of_something_else_are_refused(used: tuple[Desk, list[tuple[bool, bool]]]) -> None:
    data = saved(used[0])
    with pytest.raises(Unreadable, match="dimensions"):
        restored(LIMITS, WIDE + 1, data)
    for damaged in (b"", data[:-5], b"\x93\x01\x02\x03"):
        with pytest.raises(Unreadable):
            restored(LIMITS, WIDE, damaged)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desks, "LABELS", 400)
    monkeypatch.setattr(desks, "WINDOW", 200)
    monkeypatch.setattr(desks, "OPEN", 50)
    desk = Desk(Limits(max_error=0.05, first_labels=300), WIDE)
    taught(desk, PAIRS[:800], VECTORS, seed=8)
    for pair in PAIRS[:200]:
        desk.decide(candidate(pair, VECTORS), 0.5)
    assert len(desk.labels) == len(desk.labels.rows) == 400
    assert len(desk.window) == len(desk.window.rows) == 200
    kept = desk.labels.kept()[0]
    assert (kept[-1] == desk.labels.rows[(desk.labels.added - 1) % 400]).all()
    again = restored(desk.limits, WIDE, saved(desk))
    assert (again.labels.kept()[0] == kept).all()
    assert (again.window.rows == desk.window.rows).all()
