"""What workers saw comes into the log and the series, each of it once, whatever happens on the way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from penstock.control.recording import RecordingPace
from penstock.control.recording_batch import UNHEARD_S
from penstock.core.series import Fed
from penstock.observe.spool import Spool
from penstock.store.database import Database, open_database, sqlite_url
from penstock.store.migrations import migrate
from penstock.store.series import SqlSeries
from tests.control.recording_house import House, Killed, beat, comes, content, record, running

WALL = 1_700_000_000.0


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "spool")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_database(sqlite_url(tmp_path / "state.db"))
    migrate(database, now=0.0)
    yield database
    database.close()


async def test_records_are_logged_counted_and_exported_and_their_segments_go(house: House) -> None:
    house.write("a", record(1), record(2, kept=False), content(1), record(3, traced=True), content(3), beat(4.0))
    house.write("b", record(4, purpose="internal"), beat(4.0))
    async with running(house.recorder):
        await house.recorder.flush(10)
        assert house.logged() == ["r1", "r3", "r4"]
        assert house.requests.content("r1", WALL + 1) is not None
        assert house.counted() == 3
        assert house.traced == [("r3", 1)]
        await comes(lambda: not house.left(), 10)
        assert house.recorder.waiting() == 0
        house.living.add("c")
        house.write("c", record(5))
        await house.recorder.flush(10)
        assert house.logged()[-1] == "r5"
        assert house.left() == ["c-000001.spool"]


async def test_a_real_spool_is_in_the_log_half_a_second_later(tmp_path: Path) -> None:
    house = House(tmp_path / "spool", pace=RecordingPace(series_s=0.0))
    house.living.add("w")
    spool = Spool(house.folder, "w", limit_bytes=64 << 20)
    async with running(house.recorder):
        for number in range(50):
            spool.put(record(number))
        began = time.monotonic()
        await comes(lambda: house.counted() == 50, 10)
        assert time.monotonic() - began < 2.0
    spool.close()


@pytest.mark.parametrize("sql", [False, True])
async def test_whoever_is_killed_anywhere_loses_nothing_and_tells_nothing_twice(
    tmp_path: Path, database: Database, sql: bool
) -> None:
    """Between any two effects, in this life or already in the next."""
    kills = 0
    for first in range(0, 200, 7 if sql else 3):
        house = House(tmp_path / f"spool{first}", SqlSeries(database) if sql else None)
        before = house.counted()
        house.living = {"b"}
        house.write("a", *(record(n) for n in range(5)), number=1)
        house.write("a", *(record(n) for n in range(5, 9)), beat(9.0, shed=2), number=2)
        house.write("b", record(9), beat(9.5, shed=1), record(10), beat(10.0, shed=3))
        already = {each.gateway: each.shed for each in house.kept.fed()}.get("gw", 0)
        survived = True
        # It dies twice: the second time a bit later in the next life.
        for turn, at in enumerate((first, first % 7)):
            house.fuse.at, house.fuse.passed = at, 0
            async with running(house.recorder) as task:
                flushed = asyncio.create_task(house.recorder.flush(10))
                await asyncio.wait((task, flushed), return_when=asyncio.FIRST_COMPLETED)
                flushed.cancel()
            if isinstance(task.cancelled() or task.exception(), Killed):
                survived = False
                kills += 1
            house.fuse.at = -1
            house.born()
            # Meanwhile more has come: what is read again is no batch that was there before.
            house.write("b", record(11 + turn))
        async with running(house.recorder):
            await house.recorder.flush(10)
            assert sorted(house.logged()) == sorted(f"r{n}" for n in range(13))
            assert house.counted() - before == 13
            assert house.fed().shed - already == 5
            await comes(partial(_left, house, ["b-000001.spool"]))
        if survived:
            break
        if sql:
            # The next house is another machine's, with the same names.
            with database.begin() as connection:
                connection.exec_driver_sql("DELETE FROM series_fed")
                connection.exec_driver_sql("DELETE FROM series")
    assert kills > (8 if sql else 20)


async def test_a_store_whose_answer_is_lost_anywhere_is_told_nothing_twice(tmp_path: Path) -> None:
    failures = 0
    for at in range(200):
        house = House(tmp_path / f"spool{at}")
        house.write("a", *(record(n, traced=True) for n in range(20)), beat(20.0))
        house.fuse.at, house.fuse.error = at, OSError("disk") if at % 3 else RuntimeError("bug")
        async with running(house.recorder):
            await house.recorder.flush(10)
            assert house.logged() == [f"r{n}" for n in range(20)]
            assert house.counted() == 20
            assert [name for name, _ in house.traced] == [f"r{n}" for n in range(20)]
            await comes(partial(_left, house, []))
        if house.fuse.passed <= at:
            break
        failures += 1
    assert failures > 20


async def test_while_the_store_is_away_all_waits_and_afterwards_all_is_there(house: House) -> None:
    house.living = {"a"}
    house.away = True
    house.write("a", *(record(n) for n in range(100)))
    async with running(house.recorder):
        await comes(lambda: house.recorder.stale_since() is not None, 10)
        with pytest.raises(TimeoutError):
            await house.recorder.flush(0.05)
        assert house.recorder.stale_since() == house.time.wall()
        since = house.time.wall()
        await house.time.advance(60)
        await comes(lambda: house.recorder.waiting() > 5000, 10)
        assert house.logged() == []
        assert house.recorder.stale_since() == since
        house.away = False
        await house.recorder.flush(10)
        assert house.recorder.stale_since() is None
        assert house.counted() == 100
        assert len(house.logged()) == 100
        await comes(lambda: house.recorder.waiting() == 0, 10)


async def test_a_store_that_goes_away_in_between_is_told_the_same_batch_again(house: House) -> None:
    house.living = {"a"}
    async with running(house.recorder):
        for turn in range(5):
            house.away = False
            await house.recorder.flush(10)
            house.away = True
            house.write("a", *(record(10 * turn + n) for n in range(10)))
            await comes(lambda: house.recorder.stale_since() is not None, 10)
        house.away = False
        await house.recorder.flush(10)
    assert house.counted() == len(house.logged()) == 50


async def test_it_is_told_until_the_slowest_worker_that_lives(house: House) -> None:
    house.living = {"a", "b"}
    await house.time.advance(100)
    async with running(house.recorder):
        house.write("a", beat(10.0))
        house.write("b", record(1), beat(12.0))
        await comes(lambda: house.kept.fed() and house.fed().until == WALL + 10.0, 10)
        house.write("a", beat(11.0))
        await comes(lambda: house.fed().until == WALL + 11.0, 10)
        # One that is new has had no time yet to keep anything back.
        house.living.add("c")
        house.write("a", beat(20.0))
        await comes(lambda: house.fed().until == WALL + 12.0, 10)
        house.living -= {"b", "a"}
        await comes(lambda: house.fed().until == WALL + 100.0 - UNHEARD_S, 10)
        # A clock that was set back takes nothing back.
        house.write("c", beat(30.0))
        await house.recorder.flush(10)
        assert house.fed().until == WALL + 100.0 - UNHEARD_S


async def test_what_is_left_of_a_life_before_holds_it_back_until_it_is_read(house: House) -> None:
    house.kept.append_series([], Fed(gateway="gw", until=WALL + 5.0, shed=7))
    await house.time.advance(100)
    house.write("old", *(record(n) for n in range(20)), beat(21.0, shed=2), *(record(n) for n in range(20, 30)))
    seen: list[tuple[float, int]] = []
    append = house.kept.append_series

    def noting(rows: object, fed: Fed) -> None:
        append(rows, fed)  # type: ignore[arg-type]
        seen.append((fed.until - WALL, house.counted()))

    house.kept.append_series = noting  # type: ignore[method-assign]
    async with running(house.recorder):
        await house.recorder.flush(10)
    assert {told for told, count in seen if count < 20} == {5.0}
    assert all(told <= 21.0 for told, count in seen if count < 30)
    assert seen[-1] == (100.0 - UNHEARD_S, 30)
    assert house.fed().shed == 9


async def test_without_anything_to_tell_it_still_tells_that(house: House) -> None:
    async with running(house.recorder):
        await comes(lambda: house.kept.fed(), 10)
        first = house.fed().until
        await house.time.advance(30)
        await comes(lambda: house.fed().until == first + 30, 10)


async def test_the_log_has_it_at_once_and_the_series_once_a_second(tmp_path: Path) -> None:
    house = House(tmp_path / "spool", pace=RecordingPace(tick_s=0.002, series_s=1.0, idle_s=5.0, records=50))
    house.living.add("a")
    async with running(house.recorder):
        await comes(lambda: house.kept.fed())
        house.write("a", record(1), record(2, traced=True))
        await comes(lambda: len(house.logged()) == 2)
        house.write("a", record(3), content(2))
        await comes(lambda: len(house.logged()) == 3)
        assert house.counted() == 0
        assert house.traced == []
        await house.time.advance(1.1)
        await comes(lambda: house.traced == [("r2", 1)])
        assert house.counted() == 3
        # Many are told sooner, and so is whatever somebody waits for.
        house.write("a", *(record(n) for n in range(10, 60)))
        await comes(lambda: house.counted() == 53)
        house.write("a", record(4))
        await house.recorder.flush(10)
        assert house.counted() == 54


async def test_a_backlog_leaves_the_event_loop_to_others(tmp_path: Path) -> None:
    house = House(tmp_path / "spool", pace=RecordingPace(records=300))
    house.write("a", *(record(n) for n in range(3000)))
    turns = 0
    async with running(house.recorder):
        flushing = asyncio.create_task(house.recorder.flush(30))
        while not flushing.done():
            await asyncio.sleep(0)
            turns += 1
        await flushing
    assert house.counted() == 3000
    assert turns > 500


def _left(house: House, names: list[str]) -> bool:
    return house.left() == names
