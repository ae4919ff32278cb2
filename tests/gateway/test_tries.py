"""What an attempt is charged: exactly what the engine said, else never less than it can have been."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.access.bounds import Bound
from penstock.core.chat import Kind, Usage
from penstock.core.errors import (
    BAD_REQUEST,
    CONTENT_REFUSED,
    CONTEXT_LENGTH_EXCEEDED,
    DEADLINE_EXCEEDED,
    INTERNAL,
    UPSTREAM_BROKEN,
    UPSTREAM_FAILED,
    UPSTREAM_GARBLED,
    UPSTREAM_OVERLOADED,
    UPSTREAM_RATE_LIMITED,
    UPSTREAM_REFUSED_KEY,
    UPSTREAM_TIMEOUT,
    UPSTREAM_UNREACHABLE,
    Fault,
)
from penstock.core.money import Price, Rates
from penstock.core.serving import Service
from penstock.core.usage import Tokens
from penstock.gateway.dispatch import watched
from penstock.gateway.tries import COUNTED_OVERRUN, OVERRUN, Charge, Try, at_most
from penstock.gateway.watch import watchers
from tests.gateway.doubles import ROLE, USAGE, ScriptedUpstream, call, piece

PRICE = Price(model="m", rates=Rates(input=2_000, output=3_000))
"""Two nano a token read, three a token made."""
MUCH = 1_000_000


def tried(
    bound: Bound | None = None, *, stream: bool = True, choices: int = 1, price: Price | None = PRICE, slots: int = 1
) -> Try:
    return Try(
        1, "m", price, bound or Bound(100, MUCH), stream=stream, choices=choices, slots=slots, began=10.0
    )  # fmt: skip


def hear(of: Try, *chunks: bytes, kind: Kind = Kind.CHAT) -> Try:
    """As the attempt's watchers hear them."""
    asked = call(stream=of.stream, kind=kind)
    watched(chunks, watchers(asked, Service("chat", ("m",)), of, lambda: 0, None))
    return of


def charged(of: Try, complete: bool, now: float = 11.0) -> Charge:
    found = of.charge(complete, now)
    assert found is not None
    return found


# -- what the engine said ------------------------------------------------------------------------------------------

SAID = Charge(Tokens(input=7, cached_read=2, output=3), False, 7 * 2 + 3 * 3)


@pytest.mark.parametrize("complete", [True, False])
def test_the_last_word_of_a_stream_is_exact_even_when_the_client_has_left(complete: bool) -> None:
    assert charged(hear(tried(), ROLE, piece("a"), piece("", "stop"), USAGE), complete) == SAID


def test_a_whole_answer_is_exact_by_its_usage() -> None:
    whole = USAGE.replace(b'"choices":[]', b'"choices":[{"index":0,"message":{"content":"x"}}]')
    assert charged(hear(tried(stream=False), whole), True) == SAID


def test_usage_beside_text_is_the_last_word_once_the_answer_is_complete() -> None:
    told = USAGE.replace(b'"choices":[]', b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]')
    assert charged(hear(tried(), ROLE, told), True) == SAID
    assert charged(hear(tried(), ROLE, told), False).estimated


def test_pictures_of_the_prompt_are_in_what_is_charged() -> None:
    seen = hear(tried(Bound(100, 10, images=2)), USAGE)
    assert charged(seen, True).tokens.images == 2


def test_what_an_engine_tells_as_it_goes_bounds_an_answer_that_is_broken_off() -> None:
    class Counting(ScriptedUpstream):
        def so_far(self) -> Usage | None:
            return Usage(prompt=9, completion=4)

    for choices in (1, 3):
        left = hear(tried(choices=choices), ROLE, piece("abcd"))
        left.broke_off(Counting([]))
        found = charged(left, False)
        assert found.estimated
        assert (found.tokens.input, found.tokens.output) == (9, 4 + COUNTED_OVERRUN * choices)
    held = tried(Bound(100, 10))
    held.broke_off(Counting([]))
    assert charged(held, False).tokens.output == 10
    # What the chunks said before is newer than what the engine was asked at the end.
    exact = hear(tried(), USAGE)
    exact.broke_off(Counting([]))
    assert charged(exact, False) == SAID
    silent = tried()
    silent.broke_off(ScriptedUpstream([]))
    assert silent.usage is None


# -- what it did not say -------------------------------------------------------------------------------------------


def test_a_whole_answer_that_never_came_is_charged_at_its_bound() -> None:
    bound = Bound(100, 50, images=1)
    assert charged(tried(bound, stream=False), False) == Charge(
        Tokens(input=100, output=50, images=1), True, 100 * 2 + 50 * 3
    )


def test_a_stream_of_which_nothing_came_may_have_begun() -> None:
    assert charged(tried(), False).tokens == Tokens(input=100, output=OVERRUN)
    assert charged(tried(choices=4), False).tokens == Tokens(input=100, output=4 * OVERRUN)
    assert charged(tried(Bound(100, 5)), False).tokens == Tokens(input=100, output=5)


class Said(msgspec.Struct, frozen=True):
    """A stream as an engine might write it, and how much it said."""

    chunks: list[bytes]
    text_bytes: int


_TEXT = st.text(st.characters(codec="utf-8"), max_size=30)


