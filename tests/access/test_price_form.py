"""Prices for people and back, exactly."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.access.price_form import PriceForm, form_of, price_of
from penstock.core.errors import INVALID_VALUE, PenstockError
from penstock.core.money import Price, Rates, Tier


def read(text: str) -> Price:
    return price_of(msgspec.json.decode(text, type=PriceForm), 1000.0)


def test_dollars_a_million_tokens_are_exact() -> None:
    price = read(
        '{"model":"m","since":"2026-11-21","input":"2.50","output":0.1,"cached_read":"0.000001","image":"0.003613",'
        '"per_hour":"1.999999999","tiers":[{"above":200000,"input":5}],"batch_percent":50,"max_output":100}'
    )
    assert price == Price(
        model="m",
        since=1795219200.0,
        rates=Rates(input=2_500_000, output=100_000, cached_read=1, image=3_613_000_000),
        tiers=(Tier(200_000, Rates(input=5_000_000)),),
        batch_percent=50,
        per_hour_nano=1_999_999_999,
        max_output=100,
    )


def test_without_a_date_it_holds_from_now() -> None:
    assert read('{"model":"m","input":1}').since == 1000.0


@pytest.mark.parametrize(
    ("text", "param", "said"),
    [
        ('"input":-1', "input", "negative"),
        ('"input":"0.0000001"', "input", "more than 6 decimals"),
        ('"output":"1.00000000000000000000000000000000000001"', "output", "more than 6 decimals"),
        ('"input":"1e-9999999"', "input", "more than 6 decimals"),
        ('"input":"1e9999999"', "input", "more than 1,000,000 dollars"),
        ('"cached_read":"NaN"', "cached_read", "not a number"),
        ('"reasoning":"Infinity"', "reasoning", "not a number"),
        ('"image":"0.0000000000001"', "image", "more than 12 decimals"),
        ('"per_hour":-0.1', "per_hour", "negative"),
        ('"since":"soon"', "since", "not a date"),
        ('"since":"2026-11-21T10:00:00"', "since", "offset"),
        ('"tiers":[{"above":2},{"above":2}]', "tiers[1].above", "from the lowest"),
        ('"tiers":[{"above":1,"input":-2}]', "tiers[0].input", "negative"),
    ],
)
def test_what_cannot_be_a_price_is_refused_by_its_field(text: str, param: str, said: str) -> None:
    with pytest.raises(PenstockError, match=said) as caught:
        read('{"model":"m",' + text + "}")
    assert (caught.value.fault, caught.value.param) == (INVALID_VALUE, param)


RATE = st.integers(0, 10**12)
PART = st.none() | RATE
RATES = st.builds(
    Rates,
    input=RATE,
    output=RATE,
    cached_read=PART,
    cached_write=PART,
    reasoning=PART,
    audio_input=PART,
    audio_output=PART,
    image=st.integers(0, 10**18),
)
PRICES = st.builds(
    Price,
    model=st.text(min_size=1, max_size=20),
    since=st.integers(0, 4_000_000_000).map(float),
    rates=RATES,
    tiers=st.lists(st.builds(Tier, st.integers(1, 10**9), RATES), unique_by=lambda tier: tier.above).map(
        lambda tiers: tuple(sorted(tiers, key=lambda tier: tier.above))
    ),
    batch_percent=st.integers(0, 100),
    per_hour_nano=st.integers(0, 10**15),
    max_input=st.none() | st.integers(1, 10**9),
    max_output=st.none() | st.integers(1, 10**9),
    source=st.text(max_size=20),
)


@given(PRICES)
def test_there_and_back_is_the_same_price(price: Price) -> None:
    text = msgspec.json.encode(form_of(price))
    assert price_of(msgspec.json.decode(text, type=PriceForm), 0.0) == price
