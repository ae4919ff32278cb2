"""The trace of a request: its ids, who decides whether it is recorded, and what upstreams hear of it."""

from __future__ import annotations

import pytest

from penstock.core.errors import INVALID_JSON, UPSTREAM_FAILED, PenstockError
from penstock.core.policy import Policy, Retry, Terms, TraceParent
from penstock.core.serving import Service
from penstock.gateway.inside import inner
from penstock.gateway.tracing import traced
from penstock.observe.config import ObserveSettings, Traces
from tests.gateway.doubles import USAGE, ScriptedEngine, piece
from tests.gateway.leasing import Turned
from tests.gateway.recorded import ADA, TRACED, Log, observing

TRACE, SPAN = bytes(range(1, 17)), bytes(range(20, 28))
ANSWER = [[piece("ok", "stop")], [USAGE]]


def caller(sampled: bool, state: bytes = b"") -> Terms:
    return Terms(trace=TraceParent(TRACE, SPAN, sampled, state))


def log(*answers: object, settings: ObserveSettings, who: object = ADA) -> Log:
    engine = ScriptedEngine(*(answers or (ANSWER,)))  # type: ignore[arg-type]
    service = Service("chat", ("main",), policy=Policy(retry=Retry(attempts=2, backoff_s=0.0)))
    return Log(Turned(), {"main": engine}, services=[service], settings=settings, who=who)  # type: ignore[arg-type]


def heard(of: Log, attempt: int = 0) -> bytes:
    return of.engines["main"].started[attempt][0].trace


def always(share: float = 1.0, follow: bool = True, errors: bool = True) -> ObserveSettings:
    return observing(otlp=TRACED, traces=Traces(share=share, follow=follow, errors=errors))


async def test_where_nothing_is_traced_no_ids_are_made() -> None:
    here = log(settings=observing())
    await here.ask()
    assert (here.record.trace, here.record.span, here.record.traced) == (b"", b"", False)
    assert here.record.attempts[0].span == b""
    assert heard(here) == b""


async def test_where_nothing_is_traced_what_a_caller_says_is_passed_on_and_can_be_found() -> None:
    here = log(settings=observing())
    await here.ask(terms=caller(True, b"a=1"))
    record = here.record
    assert (record.trace, record.span, record.parent, record.traced) == (TRACE, b"", SPAN, False)
    assert heard(here) == b"traceparent: 00-%b-%b-01\r\ntracestate: a=1\r\n" % (
        TRACE.hex().encode(),
        SPAN.hex().encode(),
    )


async def test_a_request_begins_a_trace_and_each_attempt_has_a_span_that_its_upstream_hears() -> None:
    here = log(PenstockError(UPSTREAM_FAILED, "500"), ANSWER, settings=always())
    await here.ask()
    record = here.record
    assert (len(record.trace), len(record.span), record.parent, record.traced) == (16, 8, b"", True)
    spans = [attempt.span for attempt in record.attempts]
    assert len({record.span, *spans}) == 3
    for number, span in enumerate(spans):
        assert heard(here, number) == b"traceparent: 00-%b-%b-01\r\n" % (
            record.trace.hex().encode(),
            span.hex().encode(),
        )


async def test_a_callers_trace_is_gone_on_with() -> None:
    here = log(settings=always())
    await here.ask(terms=caller(True, b"a=1,b=2"))
    record = here.record
    assert (record.trace, record.parent) == (TRACE, SPAN)
    assert record.span not in (b"", SPAN)
    assert heard(here).startswith(b"traceparent: 00-" + TRACE.hex().encode())
    assert heard(here).endswith(b"-01\r\ntracestate: a=1,b=2\r\n")


@pytest.mark.parametrize(
    ("settings", "sampled", "recorded"),
    [
        (always(share=0), True, True),
        (always(share=1), False, False),
        (always(share=0, follow=False), True, False),
        (always(share=1, follow=False), False, True),
    ],
)
async def test_whose_word_counts(settings: ObserveSettings, sampled: bool, recorded: bool) -> None:
    here = log(settings=settings)
    await here.ask(terms=caller(sampled))
    assert here.record.traced is recorded
    assert (b"-01\r\n" in heard(here)) is recorded


@pytest.mark.parametrize("errors", [True, False])
async def test_what_fails_is_recorded_where_that_is_wanted(errors: bool) -> None:
    failing = PenstockError(UPSTREAM_FAILED, "500")
    here = log(failing, failing, settings=always(share=0, errors=errors))
    with pytest.raises(PenstockError):
        await here.ask()
    assert here.record.traced is errors
    here.kept.clear()
    here.door.refused("req-2", here.admission, PenstockError(INVALID_JSON, "No JSON."), took_s=0.1)
    assert here.record.traced is errors
    assert len(here.record.span) == 8


async def test_what_the_gateway_asks_for_itself_has_no_trace() -> None:
    here = log(settings=always(), who=inner())
    await here.ask()
    assert (here.record.trace, here.record.traced) == (b"", False)


def test_the_share_of_traces_is_drawn_by_the_id() -> None:
    settings = Traces(share=0.1, follow=False)
    drawn = 0
    for number in range(2000):
        trace = (number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % (1 << 128)).to_bytes(16, "big")
        made = [traced(settings, TraceParent(trace, SPAN)) for _ in range(2)]
        assert made[0] is not None
        assert made[1] is not None
        assert made[0].sampled is made[1].sampled
        drawn += made[0].sampled
    assert 120 < drawn < 280
    fresh = [traced(settings, None) for _ in range(2000)]
    assert len({each.id for each in fresh if each is not None}) == 2000
    assert 120 < sum(each.sampled for each in fresh if each is not None) < 280
