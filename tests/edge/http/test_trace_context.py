"""W3C Trace Context, as section 3 of the recommendation has it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.policy import TraceParent
from penstock.edge.http.http1_requests import LISTS
from penstock.edge.http.http2_exchange import read
from penstock.edge.http.terms import terms
from penstock.edge.http.trace_context import trace_parent

TRACE = b"4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = b"00f067aa0ba902b7"
SOUND = b"00-%b-%b-01" % (TRACE, SPAN)


def parsed(parent: bytes, state: bytes = b"") -> TraceParent | None:
    headers = {b"traceparent": parent}
    if state:
        headers[b"tracestate"] = state
    return trace_parent(headers)


def state(said: bytes) -> bytes:
    found = parsed(SOUND, said)
    assert found is not None
    return found.state


def test_a_sound_one_is_read() -> None:
    assert parsed(SOUND) == TraceParent(bytes.fromhex(TRACE.decode()), bytes.fromhex(SPAN.decode()), True)
    found = parsed(b" \t00-%b-%b-00 " % (TRACE, SPAN))
    assert found is not None
    assert not found.sampled
    assert terms({b"traceparent": SOUND}).trace == parsed(SOUND)
    assert terms({}).trace is None


@pytest.mark.parametrize(("flags", "sampled"), [(b"03", True), (b"ff", True), (b"02", False), (b"fe", False)])
def test_flags_that_are_not_known_say_nothing(flags: bytes, sampled: bool) -> None:
    found = parsed(b"00-%b-%b-%b" % (TRACE, SPAN, flags))
    assert found is not None
    assert found.sampled is sampled


@pytest.mark.parametrize("more", [b"", b"-", b"-what-the-future-brings"])
def test_a_later_version_may_say_more(more: bytes) -> None:
    assert parsed(b"cc-%b-%b-01%b" % (TRACE, SPAN, more)) == parsed(SOUND)


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"00",
        b"00-%b-%b" % (TRACE, SPAN),
        b"00-%b-%b-1" % (TRACE, SPAN),
        b"00-%b-%b-0g" % (TRACE, SPAN),
        b"00-%b-%b-01-" % (TRACE, SPAN),
        b"00-%b-%b-01-more" % (TRACE, SPAN),
        b"cc-%b-%b-01.more" % (TRACE, SPAN),
        b"ff-%b-%b-01" % (TRACE, SPAN),
        b"0-%b-%b-01" % (TRACE, SPAN),
        b"00-%b-%b-01" % (TRACE.upper(), SPAN),
        b"00-%b-%b-01" % (TRACE[:-1], SPAN),
        b"00-%b-%b-01" % (b"0" * 32, SPAN),
        b"00-%b-%b-01" % (TRACE, b"0" * 16),
        b"00_%b_%b_01" % (TRACE, SPAN),
        SOUND + b"\n",
        SOUND + b", " + SOUND,
    ],
)
def test_what_is_not_sound_is_not_there(bad: bytes) -> None:
    assert parsed(bad, b"a=1") is None


@pytest.mark.parametrize(
    ("said", "passed_on"),
    [
        (b"a=1", b"a=1"),
        (b"a=1 ,\tb=2", b"a=1,b=2"),
        (b"a=1,,b=2,", b"a=1,b=2"),
        (b"fw529a3039@dt=FfQ2,0tenant@sys=x", b"fw529a3039@dt=FfQ2,0tenant@sys=x"),
        (b"a/b*c_d-e=!x y~", b"a/b*c_d-e=!x y~"),
        (b"A=1", b""),
        (b"1a=1", b""),
        (b"a@=1", b""),
        (b"a@b@c=1", b""),
        (b"a", b""),
        (b"a=", b""),
        (b"a=b=c", b""),
        (b"a=\xe9", b""),
        (b"a=1\r\nx-evil: 1", b""),
        (b"a=1,a=2", b""),
        (b"a=" + b"x" * 257, b""),
        (b",".join(b"k%d=1" % n for n in range(33)), b""),
        (b",".join(b"k%d=1" % n for n in range(32)), b",".join(b"k%d=1" % n for n in range(32))),
    ],
)
def test_state_is_passed_on_where_it_is_sound(said: bytes, passed_on: bytes) -> None:
    assert state(said) == passed_on


def test_of_a_long_state_long_members_go_first_then_the_last() -> None:
    long, short = b"long=" + b"x" * 200, [b"k%02d=%b" % (n, b"y" * 60) for n in range(8)]
    assert state(b",".join([long, *short])) == b",".join(short[:7])
    assert state(b",".join([*short[:3], long])) == b",".join([*short[:3], long])


@given(st.binary(max_size=60), st.binary(max_size=40))
def test_whatever_is_sent_no_line_can_be_smuggled(parent: bytes, said: bytes) -> None:
    found = parsed(parent, said)
    assert found is None or b"\r" not in found.state
    assert b"\n" not in state(said)
    assert b"\r" not in state(said)


def test_of_two_parents_none_counts_and_two_states_are_one() -> None:
    assert b"traceparent" in LISTS
    pairs = [(b":method", b"POST"), (b":path", b"/"), (b"traceparent", SOUND), (b"tracestate", b"a=1")]
    assert read([*pairs, (b"tracestate", b"b=2")]).headers[b"tracestate"] == b"a=1, b=2"
    twice = read([*pairs, (b"traceparent", SOUND)]).headers
    assert trace_parent(twice) is None
