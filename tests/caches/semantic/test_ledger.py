"""The bound on wrong hits: what it may never do, whoever chooses which hits are wrong."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.caches.semantic.control import Limits, audited
from penstock.caches.semantic.ledger import Audit, Ledger

Adversary = Callable[[int, Ledger, int], bool]


def early(at: int, ledger: Ledger, wrong: int) -> bool:
    return at < 400


def late(at: int, ledger: Ledger, wrong: int) -> bool:
    return at > 500 and at % 3 == 0


def bursts(at: int, ledger: Ledger, wrong: int) -> bool:
    return at // 100 % 5 == 4


def while_unseen(at: int, ledger: Ledger, wrong: int) -> bool:
    """Goes on as long as audits have found less than there is."""
    return wrong > ledger.estimate


def while_seen(at: int, ledger: Ledger, wrong: int) -> bool:
    return wrong <= ledger.estimate


def rare(at: int, ledger: Ledger, wrong: int) -> bool:
    return at % 50 == 0


ADVERSARIES = (early, late, bursts, while_unseen, while_seen, rare)


@pytest.mark.parametrize("risk", [0.0, 0.12, 0.9])
@pytest.mark.parametrize("adversary", ADVERSARIES, ids=lambda each: each.__name__)
def test_the_truth_is_never_above_the_bound_in_95_of_100_runs(adversary: Adversary, risk: float) -> None:
    # Five of a hundred may fail; five of twelve would be a chance of less than one in five thousand.
    assert sum(_fails(adversary, risk, seed, 800) for seed in range(12)) < 5


@pytest.mark.slow
@pytest.mark.parametrize("adversary", ADVERSARIES, ids=lambda each: each.__name__)
def test_the_truth_is_never_above_the_bound_in_95_of_100_long_runs(adversary: Adversary) -> None:
    assert sum(_fails(adversary, 0.1, seed, 4000) for seed in range(200)) <= 10 + 8


def _fails(adversary: Adversary, risk: float, seed: int, hits: int) -> bool:
    random = np.random.default_rng(seed)
    ledger, limits, wrong = Ledger(0.05), Limits(max_error=0.5), 0
    for at in range(hits):
        audit = Audit(audited(limits, at), risk)
        is_wrong = adversary(at, ledger, wrong)
        seen = bool(random.random() < audit.probability)
        ledger.enter(audit, seen)
        wrong += is_wrong
        if seen:
            ledger.close(audit, is_wrong)
        if at % 25 == 0 and wrong > ledger.upper():
            return True
    return wrong > ledger.upper()


@given(st.lists(st.booleans(), max_size=60), st.floats(0, 1))
def test_with_every_hit_audited_it_is_the_count(wrong: list[bool], risk: float) -> None:
    ledger = Ledger(0.05)
    for each in wrong:
        ledger.enter(Audit(1.0, risk), audited=True)
        ledger.close(Audit(1.0, risk), each)
    assert ledger.upper() == ledger.wrong_seen == sum(wrong)
    assert ledger.estimate == pytest.approx(sum(wrong))


@given(st.lists(st.tuples(st.sampled_from([1.0, 0.9, 0.5, 0.2, 0.05]), st.booleans(), st.booleans()), max_size=60))
@settings(deadline=None)
def test_it_lies_between_what_is_known_and_what_is_possible(hits: list[tuple[float, bool, bool]]) -> None:
    ledger, possible = Ledger(0.05), 0
    for probability, seen, wrong in hits:
        audit = Audit(probability, 0.1)
        seen = seen or probability == 1.0
        ledger.enter(audit, seen)
        if seen:
            ledger.close(audit, wrong)
        possible += wrong or not seen
        assert ledger.wrong_seen <= ledger.upper() <= possible


def test_an_audit_counts_as_wrong_until_it_has_ended() -> None:
    for probability in (1.0, 0.3):
        ledger, audit = Ledger(0.05), Audit(probability, 0.1)
        for _ in range(3):
            ledger.enter(audit, audited=True)
        assert ledger.upper() == 3
        ledger.close(audit, wrong=False)
        assert ledger.upper() == 2
        again = Ledger(0.05, ledger.state())
        assert again.upper() == 2, "what was open when the state was taken is lost, and stays wrong"


def test_within_says_what_upper_says() -> None:
    random = np.random.default_rng(3)
    ledger, audit = Ledger(0.05), Audit(0.25, 0.05)
    for _ in range(400):
        seen = bool(random.random() < audit.probability)
        ledger.enter(audit, seen)
        if seen:
            ledger.close(audit, bool(random.random() < 0.05))
        limit = float(random.integers(0, 60))
        assert not (ledger.within(limit) and ledger.upper() > limit)
        assert ledger.within(limit) == (ledger.upper() <= limit)


def test_a_predicted_risk_makes_it_tighter() -> None:
    """Audits of hits that are as risky as was said tell more than audits of hits of which nothing was said."""
    bounds = {}
    for told in (0.2, 0.0):
        random = np.random.default_rng(1)
        ledger, audit = Ledger(0.05), Audit(0.2, told)
        for _ in range(1500):
            seen, wrong = random.random() < audit.probability, random.random() < 0.2
            ledger.enter(audit, bool(seen))
            if seen:
                ledger.close(audit, bool(wrong))
        bounds[told] = ledger.upper()
    assert bounds[0.2] < bounds[0.0]
