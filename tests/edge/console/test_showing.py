"""How pages write numbers, money, times and addresses; and how it goes, in one sentence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.control.observed.views import GatewayView
from penstock.edge.console import showing
from penstock.edge.console.assets import Assets, shipped
from penstock.edge.console.health import health
from tests.edge.console.canned import NOW, alert, overview, point


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (999, "999"), (12408, "12\u202f408"), (2_118_440, "2.12 M"), (3e9, "3.00 G"), (4.2e12, "4.20 T")],
)
def test_counts(value: float, text: str) -> None:
    assert showing.count(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("0", "$0.00"),
        ("18.423107", "$18.42"),
        ("1234.5", "$1,234.50"),
        ("0.0012", "$0.0012"),
        ("0.000000123", "$0.00000012"),
        ("0.000000001", "$0.000000001"),
        ("-2.5", "-$2.50"),
        ("0.5", "$0.50"),
    ],
)
def test_money_keeps_two_digits_that_say_something(value: str, text: str) -> None:
    assert showing.money(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0004, "0 µs"), (0.25, "250 µs"), (4.2, "4.2 ms"), (843, "843 ms"), (2529, "2.53 s"), (63_000, "1 min 3 s"), (7_320_000, "2 h 2 min"), (90_000_000, "1 d 1 h")],
)  # fmt: skip
def test_lengths(value: float, text: str) -> None:
    assert showing.ms(value) == text


def test_what_nobody_knows_is_a_word() -> None:
    for write in (
        showing.count,
        showing.money,
        showing.ms,
        showing.share,
        showing.rate,
        showing.size,
        showing.seconds,
    ):
        assert write(None) == showing.UNKNOWN
    assert showing.money("") == showing.UNKNOWN
    assert showing.money("much") == showing.UNKNOWN


@given(st.floats(0, 1e9))
def test_a_length_never_fails_and_never_tells_sixty_of_a_unit(value: float) -> None:
    text = str(showing.ms(value))
    assert " 60 s" not in f" {text}"
    assert text[0].isdigit()


def test_a_time_is_written_for_its_reader_and_for_machines() -> None:
    text = showing.time(NOW, "full")
    assert 'data-at="1790000000.000"' in text
    assert "2026-09-21 14:13:20 UTC" in text
    assert "none" in showing.time(None)


def test_an_address_holds_what_was_asked_and_no_more() -> None:
    assert showing.link("/requests", service="a b&c", since=None, until="", from_=0) == (
        "/console/requests?service=a+b%26c&from=0"
    )
    assert showing.link("/", path="x") == "/console/?path=x"
    assert showing.link('/a"b') == "/console/a%22b"


def test_a_change_against_nothing_says_nothing() -> None:
    assert showing.change(3, 2) == 0.5
    assert showing.change(3, 0) is None
    assert showing.change(None, 3) is None


# -- how it goes -------------------------------------------------------------------------------------------------


def test_the_worst_comes_first() -> None:
    down = tuple(
        type(each)(service=each.service, ready=False, state="down", releases={}, now=each.now, before=None)
        for each in overview().services
    )
    failing = point(requests=100, failed=20)
    gone = (GatewayView(id="gw-b", alive=False, told_until=None, shed=0),)
    everything = {"alerts": (alert(),), "total": failing, "gateways": gone}
    cases = [
        (overview(stale_since=NOW, services=down, **everything), "unknown", "Unknown."),
        (overview(services=down, **everything), "bad", "No service can answer."),
        (overview(services=(*down[:1], *overview().services[1:]), **everything), "bad", "chat cannot answer."),
        (overview(**everything), "bad", "20.0 % of requests fail."),
        (overview(alerts=(alert(),), gateways=gone), "bad", "chat misses its objective availability."),
        (overview(gateways=gone), "warn", "Nothing is heard of gw-b."),
        (overview(alerts=(alert(severity="ticket", kind="shed", text="slow."),)), "warn", "slow."),
        (overview(total=point(requests=1000, failed=20)), "warn", "2.0 % of requests fail."),
        (overview(total=None), "unknown", "Nothing is known yet."),
        (overview(services=()), "quiet", "Nothing is served yet."),
        (overview(), "good", "All 3 services answer."),
    ]  # fmt: skip
    for seen, kind, text in cases:
        found = health(seen, "1h")
        assert (found.kind, found.text) == (kind, text)


def test_an_alert_that_is_over_or_silenced_wants_nobody() -> None:
    quiet = (alert(resolved_at=NOW), alert(silenced_until=NOW + 60))
    assert health(overview(alerts=quiet), "1h").kind == "good"


def test_no_requests_are_said_to_be_none() -> None:
    still = point(requests=0, failed=0, duration=None)
    assert health(overview(total=still), "24h").more == "No requests in the last 24 hours."


# -- files -------------------------------------------------------------------------------------------------------


def test_the_address_of_files_changes_with_any_of_them() -> None:
    one, other = Assets({"a.css": b"x", "b.js": b"y"}), Assets({"a.css": b"x", "b.js": b"z"})
    assert one.url("a.css") != other.url("a.css")
    assert Assets({"a.css": b"x", "b.js": b"y"}).url("a.css") == one.url("a.css")
    with pytest.raises(LookupError, match="no file"):
        one.url("../a.css")


def test_what_comes_along_says_whose_it_is() -> None:
    names = shipped()._files
    libraries = [name for name in names if name.startswith("vendor/") and not name.endswith(".txt")]
    assert libraries
    for library in libraries:
        stem = library.removesuffix(".css").removesuffix(".js").removesuffix(".min")
        assert f"{stem}.LICENSE.txt" in names
    assert b"https://" not in names["js/app.js"]
