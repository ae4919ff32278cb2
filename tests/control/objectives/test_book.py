"""What is known of objectives is what the store has, however it came to be known."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.control.objectives.book import Book
from penstock.control.objectives.counting import Count
from penstock.store.forgetful_series import ForgetfulSeries
from tests.control.objectives.rows import AVAILABLE, NOON, fed, row


def window(book: Book, since: float, until: float) -> Count:
    return book.windows("assistant", "availability", until, [until - since])[until - since]


PROMISES = {"assistant": [AVAILABLE], "other": [AVAILABLE]}
WINDOWS = (60.0, 300.0, 3600.0, 21600.0, 86400.0, 259200.0)


class Asked(ForgetfulSeries):
    """Counts how much was asked for."""

    asked_s = 0.0

    def series(self, query):  # type: ignore[no-untyped-def]
        self.asked_s += query.until - query.since
        return super().series(query)


step = st.tuples(
    st.floats(1, 4 * 3600.0), st.integers(0, 9), st.integers(0, 9), st.sampled_from(["gw", "b"]), st.booleans()
)


@settings(max_examples=30, deadline=None)
@given(st.lists(step, min_size=1, max_size=12))
def test_reading_on_is_the_same_as_reading_all(steps: list[tuple[float, int, int, str, bool]]) -> None:
    series, book, now = ForgetfulSeries(), Book(PROMISES), NOON
    told = {"gw": NOON, "b": NOON}
    for passed, good, bad, gateway, read in steps:
        now += passed
        # A gateway tells of a time that begins where it ended last.
        at = told[gateway] + (now - told[gateway]) / 2
        told[gateway] = now
        series.append_series([row(at, good, bad, gateway=gateway)], fed(now, gateway))
        if read:
            book.read(series, now)
    book.read(series, now)
    fresh = Book(PROMISES)
    fresh.read(series, now)
    assert book.told == fresh.told == now
    for seconds in WINDOWS:
        # Hours are whole in the one and the other, but may begin at another minute of them.
        if seconds < 86400:
            assert window(book, now - seconds, now) == window(fresh, now - seconds, now)
    assert window(book, NOON - 86400, now) == window(fresh, NOON - 86400, now)
    assert fresh.windows("assistant", "availability", now, WINDOWS) == {
        seconds: window(fresh, now - seconds, now) for seconds in WINDOWS
    }


def test_only_what_is_new_is_read() -> None:
    series, book = Asked(), Book({"assistant": [AVAILABLE]})
    series.append_series([row(NOON - 100, 5)], fed(NOON))
    book.read(series, NOON)
    assert series.asked_s > 29 * 86400
    series.asked_s = 0.0
    book.read(series, NOON + 15)
    assert series.asked_s == 0
    series.append_series([row(NOON + 10, 1, 1)], fed(NOON + 15))
    book.read(series, NOON + 15)
    assert series.asked_s <= 120
    assert window(book, NOON - 300, NOON + 15) == Count(7, 1)


def test_a_gateway_that_was_away_for_long_is_caught_up_with() -> None:
    series, book = ForgetfulSeries(), Book({"assistant": [AVAILABLE]})
    series.append_series([row(NOON - 3 * 86400, 5)], fed(NOON - 3 * 86400, "b"))
    series.append_series([row(NOON - 100, 5)], fed(NOON))
    book.read(series, NOON)
    series.append_series([row(NOON - 2 * 86400, 0, 7, gateway="b")], fed(NOON, "b"))
    book.read(series, NOON + 60)
    assert window(book, NOON - 3 * 86400, NOON + 60).bad == 7


def test_of_one_project() -> None:
    series, book = ForgetfulSeries(), Book({"assistant": [AVAILABLE]}, "p")
    series.append_series([row(NOON - 100, 5), row(NOON - 100, 5, 5, project="q")], fed(NOON))
    book.read(series, NOON)
    assert window(book, NOON - 300, NOON) == Count(5, 0)


def test_minutes_become_hours() -> None:
    series, book = ForgetfulSeries(), Book({"assistant": [AVAILABLE]})
    now = NOON
    for _ in range(50):
        series.append_series([row(now, 10, 1)], fed(now + 60))
        now += 3600
        book.read(series, now)
    assert window(book, NOON - 60, now) == Count(550, 50)
