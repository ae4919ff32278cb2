"""The book against a model that keeps every event and adds them all up each time."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.access.book import GRACE_S, Book
from penstock.core.leases import Granted, Hold, Level, Need, Refused
from penstock.core.usage import Entry, Held, Opened, Settled, Tokens

BUCKET_S = 1 / 128
WINDOW_S = 600 * BUCKET_S
"""Exact in binary, so that the model's whole numbers and the book's floats agree at every edge."""
START = 1_760_000_000.0
UNTIL = START + 10_000
COUNTERS = {"slide": Hold.SLIDING, "slide2": Hold.SLIDING, "held": Hold.HELD, "kept": Hold.KEPT}
BOUND = Entry(
    request_id="r", attempt=0, gateway="g", received_at=0, settled_at=0, project="p", key_id="k", service="s",
    model="m", kind="chat", ending="", status=0, tokens=Tokens(), estimated=True, cost_nano=0,
)  # fmt: skip


def need(counter: str, amount: int, limit: int = 10) -> Need:
    hold = COUNTERS[counter.partition(":")[0]]
    return Need(counter, hold, limit, amount, WINDOW_S if hold is Hold.SLIDING else 0.0, UNTIL)


@dataclass
class Event:
    owner: str
    lease: str
    counter: str
    bucket: int
    amount: int
    at: float
    open: bool = True


@dataclass
class Model:
    events: list[Event] = field(default_factory=list)

    def used(self, counter: str, bucket: int) -> int:
        hold = COUNTERS[counter]
        return sum(
            event.amount
            for event in self.events
            if event.counter == counter
            and (hold is not Hold.SLIDING or bucket - event.bucket <= 600)
            and (hold is not Hold.HELD or event.open)
        )

    def reserve(self, owner: str, lease: str, needs: Iterable[Need], bucket: int, now: float) -> bool:
        new = [Event(owner, lease, each.counter, bucket, each.amount, now) for each in needs]
        self.events += new
        if any(each.amount and self.used(each.counter, bucket) > each.limit for each in needs):
            del self.events[len(self.events) - len(new) :]
            return False
        return True

    def settle(self, owner: str, lease: str, used: dict[str, int]) -> None:
        mine = [event for event in self.events if event.open and (event.owner, event.lease) == (owner, lease)]
        for counter in {event.counter for event in mine} & set(used):
            left = used[counter]
            parts = [event for event in mine if event.counter == counter][::-1]
            over = max(left - sum(event.amount for event in parts), 0)
            left -= over
            for event in parts:
                event.amount = min(event.amount, left)
                left -= event.amount
            parts[0].amount += over
        for event in mine:
            event.open = False

    def end(self, owner: str) -> int:
        mine = [event for event in self.events if event.open and event.owner == owner]
        for event in mine:
            event.open, event.amount = False, 0
        return len({event.lease for event in mine})


def view(book: Book, now: float) -> object:
    """All that can be seen of a book: what is used of every counter, when it is back, and the open leases."""
    copy = Book.from_state(book.state())
    leases = sorted((owner, lease, sorted(held, key=repr)) for owner, lease, held in copy.open())
    seen = copy.reserve("probe", "probe", [need(counter, 0, 10**6) for counter in COUNTERS], now)
    return leases, seen.levels


NEEDS = st.builds(
    lambda asked, limits: [need(counter, amount, limits[counter]) for counter, amount in asked],
    st.lists(st.tuples(st.sampled_from(list(COUNTERS)), st.integers(0, 7)), min_size=1, max_size=5),
    st.fixed_dictionaries(dict.fromkeys(COUNTERS, st.integers(3, 12))),
)
USED = st.dictionaries(st.sampled_from(list(COUNTERS)), st.integers(0, 9), max_size=4)
OWNERS = st.sampled_from(["w1", "w2"])
LEASES = st.sampled_from(["a", "b", "c"])
STEPS = st.one_of(
    st.tuples(st.just("wait"), st.sampled_from([1, 2, 7, 100, 300, 598, 599, 600, 601, 2000, -50])),
    st.tuples(st.just("reserve"), OWNERS, LEASES, NEEDS),
    st.tuples(st.just("reserve"), OWNERS, LEASES, NEEDS),
    st.tuples(st.just("settle"), OWNERS, LEASES, USED),
    st.tuples(st.just("end"), OWNERS),
    st.tuples(st.just("reborn")),
)


@settings(max_examples=250, deadline=None)
@given(st.lists(STEPS, max_size=50))
def test_it_does_what_the_model_does_and_so_does_a_book_that_follows(steps: list[tuple]) -> None:
    book, mirror, model = Book(), Book(), Model()
    now, latest = START, 0.0
    for step in steps:
        match step:
            case ("wait", buckets):
                now += buckets * BUCKET_S
            case ("reserve", owner, lease, needs):
                latest = max(latest, now)
                bucket = int(latest / BUCKET_S)
                answer = book.reserve(owner, lease, needs, now)
                assert isinstance(answer, Granted) is model.reserve(owner, lease, needs, bucket, latest)
                if isinstance(answer, Granted):
                    assert answer.at == latest
                    held = tuple(
                        Held(each.counter, each.hold, each.amount, each.window_s, each.until, answer.at)
                        for each in needs
                    )
                    mirror.follow(owner, Opened(lease, BOUND, held))
                else:
                    explained(answer, needs, model, bucket, latest)
            case ("settle", owner, lease, used):
                book.settle(owner, lease, used)
                mirror.follow(owner, Settled(lease, (), used))
                model.settle(owner, lease, used)
            case ("end", owner):
                assert book.end(owner) == mirror.end(owner) == model.end(owner)
            case _:
                book = Book.from_state(book.state())
        seen = Book.from_state(book.state()).reserve("p", "p", [need(each, 0, 999) for each in COUNTERS], now)
        bucket = int(max(latest, now) / BUCKET_S)
        assert [999 - level.remaining for level in seen.levels] == [model.used(each, bucket) for each in COUNTERS]
    # What was refused has moved the clock of the one and not of the other.
    assert view(book, max(latest, now)) == view(mirror, max(latest, now))


def explained(answer: Refused, needs: list[Need], model: Model, bucket: int, now: float) -> None:
    """The tightest does not fit, and the wait is right to the bucket."""
    tight = needs[answer.tightest]
    amount = sum(each.amount for each in needs if each.counter == tight.counter)
    assert model.used(tight.counter, bucket) + amount > tight.limit
    if answer.retry_after == math.inf:
        assert amount > tight.limit
    elif tight.hold is not Hold.SLIDING:
        assert answer.retry_after is None
    else:
        assert answer.retry_after is not None
        then = (now + answer.retry_after) / BUCKET_S
        assert then == int(then) > bucket
        assert model.used(tight.counter, int(then)) + amount <= tight.limit
        assert model.used(tight.counter, int(then) - 1) + amount > tight.limit


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([1.0, 7.3, 60.0, 86400.0]))
def test_no_window_at_any_offset_holds_more_than_the_limit(seed: int, window_s: float) -> None:
    chance, book, limit = random.Random(seed), Book(), 50
    granted: list[tuple[float, int]] = []
    now = START
    for number in range(400):
        now += chance.choice([0, chance.random() * window_s / 40, window_s / 600, window_s / 2 * chance.random()])
        amount = chance.randint(1, 20)
        lease = f"r{number}"
        asked = Need("c", Hold.SLIDING, limit, amount, window_s)
        if isinstance(book.reserve("w", lease, [asked], now), Granted):
            kept = chance.randint(0, amount)
            if chance.random() < 0.5:
                book.settle("w", lease, {"c": kept})
                amount = kept
            granted.append((now, amount))
    for start, _ in granted:
        assert sum(amount for at, amount in granted if start <= at <= start + window_s) <= limit


@pytest.mark.parametrize("window_s", [1.0, 7.3, 60.0, 86400.0])
def test_after_the_wait_it_fits_and_not_before(window_s: float) -> None:
    chance = random.Random(7)
    for _ in range(200):
        book, now = Book(), START + chance.random() * 1e6
        asked = Need("c", Hold.SLIDING, 10, 10, window_s)
        assert isinstance(book.reserve("w", "a", [asked], now), Granted)
        now += chance.random() * window_s
        refused = book.reserve("w", "b", [asked], now)
        assert isinstance(refused, Refused)
        assert refused.retry_after is not None
        assert 0 < refused.retry_after <= window_s * 601 / 600 + 1e-3
        assert refused.levels == (Level(0, refused.retry_after),)
        assert isinstance(book.reserve("w", "b", [asked], now + refused.retry_after - window_s / 6000), Refused)
        assert isinstance(book.reserve("w", "b", [asked], now + refused.retry_after), Granted)


def test_the_tightest_is_the_one_to_wait_longest_for() -> None:
    book = Book()
    later = need("slide2", 5)
    book.reserve("w", "a", [need("slide", 10), need("held", 10), need("kept", 10)], START)
    book.reserve("w", "b", [later], START + 1)
    sliding, held, kept = need("slide", 1), need("held", 1), need("kept", 1)
    refused = [
        book.reserve("w", "c", needs, START + 1)
        for needs in (
            [held, sliding, need("slide2", 6), kept, need("held:2", 11)],
            [held, sliding, need("slide2", 6), kept],
            [held, sliding, need("slide2", 6)],
            [held, sliding],
            [need("slide2", 1), held],
        )
    ]
    assert [each.tightest for each in refused if isinstance(each, Refused)] == [4, 3, 2, 1, 1]
    assert [each.retry_after for each in refused if isinstance(each, Refused)] == [
        math.inf,
        None,
        pytest.approx(WINDOW_S + BUCKET_S),
        pytest.approx(WINDOW_S + BUCKET_S - 1),
        None,
    ]


def test_what_is_empty_is_forgotten() -> None:
    book = Book()
    for number in range(1000):
        names = [f"slide:{number}", f"held:{number}", f"kept:{number}"]
        book.reserve("w", f"{number}", [need(name, 1) for name in names], START)
        book.reserve("w", "no", [need(name, 11) for name in names], START)
        book.settle("w", f"{number}", {names[0]: 0})
    assert len(book) == 2000
    for tick in range(100):
        book.reserve("w", "x", [need("slide", 0)], START + WINDOW_S + 1 + tick / 1000)
    assert len(book) == 1001
    for tick in range(100):
        book.reserve("w", "x", [need("slide", 0)], UNTIL + GRACE_S + tick / 1000)
    assert len(book) == 1
    assert list(Book.from_state(book.state()).open()) == list(book.open())


def test_what_was_used_before_it_began_counts() -> None:
    book = Book()
    past = [
        Held("slide", Hold.SLIDING, 4, WINDOW_S, 0.0, START - 1),
        Held("slide", Hold.SLIDING, 3, WINDOW_S, 0.0, START - 2),
        Held("slide", Hold.SLIDING, 9, WINDOW_S, 0.0, START - 2 * WINDOW_S),
        Held("kept", Hold.KEPT, 2, 0.0, UNTIL, START - 500),
    ]
    book.begin({"kept": (5, UNTIL)})
    book.count(past)
    seen = book.reserve("w", "a", [need("slide", 0), need("kept", 0)], START)
    assert [level.remaining for level in seen.levels] == [3, 3]
    refused = book.reserve("w", "a", [need("slide", 4)], START)
    assert isinstance(refused, Refused)
    assert refused.retry_after == pytest.approx(WINDOW_S - 2, abs=2 * BUCKET_S)


def test_a_request_at_the_very_end_of_a_period_does_not_find_it_empty() -> None:
    book = Book()
    book.reserve("w", "a", [need("kept", 10)], UNTIL - 1)
    assert isinstance(book.reserve("w", "b", [need("kept", 1)], UNTIL + 1), Refused)
