"""Series keep their contract in both databases, and in memory."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
import sqlalchemy as sql
from hypothesis import given
from hypothesis import strategies as st

import penstock.store.series as written
from penstock.store import SeriesStore
from penstock.store.database import Database
from penstock.store.forgetful_series import ForgetfulSeries
from penstock.store.migrations import migrate
from penstock.store.observed_tables import FED, SERIES
from penstock.store.series import SqlSeries
from penstock.store.series_rows import Sums, unpacked
from penstock.store.series_tiles import Kept, tiles
from tests.contracts.series import DAY_S, NOON, SeriesContract, asked, fed, key, row
from tests.postgres import postgres, postgres_url
from tests.store.databases import OnPostgresql, OnSqlite

__all__ = ["postgres", "postgres_url"]


def test_rows_from_before_there_were_caches_are_read() -> None:
    *older, _ = msgspec.msgpack.decode(Sums().pack())
    assert unpacked(msgspec.msgpack.encode(older)).caches == {}


class TestForgetful(SeriesContract):
    def make(self) -> SeriesStore:
        return ForgetfulSeries()


class InDatabase(SeriesContract):
    database: Database

    def make(self) -> SqlSeries:
        migrate(self.database, now=0.0)
        with self.database.begin() as connection:
            connection.execute(sql.delete(SERIES))
            connection.execute(sql.delete(FED))
        return SqlSeries(self.database)

    def test_a_failure_half_way_adds_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        series = self.make()
        series.append_series([row()], fed(NOON, mark=b"before"))

        def fail(*_: object) -> int:
            raise RuntimeError("killed")

        with monkeypatch.context() as patched:
            patched.setattr(SqlSeries, "_roll", fail)
            with pytest.raises(RuntimeError):
                series.append_series([row(), row(NOON + 10)], fed(NOON + 600, mark=b"after"))
        assert [each.requests for each in series.series(asked())] == [1]
        assert [each.mark for each in series.fed()] == [b"before"]

    def test_gateways_tell_and_let_rows_grow_old_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        series = self.make()
        monkeypatch.setattr(written, "FORGET", 7)
        start = threading.Barrier(4)

        def tell(who: str) -> None:
            start.wait(10)
            for turn in range(30):
                # Half of it late.
                ats = (NOON + 120 * turn, NOON + 60 * turn)
                series.append_series([row(at, of=key(gateway=who)) for at in ats], fed(ats[0], who))

        def coarsen(_: int) -> None:
            start.wait(10)
            for turn in range(10):
                series.coarsen(NOON + 300 * turn, NOON + 200 * turn, NOON)

        with ThreadPoolExecutor(4) as pool:
            done = [pool.submit(tell, "a"), pool.submit(tell, "b"), pool.submit(coarsen, 0), pool.submit(coarsen, 1)]
            for each in done:
                each.result(60)
        for step in (10.0, 60.0, 3600.0):
            assert sum(each.requests for each in series.series(asked(NOON, NOON + 7200, step))) == 120

    def test_long_ago_is_rolled_in_steps(self, monkeypatch: pytest.MonkeyPatch) -> None:
        series = self.make()
        monkeypatch.setattr(written, "ROLL_S", 60)
        series.append_series([], fed(NOON))
        series.append_series([row(NOON + at) for at in range(0, 600, 10)], fed(NOON + 40_000))
        assert sum(each.requests for each in series.series(asked(step_s=60.0))) == 60
        assert len({each.at for each in series.series(asked(step_s=60.0))}) == 10
        series.coarsen(NOON + 7200, NOON + 7200, NOON)
        assert [each.requests for each in series.series(asked())] == [60]

    def test_finer_rows_that_are_old_are_gone(self) -> None:
        series = self.make()
        series.append_series([row(NOON + at) for at in range(0, 3600, 10)], fed(NOON + 3600))
        series.coarsen(NOON + 1800, NOON - 3600, NOON - 3600)
        with self.database.read() as connection:
            counted = sql.select(SERIES.c.step, sql.func.count()).where(SERIES.c.level == 0).group_by(SERIES.c.step)
            assert sorted(connection.execute(counted).all()) == [(10, 180), (60, 60), (3600, 1)]

    def test_a_gateway_that_has_gone_is_forgotten_with_its_last_row(self) -> None:
        series = self.make()
        series.append_series([row()], fed(NOON))
        series.append_series([], fed(NOON + 100 * DAY_S, "idle"))
        for day in range(30):
            at = NOON + day * DAY_S
            series.coarsen(at - 10_800, at - 7 * DAY_S, at - 20 * DAY_S)
            assert len(series.series(asked())) == (day <= 20)
            assert [each.gateway for each in series.fed()] == (["gw", "idle"] if day <= 20 else ["idle"])
        with self.database.read() as connection:
            assert connection.execute(sql.select(SERIES)).all() == []

    def test_going_back_and_forth_keeps_every_row(self) -> None:
        series = self.make()
        series.append_series([row(), row(NOON + 20)], fed(NOON + 600, mark=b"m"))
        migrate(self.database, now=0.0, to="0005")
        migrate(self.database, now=0.0)
        assert [each.requests for each in series.series(asked())] == [2]
        series.append_series([row()], fed(NOON + 600, mark=b"m"))
        assert [each.requests for each in series.series(asked())] == [2]


class TestSqlite(OnSqlite, InDatabase):
    pass


class TestPostgresql(OnPostgresql, InDatabase):
    pass


_TIMES = st.integers(0, 2000).map(lambda tens: 10 * tens)


@given(_TIMES, _TIMES, st.sampled_from((10, 30, 60, 120, 3600, 7200)), st.tuples(_TIMES, _TIMES, _TIMES).map(sorted))
def test_tiles_have_every_time_once(since: int, until: int, step: int, marks: list[int]) -> None:
    middle_from, fine_from, rolled = marks[0] // 3600 * 3600, marks[1] // 60 * 60, marks[2] // 60 * 60
    kept = Kept(max(rolled, fine_from, middle_from), max(fine_from, middle_from), middle_from)
    seen: dict[int, int] = {}
    for size, begin, end in tiles(since, until, step, kept):
        assert size <= max(step, 60 if begin < kept.fine_from else 10, 3600 if begin < kept.middle_from else 10)
        for at in range(-(-begin // size) * size, end, size):
            for time in range(at, at + size, 10):
                if size == 10 or time < kept.rolled:
                    seen[time] = seen.get(time, 0) + 1
    assert set(seen.values()) <= {1}
    sizes = {
        time: 3600 if time < middle_from else 60 if time < kept.fine_from else 10 for time in range(0, 27_200, 10)
    }
    # What is old is where its row begins.
    wanted = {time for time, size in sizes.items() if since <= time // size * size < until}
    assert {*seen} == wanted
