"""Which price a model has, and that the shipped ones can be read."""

from __future__ import annotations

import datetime
import time

import pytest

from penstock.access.hosts import host_of
from penstock.access.prices import PriceList
from penstock.core.money import Price, Rates

NOW = datetime.datetime(2026, 11, 21, tzinfo=datetime.UTC).timestamp()


def own(model: str, rate: int, since: float = 0.0) -> Price:
    return Price(model=model, since=since, rates=Rates(input=rate))


def found(prices: PriceList, *names: str, at: float = NOW) -> int | None:
    price = prices.find(names, at)
    return None if price is None else price.rates.input


def test_the_newest_price_that_has_begun_holds() -> None:
    prices = PriceList([own("m", 3, 300.0), own("m", 1, 100.0), own("m", 2, 200.0)])
    assert [found(prices, "m", at=at) for at in (99.9, 100.0, 199.9, 200.0, 300.0, 1e9, 150.0, 50.0)] == [
        None,
        1,
        1,
        2,
        3,
        3,
        1,
        None,
    ]


def test_an_operators_price_is_better_than_a_shipped_one_from_when_it_begins() -> None:
    prices = PriceList([own("gpt-4.1", 7, NOW + 10)])
    assert found(prices, "gpt-4.1") == 2_000_000
    assert found(prices, "gpt-4.1", at=NOW + 10) == 7
    assert found(prices, "gpt-4.1", at=NOW + 9) == 2_000_000


def test_the_first_name_is_better_and_any_exact_one_better_than_an_alias() -> None:
    prices = PriceList([own("large", 1), own("o-2025-01-01", 2), own("o", 3)])
    assert found(prices, "large", "o") == 1
    assert found(prices, "o", "large") == 3
    assert found(prices, "o-2025-01-02", "o-2025-01-01") == 2
    assert found(prices, "o-2025-01-02") == 3
    assert found(prices, "openai/o-2025-01-02") == 3


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("gpt-4.1-mini", "gpt-4.1-mini"),
        ("gpt-4.1-mini-2025-04-14", "gpt-4.1-mini"),
        ("openai/gpt-4.1-mini", "gpt-4.1-mini"),
        ("openai/gpt-4.1-mini-2025-04-14", "gpt-4.1-mini"),
        ("claude-haiku-4-5-20251001", "claude-haiku-4-5"),
        ("groq/openai/gpt-oss-20b", "openai/gpt-oss-20b"),
        ("mistral/mistral-large-latest", "mistral-large-latest"),
        # Nearly the name is not the name.
        ("gpt-4.1-minis", None),
        ("gpt-4.1-mini-2025-04", None),
        ("GPT-4.1", None),
        ("anthropic/gpt-4.1", None),
        ("elsewhere/gpt-4.1", None),
        # Open weights may run anywhere, here for nothing.
        ("openai/gpt-oss-20b", None),
        ("mistral-large-latest", None),
        ("", None),
        ("/", None),
    ],
)
def test_names_that_mean_a_shipped_price(name: str, model: str | None) -> None:
    price = PriceList().find((name,), NOW)
    assert (price and price.model) == model


def test_a_dated_name_that_is_dearer_than_the_one_without_is_not_had_for_less() -> None:
    assert found(PriceList(), "gpt-4o-2024-05-13") == 5_000_000
    assert found(PriceList(), "openai/gpt-4o-2024-05-13") == 5_000_000
    assert found(PriceList(), "gpt-4o-2024-11-20") == 2_500_000


def test_every_shipped_price_is_sound() -> None:
    shipped = PriceList().shipped()
    assert len(shipped) > 100
    for price in shipped:
        assert price.source.startswith("https://")
        assert 0 < price.rates.input <= 100_000_000, price
        assert price.rates.output <= 1_000_000_000, price
        assert (price.rates.cached_read or 0) <= price.rates.input, price
        assert all(tier.rates.input >= price.rates.input for tier in price.tiers), price
        assert price.since < NOW


def test_a_list_for_a_new_directory_keeps_what_is_shipped() -> None:
    before = PriceList([own("m", 1)])
    after = PriceList([own("n", 2)], before=before)
    assert (found(after, "m"), found(after, "n")) == (None, 2)
    assert all(one is two for one, two in zip(after.shipped(), before.shipped(), strict=True))


def test_a_name_that_a_client_made_up_is_not_kept_for_ever() -> None:
    prices = PriceList([own("m", 1)])
    for number in range(10_000):
        assert found(prices, f"x{number}") is None
    assert found(prices, "m") == 1
    assert len(prices._found) < 5_000


def test_finding_again_costs_one_look_up() -> None:
    prices = PriceList()
    names = ("fast", "gpt-4.1-mini-2025-04-14")
    best = min(_seconds(prices, names) for _ in range(5))
    assert best / 2000 < 2e-6


def _seconds(prices: PriceList, names: tuple[str, ...]) -> float:
    begun = time.perf_counter()
    for _ in range(2000):
        prices.find(names, NOW)
    return time.perf_counter() - begun


def test_hosts_by_their_addresses() -> None:
    assert host_of("https://api.groq.com/openai/v1") == "groq"
    assert host_of("https://API.OpenAI.com:443/v1") == "openai"
    assert [host_of(url) for url in ("", "http://localhost:8000/v1", "http://[", "api.openai.com")] == [
        "",
        "",
        "",
        "",
    ]