@st.composite
def streams(draw: st.DrawFn) -> Said:
    """One engine's way of writing, with pieces of any length and form, one of them short; broken off anywhere."""
    ascii_only, legacy = draw(st.booleans()), draw(st.booleans())
    separators = draw(st.sampled_from([(",", ":"), (", ", ": ")]))
    chunks, size = [], 0
    head = {"id": "x" * draw(st.integers(0, 40)), "object": "chat.completion.chunk", "created": 1, "model": "m"}

    def chunk(choice: dict[str, object], **more: object) -> None:
        said = {**head, "choices": [{"index": 0, **choice}], **more}
        chunks.append(json.dumps(said, ensure_ascii=ascii_only, separators=separators).encode())

    if not legacy and draw(st.booleans()):
        chunk({"delta": {"role": "assistant", "content": ""}, "finish_reason": None})
    for text in draw(st.permutations(["a", *draw(st.lists(_TEXT, max_size=11))])):
        size += len(text.encode())
        field = "content" if text == "a" else draw(st.sampled_from(["content", "reasoning_content", "refusal"]))
        if legacy:
            chunk({"text": text, "finish_reason": None})
        elif text == "a" or draw(st.integers(0, 4)):
            chunk({"delta": {field: text}, "finish_reason": None})
        else:
            function = {"name": None, "arguments": text}
            chunk({"delta": {"tool_calls": [{"index": 0, "function": function}]}, "finish_reason": None})
    if draw(st.booleans()):
        # Some tell at the end how long it took, at any length.
        more = {"timings": "t" * draw(st.integers(0, 600))} if draw(st.booleans()) else {}
        chunk({"text": ""} if legacy else {"delta": {}, "finish_reason": "stop"}, **more)
    return Said(chunks, size)


@given(streams(), st.booleans())
def test_an_estimate_is_never_less_than_it_can_have_been(said: Said, complete: bool) -> None:
    """No tokeniser makes more tokens than bytes; a chunk that shows nothing may be a token all the same."""
    found = charged(hear(tried(), *said.chunks), complete)
    assert found.estimated
    assert found.tokens.input == 100
    assert found.tokens.output >= max(said.text_bytes, len(said.chunks)) + (0 if complete else OVERRUN)


@given(streams(), st.integers(0, 200), st.booleans())
def test_nor_more_than_the_bound(said: Said, most: int, complete: bool) -> None:
    bound = Bound(100, most)
    found = charged(hear(tried(bound), *said.chunks), complete)
    assert found.tokens.output <= most
    assert found.cost_nano <= at_most(PRICE, bound, held_s=1.0, slots=1).cost_nano


def test_an_estimate_of_plain_text_is_near_its_bytes() -> None:
    pieces = [piece("abcd") for _ in range(50)]
    assert charged(hear(tried(), *pieces), True).tokens.output == 50 * 4 + 50


def test_a_whole_answer_without_usage_is_as_long_as_its_text_and_calls() -> None:
    function = {"name": "look_up", "arguments": '{"a":"é"}'}
    message = {"content": "naïve", "tool_calls": [{"id": "c", "type": "function", "function": function}]}
    whole = json.dumps({"id": "x", "model": "m", "choices": [{"index": 0, "message": message}]}).encode()
    found = charged(hear(tried(stream=False), whole), True)
    assert found.estimated
    shown = len("naïve".encode()) + len("look_up") + len('{"a":"é"}'.encode())
    assert shown <= found.tokens.output <= len(whole)


# -- what costs nothing --------------------------------------------------------------------------------------------

FREE = [
    BAD_REQUEST,
    CONTENT_REFUSED,
    CONTEXT_LENGTH_EXCEEDED,
    UPSTREAM_FAILED,
    UPSTREAM_OVERLOADED,
    UPSTREAM_RATE_LIMITED,
    UPSTREAM_REFUSED_KEY,
    UPSTREAM_UNREACHABLE,
]


@pytest.mark.parametrize("fault", FREE, ids=lambda fault: fault.code)
def test_what_an_upstream_would_not_do_is_free_unless_it_had_begun(fault: Fault) -> None:
    refused = tried()
    refused.failed(fault, 10.5)
    assert refused.charge(False, 99.0) is None
    begun = hear(tried(), ROLE)
    begun.failed(fault, 10.5)
    assert begun.charge(False, 99.0) is not None


@pytest.mark.parametrize(
    "fault",
    [UPSTREAM_BROKEN, UPSTREAM_GARBLED, UPSTREAM_TIMEOUT, DEADLINE_EXCEEDED, INTERNAL],
    ids=lambda fault: fault.code,
)
def test_what_an_upstream_may_have_worked_on_is_charged(fault: Fault) -> None:
    late = tried()
    late.failed(fault, 10.5)
    assert charged(late, False).tokens == Tokens(input=100, output=OVERRUN)


# -- by the hour ---------------------------------------------------------------------------------------------------


def test_a_machine_of_ones_own_is_charged_for_the_slot_and_the_time_that_it_was_held() -> None:
    hourly = Price(model="m", per_hour_nano=3_600_000_000)
    assert charged(hear(tried(price=hourly), USAGE), True, now=12.0).cost_nano == 2_000_000
    assert charged(hear(tried(price=hourly, slots=4), USAGE), True, now=12.0).cost_nano == 500_000
    failed = tried(price=hourly)
    failed.failed(UPSTREAM_BROKEN, 10.5)
    assert charged(failed, False, now=60.0).cost_nano == 500_000
    assert at_most(hourly, Bound(1, 1), held_s=600.0, slots=2).cost_nano == 300_000_000


def test_without_a_price_it_is_counted_and_costs_nothing() -> None:
    assert charged(hear(tried(price=None), USAGE), True) == msgspec.structs.replace(SAID, cost_nano=0)
    assert at_most(None, Bound(5, 6), held_s=1.0, slots=1) == Charge(Tokens(input=5, output=6), True, 0)
