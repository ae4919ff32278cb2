"""What every ``SeriesStore`` promises. An adapter's tests subclass ``SeriesContract`` and say how one is made."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.core.series import Dimension, Fed, SeriesKey, SeriesQuery, SeriesRow
from penstock.core.series_sums import RowSum
from penstock.store import SeriesStore
from penstock.store.forgetful_series import ForgetfulSeries

NOON = 1_700_049_600.0
"""A whole hour."""
DAY_S = 86400.0
_marks = map("mark {}".format, itertools.count())


def key(**changes: str) -> SeriesKey:
    fields = {"gateway": "gw", "service": "chat", "model": "m", "release": "r", "project": "red", "key_id": "k"}
    return SeriesKey(**fields | changes)


def row(at: float = NOON, requests: int = 1, of: SeriesKey | None = None, **changes: Any) -> SeriesRow:
    fields: dict[str, Any] = {"duration": ((10, requests),), "duration_s": 0.5 * requests, "cost_nano": 7 * requests}
    return SeriesRow(at=at, step_s=10.0, key=of or key(), requests=requests, **fields | changes)


def fed(until: float = NOON, gateway: str = "gw", mark: bytes = b"", shed: int = 0) -> Fed:
    return Fed(gateway=gateway, until=until, shed=shed, mark=mark or next(_marks).encode())


def asked(since: float = NOON, until: float = NOON + 3600, step_s: float = 3600.0, **changes: Any) -> SeriesQuery:
    return SeriesQuery(since=since, until=until, step_s=step_s, **changes)


FULL = row(
    requests=9, failed=1, refused=2, left=3, internal=4, codes={"rate_limited": 2, "upstream_error": 1},
    input_tokens=5, cached_tokens=6, output_tokens=7, streamed_tokens=8, output_s=0.25, cost_nano=1 << 60, retries=10,
    fallbacks=11, cache_hits=12, cache_misses=13, caches={"similar": 12, "miss": 13},
    duration=((-581, 1), (-3, 2), (574, 6)), first_chunk=((0, 1),),
    between=((5, 70_000), (6, 1)), queued=((-500, 3),), overhead=((-400, 1), (400, 8)), duration_s=1.5,
    first_chunk_s=2.5, between_s=3.5, queued_s=4.5, overhead_s=5.5,
)  # fmt: skip


class SeriesContract:
    def make(self) -> SeriesStore:
        """A new, empty one."""
        raise NotImplementedError

    @pytest.fixture
    def store(self) -> SeriesStore:
        return self.make()

    def test_a_row_comes_back_whole(self, store: SeriesStore) -> None:
        store.append_series([FULL], fed(NOON))
        every: tuple[Dimension, ...] = ("service", "model", "release", "project", "key", "gateway")
        assert list(store.series(asked(step_s=10.0, by=every))) == [FULL]
        (found,) = store.series(asked())
        assert found == msgspec.structs.replace(FULL, step_s=3600.0, key=SeriesKey("", "", "", "", "", ""))

    def test_what_is_told_later_is_added(self, store: SeriesStore) -> None:
        for until in (NOON, NOON + 30, NOON + 70, NOON + 9000):
            store.append_series([FULL, row(NOON + 50)], fed(until))
        for step in (10.0, 60.0, 3600.0):
            first, *others = store.series(asked(step_s=step))
            assert first.codes == {"rate_limited": 8, "upstream_error": 4}
            assert first.between == ((5, 280_000), (6, 4))
            assert sum(each.requests for each in (first, *others)) == 40
            assert [each.at for each in others] == ([NOON + 50] if step == 10 else [])

    def test_the_same_mark_twice_is_once(self, store: SeriesStore) -> None:
        store.append_series([row()], fed(mark=b"a"))
        store.append_series([row()], fed(NOON + 1, mark=b"a", shed=2))
        assert list(store.fed()) == [fed(NOON + 1, mark=b"a", shed=2)]
        store.append_series([row()], fed(NOON + 600, "other", mark=b"a"))
        store.append_series([row(NOON + 10)], fed(mark=b"b"))
        assert [each.requests for each in store.series(asked())] == [3]

    def test_what_is_fed_is_the_last_that_was_said(self, store: SeriesStore) -> None:
        assert list(store.fed()) == []
        store.append_series([], fed(NOON, "b"))
        last = [fed(NOON + 60, "a", b"\0\xff", 3), fed(NOON + 5.25, "b", b"x")]
        for each in reversed(last):
            store.append_series([], each)
        assert list(store.fed()) == last

    def test_times_begin_in_the_asked_for_and_steps_are_whole(self, store: SeriesStore) -> None:
        store.append_series([row(NOON + at) for at in range(0, 7200, 10)], fed(NOON + 7200))
        found = store.series(asked(NOON + 90, NOON + 270, 60.0))
        assert [(each.at - NOON, each.requests) for each in found] == [(60, 3), (120, 6), (180, 6), (240, 3)]
        found = store.series(asked(NOON + 3590, NOON + 3620, 300.0))
        assert [(each.at - NOON, each.requests) for each in found] == [(3300, 1), (3600, 2)]
        found = store.series(asked(NOON + 50, NOON + 7150, 3600.0))
        assert [(each.at - NOON, each.requests) for each in found] == [(0, 355), (3600, 355)]
        assert [each.requests for each in store.series(asked(NOON, NOON + 7200, 7200.0))] == [720]
        assert list(store.series(asked(NOON - 3600, NOON))) == []
        assert list(store.series(asked(NOON + 60, NOON + 60))) == []

    def test_groups_and_filters(self, store: SeriesStore) -> None:
        parts = ("service", "model", "release", "project", "key_id")
        keys = [key(**dict(zip(parts, which, strict=True))) for which in itertools.product("ab", repeat=5)]
        store.append_series([row(of=each) for each in keys], fed())
        store.append_series([row(of=key(gateway="gw2", service="a"))], fed(gateway="gw2"))
        found = store.series(asked(by=("service", "key")))
        assert [(each.key.service, each.key.key_id, each.requests) for each in found] == [
            ("a", "a", 8), ("a", "b", 8), ("a", "k", 1), ("b", "a", 8), ("b", "b", 8),
        ]  # fmt: skip
        assert found[0].key == SeriesKey("", "a", "", "", "", "a")
        assert [each.requests for each in store.series(asked(service="b"))] == [16]
        assert [each.requests for each in store.series(asked(service="b", model="a", release="b"))] == [4]
        assert [each.requests for each in store.series(asked(project="a", key_id="b"))] == [8]
        assert [each.key.project for each in store.series(asked(by=("project",), model="a"))] == ["a", "b"]
        found = store.series(asked(by=("gateway",), service="a"))
        assert [(each.key.gateway, each.requests) for each in found] == [("gw", 16), ("gw2", 1)]
        assert [each.requests for each in store.series(asked(gateway="gw2"))] == [1]
        assert list(store.series(asked(gateway="none"))) == []

    def test_sketches_that_nobody_wants_are_left_out(self, store: SeriesStore) -> None:
        store.append_series([FULL, row(NOON + 600)], fed())
        for step in (10.0, 3600.0):
            (whole, *_), (some, *_), (none, *_) = (
                store.series(asked(step_s=step, sketches=each)) for each in (None, ("duration", "between"), ())
            )
            assert some == msgspec.structs.replace(whole, first_chunk=(), queued=(), overhead=())
            assert none == msgspec.structs.replace(some, duration=(), between=())

    def test_texts_that_no_database_takes(self, store: SeriesStore) -> None:
        odd = key(service="a\0\ud800日本")
        store.append_series([row(of=odd), row(of=key(service="b"))], fed())
        assert [each.requests for each in store.series(asked(service=odd.service))] == [1]

    def test_growing_old_keeps_every_count(self, store: SeriesStore) -> None:
        rows = [row(NOON + at, of=key(key_id=f"k{at % 3}")) for at in range(0, 4 * 3600, 10)]
        store.append_series(rows, fed(NOON + 2 * 3600))
        store.coarsen(NOON + 3 * 3600 + 65, NOON + 3600 + 65, NOON - DAY_S)
        store.coarsen(NOON + 3 * 3600 + 65, NOON + 3600 + 65, NOON - DAY_S)
        assert [each.requests for each in store.series(asked(until=NOON + DAY_S))] == [360] * 4
        assert sum(each.requests for each in store.series(asked(until=NOON + DAY_S, step_s=10.0, key_id="k1"))) == 480
        # What comes late still finds its place.
        store.append_series([row(NOON), row(NOON + 2 * 3600 + 50), row(NOON + 3 * 3600 + 200)], fed(NOON + 4 * 3600))
        assert [each.requests for each in store.series(asked(until=NOON + DAY_S))] == [361, 360, 361, 361]
        found = store.series(asked(NOON, NOON + 4 * 3600, 10.0))
        assert [each.at - NOON for each in found[:3]] == [0, 3600, 3660]
        assert [each.at - NOON for each in found if each.at >= NOON + 3 * 3600][:3] == [10800, 10860, 10870]

    def test_what_is_very_old_goes(self, store: SeriesStore) -> None:
        store.append_series([row(NOON + at) for at in range(0, 7200, 10)], fed(NOON + 7200))
        store.coarsen(NOON + 3600 + 10, NOON + 3600 + 10, NOON + 3600 + 10)
        assert [each.at for each in store.series(asked(0.0, NOON + DAY_S))] == [NOON + 3600]
        store.coarsen(NOON + DAY_S, NOON + DAY_S, NOON + DAY_S)
        assert list(store.series(asked(0.0, NOON + DAY_S))) == []

    def test_it_is_the_same_however_it_was_told_and_grew_old(self) -> None:
        @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(_happenings(), max_size=8), st.lists(_questions(), min_size=1, max_size=6))
        def law(happenings: list[Sequence[tuple[int, int]] | int], questions: list[SeriesQuery]) -> None:
            store, model = self.make(), ForgetfulSeries()
            for each in (store, model):
                _happen(each, happenings)
            for question in questions:
                assert list(store.series(question)) == list(model.series(question))
                whole = _total(store.series(question))
                assert whole == _total(store.series(msgspec.structs.replace(question, by=("service", "key"))))

        law()


def _happenings() -> st.SearchStrategy[Sequence[tuple[int, int]] | int]:
    """Rows by time and key, with until when all is told last; or how old is what grows old."""
    told = st.lists(st.tuples(st.integers(0, 1100), st.integers(0, 5)), min_size=1, max_size=12)
    return st.one_of(told, told, st.integers(-200, 1300))


def _questions() -> st.SearchStrategy[SeriesQuery]:
    ends = st.tuples(st.integers(0, 1100), st.integers(0, 1100)).map(sorted)
    steps = st.sampled_from((10.0, 60.0, 300.0, 3600.0, 7200.0))
    filters = st.sampled_from(({}, {"service": "s1"}, {"project": "p0"}, {"by": ("key",)}, {"by": ("model",)}))
    return st.builds(
        lambda ends, step, more: asked(NOON + 10 * ends[0], NOON + 10 * ends[1], step, **more), ends, steps, filters
    )


def _happen(store: SeriesStore, happenings: Iterable[Sequence[tuple[int, int]] | int]) -> None:
    until, forgotten = NOON, 0.0
    store.append_series([], fed(until))
    for each in happenings:
        if isinstance(each, int):
            forgotten = max(forgotten, NOON + 10 * each - 9000)
            store.coarsen(NOON + 10 * each, NOON + 10 * each - 4000, NOON + 10 * each - 9000)
            continue
        rows = [
            row(NOON + 10 * at, 1 + who, key(service=f"s{who % 2}", project=f"p{who % 3}", key_id=f"k{who}"))
            for at, who in each
            # Nobody tells of what is older than all that is kept.
            if NOON + 10 * at - (NOON + 10 * at) % 3600 >= forgotten
        ]
        until = max(until, NOON + 10 * each[-1][0])
        store.append_series(rows, fed(until))


def _total(rows: Iterable[SeriesRow]) -> SeriesRow:
    sums = RowSum()
    for each in rows:
        sums.add(each)
    return sums.row(0.0, 0.0, key())
