"""What requests cost: exact, rounded up once, and never more than was reserved."""

from __future__ import annotations

import time

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from penstock.access.bounds import Bound
from penstock.access.charge import cost_nano, most_nano, tokens_of
from penstock.core.chat import Usage, WireUsage
from penstock.core.money import Price, Rates, Tier
from penstock.core.usage import Tokens
from tests.access.test_price_form import PRICES

GPT = Price(
    model="m",
    rates=Rates(
        input=2_000_000, output=8_000_000, cached_read=500_000, cached_write=2_500_000, audio_input=40_000_000
    ),
    tiers=(Tier(200_000, Rates(input=4_000_000, output=12_000_000)),),
    batch_percent=50,
)


def test_a_bill_by_hand() -> None:
    # 1,000 of 2 $/M, 400 of them at 0.50 and 100 at 2.50; 500 of 8.
    tokens = Tokens(input=1000, cached_read=400, cached_write=100, output=500, reasoning=300)
    assert cost_nano(GPT, tokens) == 500 * 2_000 + 400 * 500 + 100 * 2_500 + 500 * 8_000
    assert cost_nano(GPT, tokens, batch=True) == cost_nano(GPT, tokens) // 2


def test_the_whole_request_has_the_rates_of_its_tier() -> None:
    assert cost_nano(GPT, Tokens(input=200_000)) == 200_000 * 2_000
    assert cost_nano(GPT, Tokens(input=200_001, output=1)) == 200_001 * 4_000 + 12_000


def test_a_charge_is_rounded_up_once() -> None:
    price = Price(model="m", rates=Rates(input=1, output=1, image=1))
    assert cost_nano(price, Tokens(input=1, output=1, images=1)) == 1
    assert cost_nano(price, Tokens(input=1000)) == 1
    assert cost_nano(price, Tokens(input=1001)) == 2
    assert cost_nano(price, Tokens()) == 0


def test_parts_that_overlap_are_charged_once() -> None:
    price = Price(model="m", rates=Rates(input=1_000, cached_read=0, audio_input=10_000))
    assert cost_nano(price, Tokens(input=10, cached_read=10, audio_input=4)) == 4 * 10
    assert cost_nano(price, Tokens(input=10, cached_read=99, audio_input=99)) == 100


def test_a_machine_costs_the_share_of_the_hour() -> None:
    price = Price(model="m", per_hour_nano=3_600_000_000)
    assert cost_nano(price, Tokens(input=9), held_s=2.0) == 2_000_000
    assert cost_nano(price, Tokens(input=9), held_s=2.0, slots=8) == 250_000
    assert cost_nano(price, Tokens(), held_s=-1.0, slots=0) == 0


COUNT = st.integers(0, 1_000_000)


@st.composite
def used(draw: st.DrawFn) -> Tokens:
    read, made = draw(COUNT), draw(COUNT)
    heard = draw(st.integers(0, read))
    cached = draw(st.integers(0, read))
    return Tokens(
        input=read,
        cached_read=cached,
        cached_write=draw(st.integers(0, read - cached)),
        output=made,
        reasoning=draw(st.integers(0, made)),
        audio_input=heard,
        audio_output=draw(st.integers(0, made)),
        images=draw(st.integers(0, 20)),
    )


@given(PRICES, used(), COUNT, COUNT, st.integers(0, 9), st.booleans(), st.floats(0, 1e4), st.integers(1, 64))
def test_the_most_covers_whatever_it_was(
    price: Price, was: Tokens, more: int, longer: int, images: int, batch: bool, held_s: float, slots: int
) -> None:
    bound = Bound(was.input + more, was.output + longer, was.images + images, audio=True)
    most = most_nano(price, bound, batch=batch, held_s=held_s, slots=slots)
    assert cost_nano(price, was, batch=batch, held_s=held_s * 0.9, slots=slots) <= most
    quiet = msgspec.structs.replace(was, audio_input=0, audio_output=0)
    still = msgspec.structs.replace(bound, audio=False)
    assert cost_nano(price, quiet, batch=batch) <= most_nano(price, still, batch=batch) <= most


@given(PRICES, used(), used(), st.booleans())
def test_together_is_never_more_than_apart_nor_a_nano_less(
    price: Price, one: Tokens, two: Tokens, batch: bool
) -> None:
    flat = msgspec.structs.replace(price, tiers=(), per_hour_nano=0)
    total = {name: getattr(one, name) + getattr(two, name) for name in Tokens.__struct_fields__}
    heard = msgspec.structs.replace(
        flat, rates=msgspec.structs.replace(price.rates, audio_input=None, audio_output=None)
    )
    apart = cost_nano(heard, one, batch=batch) + cost_nano(heard, two, batch=batch)
    assert apart - 1 <= cost_nano(heard, Tokens(**total), batch=batch) <= apart


@given(PRICES, used(), COUNT, COUNT, st.integers(0, 9), st.floats(0, 1e4))
def test_more_costs_more(price: Price, was: Tokens, read: int, made: int, shown: int, held_s: float) -> None:
    flat = msgspec.structs.replace(price, tiers=())
    more = msgspec.structs.replace(was, input=was.input + read, output=was.output + made, images=was.images + shown)
    assert 0 <= cost_nano(flat, was) <= cost_nano(flat, more) <= cost_nano(flat, more, held_s=held_s)


def test_what_the_engine_counted_in_the_ledgers_words() -> None:
    wire = (
        b'{"prompt_tokens":100,"completion_tokens":20,"total_tokens":120,'
        b'"prompt_tokens_details":{"cached_tokens":60,"cache_write_tokens":30,"audio_tokens":5},'
        b'"completion_tokens_details":{"reasoning_tokens":7,"audio_tokens":2}}'
    )
    assert tokens_of(msgspec.json.decode(wire, type=WireUsage).counted(), 3) == Tokens(
        input=100,
        cached_read=60,
        cached_write=30,
        output=20,
        reasoning=7,
        audio_input=5,
        audio_output=2,
        images=3,
    )


def test_reasoning_that_is_only_in_the_total_is_output() -> None:
    wire = WireUsage(prompt_tokens=10, completion_tokens=5, total_tokens=40)
    assert wire.counted() == Usage(prompt=10, completion=30)
    assert WireUsage(prompt_tokens=-1, completion_tokens=-5).counted() == Usage()


def test_it_is_fast() -> None:
    tokens = Tokens(input=1000, cached_read=400, output=200, reasoning=10)
    rounds = []
    for _ in range(5):
        begun = time.perf_counter()
        for _ in range(1000):
            cost_nano(GPT, tokens)
        rounds.append(time.perf_counter() - begun)
    assert min(rounds) / 1000 < 10e-6
