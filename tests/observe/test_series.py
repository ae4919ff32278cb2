"""Records become rows by the time and key under which their requests ended; rows what people are shown."""

from __future__ import annotations

import random
from typing import get_args

import pytest

from penstock.core.caching import Verdict
from penstock.core.requests import AttemptMade, RequestRecord
from penstock.core.series import SeriesKey, SeriesRow
from penstock.core.usage import Tokens
from penstock.observe.series import OTHER, Folding, Spread, spread, tokens_per_s, total
from penstock.observe.sketch import sketch_of

NOON = 1_700_049_600.0


def record(**changes: object) -> RequestRecord:
    fields: dict[str, object] = {
        "request_id": "r", "at": NOON, "gateway": "gw", "project": "red", "key_id": "k", "service": "chat",
        "release": "rel", "model": "m", "ending": "complete", "status": 200, "duration_s": 2.0, "overhead_s": 0.001,
    }  # fmt: skip
    return RequestRecord(**fields | changes)  # type: ignore[arg-type]


def made(number: int, model: str) -> AttemptMade:
    return AttemptMade(number, model, "", 0.0, 1.0)


def folded(*records: RequestRecord) -> SeriesRow:
    (row,) = Folding("gw").fold(records)
    return row


def test_a_request_counts_when_it_ended() -> None:
    rows = Folding("gw").fold([record(duration_s=9.99), record(duration_s=10.0), record(at=NOON - 1), record()])
    key = SeriesKey("gw", "chat", "m", "rel", "red", "k")
    assert {(row.at - NOON, row.step_s, row.key, row.requests) for row in rows} == {
        (0, 10.0, key, 3),
        (10, 10.0, key, 1),
    }


def test_how_requests_end() -> None:
    row = folded(
        record(),
        record(status=500, ending="failed", code="internal"),
        record(status=502, ending="failed", code="upstream"),
        record(status=502, ending="failed", code="upstream"),
        record(status=429, ending="failed", code="rate_limited"),
        record(status=499, ending="client_gone"),
        # It broke after its head was out.
        record(status=200, ending="failed", code="cut"),
    )
    assert (row.requests, row.failed, row.refused, row.left) == (7, 4, 1, 1)
    assert row.codes == {"internal": 1, "upstream": 2, "rate_limited": 1, "cut": 1}


def test_an_upper_bound_is_paid_and_no_work_that_was_done() -> None:
    row = folded(record(tokens=Tokens(input=10, output=4096), estimated=True, cost_nano=7, stream=True))
    assert (row.input_tokens, row.output_tokens, row.streamed_tokens, row.cost_nano) == (0, 0, 0, 7)


def test_tokens_cost_and_speed() -> None:
    tokens = Tokens(input=10, cached_read=4, output=21)
    row = folded(
        record(tokens=tokens, cost_nano=5, stream=True, first_chunk_s=1.0, between_s=0.05),
        record(tokens=tokens, cost_nano=6, first_chunk_s=1.0),
        record(tokens=Tokens(output=1), stream=True, first_chunk_s=1.0),
        record(stream=True),
    )
    assert (row.input_tokens, row.cached_tokens, row.output_tokens, row.cost_nano) == (20, 8, 43, 11)
    assert (row.streamed_tokens, row.output_s, tokens_per_s(row)) == (20, 1.0, 20.0)
    assert tokens_per_s(folded(record())) is None


def test_attempts_and_caches() -> None:
    row = folded(
        record(attempts=(made(1, "m"),)),
        record(attempts=(made(1, "m"), made(2, "m"))),
        record(attempts=(made(1, "a"), made(2, "b"), made(3, "m"))),
        record(attempts=(made(1, "a"), made(2, "m")), ending="failed", status=502),
        *(record(cache=verdict, tokens=Tokens(input=9)) for verdict in get_args(Verdict)),
        record(cache="hit"),
    )
    assert (row.retries, row.fallbacks, row.cache_hits, row.cache_misses) == (4, 1, 6, 2)
    assert row.caches == {**dict.fromkeys(get_args(Verdict), 1), "hit": 2}
    # Those that were made: refresh, miss and bypass.
    assert row.input_tokens == 27


def test_what_the_gateway_asked_for_itself_is_in_no_other_count() -> None:
    row = folded(record(), record(purpose="internal", status=500, cost_nano=9, tokens=Tokens(input=1), code="x"))
    alone = folded(record())
    assert row.internal == 1
    assert total([row]) == total([alone, folded(record(purpose="internal", duration_s=0.0, at=NOON))])


def test_times_are_measured_where_there_are_any() -> None:
    row = folded(record(queued_s=0.5, first_chunk_s=0.25), record(duration_s=4.0), record(queued_s=0.0))
    assert (row.duration, row.duration_s) == (sketch_of([2.0, 4.0, 2.0]), 8.0)
    assert (row.queued, row.queued_s) == (sketch_of([0.5, 0.0]), 0.5)
    assert (row.first_chunk, row.first_chunk_s) == (sketch_of([0.25]), 0.25)
    assert (row.between, row.between_s) == ((), 0.0)
    assert row.overhead_s == pytest.approx(0.003)


def test_keys_beyond_the_bound_are_others_and_nothing_is_lost() -> None:
    folding = Folding("gw", keys=4)
    records = [record(key_id=f"k{n}", model=f"m{n % 2}") for n in range(20)]
    rows = [*folding.fold(records[:10]), *folding.fold(records[10:])]
    keys = {row.key for row in rows}
    assert {key.key_id for key in keys} == {"k0", "k1", "k2", "k3", OTHER}
    assert {key.model for key in keys if key.key_id == OTHER} == {"m0", "m1"}
    assert all(key.service == "chat" for key in keys)
    assert sum(row.requests for row in rows) == 20
    (again,) = folding.fold([record(key_id="k0", model="m0")])
    assert again.key.key_id == "k0"
    flood = folding.fold([record(key_id="k", model=f"m{n}") for n in range(100)])
    assert len({row.key for row in [*rows, *flood]}) <= 9
    assert SeriesKey("gw", *[OTHER] * 5) in {row.key for row in flood}
    # The bound is that of a step.
    (later,) = folding.fold([record(key_id="new", at=NOON + 60)])
    assert later.key.key_id == "new"


def test_a_distribution_is_told_in_milliseconds() -> None:
    values = [n / 1000 for n in range(1, 1001)]
    found = spread(sketch_of(values), sum(values))
    assert found is not None
    assert found == Spread(
        count=1000, mean=pytest.approx(500.5), p50=pytest.approx(500, rel=0.011), p95=pytest.approx(950, rel=0.011),
        p99=pytest.approx(990, rel=0.011),
    )  # fmt: skip
    assert spread((), 0.0) is None


def test_a_total_is_of_all_time_and_of_the_key_that_all_share() -> None:
    mixed = random.Random(1)
    records = [
        record(at=NOON + 10 * n, model=f"m{n % 2}", duration_s=mixed.random(), tokens=Tokens(output=n))
        for n in range(50)
    ]
    whole = total(Folding("gw").fold(records))
    assert whole is not None
    assert (whole.at, whole.step_s, whole.requests) == (NOON, 500.0, 50)
    assert whole.key == SeriesKey("gw", "chat", "", "rel", "red", "k")
    assert whole.duration == sketch_of(each.duration_s for each in records)
    assert whole.output_tokens == sum(range(50))
    assert total([]) is None
