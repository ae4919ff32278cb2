"""What may happen on the way of a day to the archive, and what it leaves behind."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.core.errors import STORE_UNAVAILABLE, PenstockError
from penstock.core.requests import RequestQuery, RequestRecord
from penstock.store.archive import Folder
from penstock.store.database import Database, open_database, sqlite_url
from penstock.store.migrations import migrate
from penstock.store.requests import RequestLog, open_requests
from penstock.store.requests_catalogue import CLAIM_S, Catalogue
from penstock.store.requests_sqlite import SqliteRequests
from tests.contracts.requests import BEGIN, DAY, NOON, content, newest, record
from tests.postgres import postgres, postgres_url  # noqa: F401

LATER = BEGIN + 9 * DAY
ROWS = [record(f"{n}", NOON + n * DAY / 4, subject=f"somebody-{n % 2}") for n in range(10)]


class Killed(BaseException):
    """As by SIGKILL: nobody gets to clean up what another process would see."""


class Home:
    """A home in which gateways come and go. ``now`` is their clock."""

    def __init__(self, url: str, folder: Path) -> None:
        self.folder = folder
        self.now = LATER
        self.databases: list[Database] = []
        self._url = url
        migrate(self._database(), now=0.0)

    def _database(self) -> Database:
        self.databases.append(open_database(self._url))
        return self.databases[-1]

    def gateway(self, name: str = "gw", place: str = "") -> RequestLog:
        database = self._database()
        archive = place or str(self.folder / "archive")
        return open_requests(database, self.folder / "requests", archive, gateway=name, wall=lambda: self.now)

    def objects(self) -> set[str]:
        root = self.folder / "archive"
        return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}

    def catalogued(self) -> set[str]:
        archived = Catalogue(self._database(), "test", time.time).archived()
        return {name for each in archived for name in (each.facts, each.contents) if name}

    def close(self) -> None:
        for database in self.databases:
            database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Home]:
    sqlite = request.param == "sqlite"
    made = Home(sqlite_url(tmp_path / "state.db") if sqlite else request.getfixturevalue("postgres_url"), tmp_path)
    yield made
    made.close()


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Home]:
    made = Home(sqlite_url(tmp_path / "state.db"), tmp_path)
    yield made
    made.close()


def everything(log: RequestLog) -> list[RequestRecord]:
    return list(log.find(RequestQuery(), None, 1000))


def killed_at(step: int, monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> bool:
    """Whether ``act`` came to this step, where it was killed. Before and after each of these is a step."""
    left = step

    def stepping(owner: type, name: str) -> None:
        true = getattr(owner, name)

        def stepped(*args: Any, **named: Any) -> Any:
            nonlocal left
            for begins in (True, False):
                left -= 1
                if left < 0:
                    raise Killed
                if begins:
                    found = true(*args, **named)
            return found

        patch.setattr(owner, name, stepped)

    with monkeypatch.context() as patch:
        for name in ("claim", "note", "deleting", "deleted", "note_erasure"):
            stepping(Catalogue, name)
        for name in ("put", "delete"):
            stepping(Folder, name)
        stepping(SqliteRequests, "_drop")
        try:
            act()
        except Killed:
            return True
    return False


def test_archiving_that_is_killed_between_any_two_steps_is_ended_by_the_next(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, step = home.gateway(), 0
    rows = list[RequestRecord]()
    while True:
        # Each in a day of its own, with one that is still live.
        day = [msgspec.structs.replace(row, at=row.at + step * DAY) for row in (ROWS[0], ROWS[5])]
        rows = [*rows[-1:], *day]
        log.append_requests(day, [content(row) for row in day])
        home.now = before = BEGIN + (step + 1) * DAY
        was_killed = killed_at(step, monkeypatch, lambda: log.archive(before))  # noqa: B023
        log.close()
        log = home.gateway()
        assert everything(log) == newest(rows)
        assert log.append_requests([msgspec.structs.replace(day[0], request_id="late")], []) == 1
        log.archive(before)
        rows.append(msgspec.structs.replace(day[0], request_id="late"))
        assert everything(log) == newest(rows)
        assert home.objects() == home.catalogued()
        assert all(log.content(row.request_id, row.at) == content(row) for row in day)
        log.forget_requests(before, before)
        rows = [row for row in rows if row.at >= before]
        if not was_killed:
            break
        step += 1
    assert step > 10


def test_erasing_that_is_killed_is_ended_by_the_next(sqlite: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    log, step = sqlite.gateway(), 0
    while True:
        rows = [msgspec.structs.replace(row, at=row.at + 5 * DAY * step) for row in (*ROWS[:2], *ROWS[8:])]
        log.append_requests(rows, [content(row) for row in rows])
        log.archive(rows[2].at)
        was_killed = killed_at(step, monkeypatch, lambda: log.erase("somebody-1", None))  # noqa: B023
        log.close()
        log = sqlite.gateway()
        log.erase("somebody-1", None)
        assert log.about("somebody-1", None) == (0, 0, None, None)
        assert log.about("somebody-0", None)[:2] == (2, 2)
        assert sqlite.objects() == sqlite.catalogued()
        for path in (path for path in sqlite.folder.rglob("*") if path.is_file()):
            assert b"somebody-1" not in path.read_bytes(), path
        log.forget_requests(rows[-1].at + DAY, 0.0)
        if not was_killed:
            break
        step += 1
    assert step > 5


def test_a_day_is_archived_by_one_of_several_gateways(postgres_url: str, tmp_path: Path) -> None:  # noqa: F811
    home = Home(postgres_url, tmp_path)
    gateways = [home.gateway(f"gw-{n}") for n in range(3)]
    for at, row in enumerate(ROWS):
        gateways[at % 3].append_requests([row, ROWS[0]], [content(row)])
    with ThreadPoolExecutor(3) as pool:
        assert sum(pool.map(lambda log: log.archive(LATER), gateways)) >= 3
    for log in gateways:
        log.archive(LATER)
        assert everything(log) == newest(ROWS)
    assert len(home.objects()) == 2 * 3
    assert home.objects() == home.catalogued()
    home.close()


def test_what_a_dead_gateway_began_is_taken_over_after_a_while(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    log = home.gateway("first")
    log.append_requests(ROWS[:2], [])
    assert killed_at(3, monkeypatch, lambda: log.archive(LATER))
    log.close()
    other = home.gateway("second")
    home.now += CLAIM_S - 1
    assert other.archive(LATER) == 0
    home.now += 2
    assert other.archive(LATER) == 1
    assert everything(other) == newest(ROWS[:2])
    assert home.objects() == home.catalogued()


def test_a_copy_that_was_overtaken_by_an_erasure_does_not_count(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    log = home.gateway()
    log.append_requests(ROWS[:4], [content(row) for row in ROWS[:4]])
    true, erased = Folder.put, []

    def put(self: Folder, name: str, path: Path) -> None:
        true(self, name, path)
        if not erased:
            erased.append(log.erase("somebody-1", None))

    monkeypatch.setattr(Folder, "put", put)
    log.archive(LATER)
    monkeypatch.undo()
    assert erased[0].requests == 2
    assert log.about("somebody-1", None) == (0, 0, None, None)
    assert len(everything(log)) == 4
    log.archive(LATER)
    assert home.objects() == home.catalogued()


def test_an_archive_that_is_away_is_missed_only_by_who_asks_for_old_days(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = home.gateway()
    log.append_requests(ROWS, [content(row) for row in ROWS])
    log.archive(BEGIN + DAY)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    for away in (home.gateway(place="s3://nowhere/logs"), home.gateway(place=str(home.folder / "not" / "there"))):
        began = time.monotonic()
        recent = [row for row in ROWS if row.at >= BEGIN + DAY]
        assert list(away.find(RequestQuery(since=BEGIN + DAY), None, 100)) == newest(recent)
        assert list(away.find(RequestQuery(), None, len(recent))) == newest(recent)
        assert list(away.request(ROWS[9].request_id)) == [ROWS[9]]
        assert away.content(ROWS[9].request_id, ROWS[9].at) == content(ROWS[9])
        assert away.append_requests([ROWS[9]], []) == 0
        for asked in (
            lambda: away.find(RequestQuery(), None, 100),  # noqa: B023
            lambda: away.request(ROWS[0].request_id),  # noqa: B023
            lambda: away.content(ROWS[0].request_id, ROWS[0].at),  # noqa: B023
        ):
            with pytest.raises(PenstockError, match="archive of the request log") as raised:
                asked()
            assert raised.value.fault == STORE_UNAVAILABLE
        assert time.monotonic() - began < 30


def test_without_pyarrow_days_stay_where_they_are(
    sqlite: Home, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    full = sqlite.gateway()
    full.append_requests(ROWS, [])
    full.archive(BEGIN + DAY)
    full.close()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for name in ("penstock.store.archive_parquet", "penstock.store.archive_filter"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    log = sqlite.gateway()
    with caplog.at_level(logging.WARNING):
        assert log.archive(LATER) == log.archive(LATER) == 0
    assert [each.message for each in caplog.records if "pip install 'penstock[parquet" in each.message][1:] == []
    assert caplog.records
    recent = [row for row in ROWS if row.at >= BEGIN + DAY]
    assert list(log.find(RequestQuery(since=BEGIN + DAY), None, 100)) == newest(recent)
    with pytest.raises(PenstockError, match="pip install"):
        log.find(RequestQuery(), None, 100)


def test_files_are_for_their_owner_alone(sqlite: Home) -> None:
    log = sqlite.gateway()
    log.append_requests(ROWS, [content(row) for row in ROWS])
    log.archive(BEGIN + DAY)
    files = [path for path in (*sqlite.folder.rglob("*.db*"), *sqlite.folder.rglob("*.parquet")) if path.is_file()]
    assert len(files) > 4
    assert {path.stat().st_mode & 0o077 for path in files} == {0}


def test_an_address_that_is_none_is_refused(sqlite: Home) -> None:
    with pytest.raises(PenstockError, match="s3://BUCKET"):
        sqlite.gateway(place="gs://bucket")
