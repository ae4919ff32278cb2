"""SQLite and PostgreSQL behave the same to their callers, and say in words what is wrong with them."""

from __future__ import annotations

import os
import re
import sqlite3
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sql

from penstock.core.errors import STORE_CONFLICT, STORE_UNAVAILABLE, PenstockError
from penstock.store.database import Database, open_database, sqlite_url
from tests.postgres import PASSWORD, Postgres, postgres, postgres_url, running

__all__ = ["postgres", "postgres_url"]

ROWS = sql.Table("rows", sql.MetaData(), sql.Column("n", sql.Integer, primary_key=True, autoincrement=False))


def add(database: Database, n: int) -> None:
    with database.begin() as connection:
        connection.execute(sql.insert(ROWS).values(n=n))


def rows(database: Database) -> list[int]:
    with database.read() as connection:
        return list(connection.execute(sql.select(ROWS.c.n).order_by(ROWS.c.n)).scalars())


def unavailable(call: Callable[[], object]) -> str:
    with pytest.raises(PenstockError) as caught:
        call()
    assert caught.value.fault is STORE_UNAVAILABLE
    assert "\n" not in caught.value.message
    return caught.value.message


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = (
        sqlite_url(tmp_path / "a b?c%20#.db")
        if request.param == "sqlite"
        else request.getfixturevalue("postgres_url")
    )
    database = open_database(url, patience_s=1.0)
    with database.begin() as connection:
        ROWS.create(connection)
    yield database
    database.close()


def test_what_is_written_stays_and_what_raises_does_not(database: Database) -> None:
    add(database, 1)

    def broken() -> None:
        with database.begin() as connection:
            connection.execute(sql.insert(ROWS).values(n=2))
            raise KeyError

    with pytest.raises(KeyError):
        broken()
    assert rows(database) == [1]


def test_a_table_made_in_a_transaction_goes_with_it(database: Database) -> None:
    other = sql.Table("other", sql.MetaData(), sql.Column("n", sql.Integer))

    def broken() -> None:
        with database.begin() as connection:
            other.create(connection)
            raise KeyError

    with pytest.raises(KeyError):
        broken()
    with database.read() as connection:
        assert not sql.inspect(connection).has_table("other")


def test_a_reader_sees_one_moment(database: Database) -> None:
    add(database, 1)
    count = sql.select(sql.func.count()).select_from(ROWS)
    with database.read() as connection:
        assert connection.execute(count).scalar_one() == 1
        add(database, 2)
        assert connection.execute(count).scalar_one() == 1
    assert rows(database) == [1, 2]


def test_a_value_that_is_taken_is_a_conflict(database: Database) -> None:
    add(database, 1)
    with pytest.raises(PenstockError) as caught:
        add(database, 1)
    assert caught.value.fault is STORE_CONFLICT


def test_threads_write_one_after_the_other(database: Database) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: add(database, n), range(80)))
    assert rows(database) == list(range(80))


def test_a_mistake_of_ours_is_not_called_one_of_the_store(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), database.read():
        raise ZeroDivisionError
    with pytest.raises(OSError, match="pipe"), database.read():
        raise BrokenPipeError("pipe")


def test_a_closed_one_says_so(database: Database) -> None:
    database.close()
    database.close()
    assert "is closed" in unavailable(lambda: add(database, 1))
    assert "is closed" in unavailable(lambda: rows(database))


@pytest.mark.parametrize(
    "url", ["", "no url", "mysql://u:sekrit@h/n", "sqlite://", "sqlite:///:memory:", "postgresql://u:sekrit@h:port/n"]
)
def test_a_url_that_is_none_is_said_without_its_password(url: str) -> None:
    with pytest.raises(PenstockError, match="not one") as caught:
        open_database(url)
    assert caught.value.__cause__ is None
    assert "sekrit" not in caught.value.message


# -- SQLite ------------------------------------------------------------------------------------------------------


def opened(path: Path, patience_s: float = 5.0) -> Database:
    return open_database(sqlite_url(path), patience_s=patience_s)


def test_its_files_are_their_owners_alone_and_it_is_durable(tmp_path: Path) -> None:
    database = opened(tmp_path / "home" / "state.db")
    with database.begin() as connection:
        ROWS.create(connection)
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2
    files = list((tmp_path / "home").iterdir())
    assert len(files) > 1
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700
    database.close()


def test_a_file_that_is_no_store_is_said_to_be_damaged(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"not a database, but long enough to look at" * 100)
    assert "is damaged" in unavailable(lambda: opened(tmp_path / "state.db"))


def test_damage_within_is_said(tmp_path: Path) -> None:
    database = opened(tmp_path / "state.db")
    with database.begin() as connection:
        ROWS.create(connection)
        connection.execute(sql.insert(ROWS), [{"n": n} for n in range(5000)])
    database.close()
    file = bytearray((tmp_path / "state.db").read_bytes())
    file[4096:] = b"\xff" * (len(file) - 4096)
    (tmp_path / "state.db").write_bytes(file)
    database = opened(tmp_path / "state.db")
    assert "is damaged" in unavailable(lambda: rows(database))
    database.close()


def test_a_locked_one_is_waited_for_and_then_said_to_be_held(tmp_path: Path) -> None:
    database = opened(tmp_path / "state.db", 0.05)
    other = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    assert "held by another process" in unavailable(lambda: add(database, 1))
    other.close()
    database.close()


def test_a_writer_that_takes_long_keeps_others_waiting_for_so_long_only(tmp_path: Path) -> None:
    database = opened(tmp_path / "state.db", 0.05)
    inside, over = threading.Event(), threading.Event()

    def hold() -> None:
        with database.begin():
            inside.set()
            over.wait(10)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(hold)
        assert inside.wait(10)
        assert "busy" in unavailable(lambda: add(database, 1))
        over.set()
    database.close()


def test_a_full_disk_is_said_and_mended(tmp_path: Path) -> None:
    database = opened(tmp_path / "state.db")
    with database.begin() as connection:
        ROWS.create(connection)

    def fill() -> None:
        with database.begin() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 4")
            connection.execute(sql.insert(ROWS), [{"n": n} for n in range(20_000)])

    assert "disk is full" in unavailable(fill)
    assert rows(database) == []
    database.close()


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be opened or written" in unavailable(lambda: opened(tmp_path / "file" / "state.db"))
    (tmp_path / "state.db").mkdir()
    assert "cannot be opened or written" in unavailable(lambda: opened(tmp_path / "state.db"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_home_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "cannot be opened or written" in unavailable(lambda: opened(tmp_path / "state.db"))


# -- PostgreSQL --------------------------------------------------------------------------------------------------


def refusal(url: str) -> str:
    database = open_database(url, patience_s=1.0)
    said = unavailable(lambda: add(database, 1))
    database.close()
    for hidden in (PASSWORD, "not%2Fa", "sekrit"):
        assert hidden not in said
    return said


def test_what_keeps_one_out_is_said(postgres: Postgres, postgres_url: str) -> None:
    name = postgres_url.rpartition("/")[2]
    assert "refuses the password of the user 'penstock'" in refusal(postgres.url(name, password="sekrit"))
    assert "refuses the password of the user 'nobody'" in refusal(postgres.url(name, user="nobody"))
    assert "does not exist on its server" in refusal(postgres.url("nowhere"))
    assert "is not as Penstock left it" in refusal(postgres_url)
    assert re.search("cannot be reached.*refused", refusal(f"postgresql://u:sekrit@127.0.0.1:1/{name}"))
    assert "cannot be reached" in refusal(f"{postgres_url}?sslmode=require")
    assert "cannot be reached" in refusal("postgresql://u@127.0.0.1:1/n?password=sekrit&host=nowhere.invalid")


def test_a_user_without_rights_is_named(postgres: Postgres, postgres_url: str) -> None:
    postgres.execute("CREATE ROLE guest LOGIN PASSWORD 'sekrit'")
    database = open_database(postgres.url(postgres_url.rpartition("/")[2], "guest", "sekrit"))

    def make() -> None:
        with database.begin() as connection:
            ROWS.create(connection)

    assert "does not let the user 'guest' do this (permission denied for schema public)" in unavailable(make)
    database.close()
    postgres.execute("DROP ROLE guest")


def test_one_that_can_only_be_read_is_said_to_be_a_standby(postgres: Postgres, postgres_url: str) -> None:
    name = postgres_url.rpartition("/")[2]
    postgres.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    assert "is a standby" in refusal(postgres_url)


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_lock_is_waited_for_only_so_long(database: Database) -> None:
    add(database, 1)
    with database.begin() as connection:
        connection.execute(sql.update(ROWS).values(n=2))
        begin = time.monotonic()
        assert "did not answer within 1 seconds" in unavailable(lambda: add(database, 2))
        assert time.monotonic() - begin < 3
    assert rows(database) == [2]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_statement_may_be_given_more_time(database: Database) -> None:
    nap = sql.text("SELECT pg_sleep(1.2)")
    with database.begin(5.0) as connection:
        connection.execute(nap)

    def usual() -> None:
        with database.begin() as connection:
            connection.execute(nap)

    assert "did not answer within 1 seconds" in unavailable(usual)


def test_it_is_away_and_comes_back() -> None:
    with running() as server, server.database() as url:
        database = open_database(url, patience_s=1.0)
        with database.begin() as connection:
            ROWS.create(connection)
        add(database, 1)
        for leave in (server.stop, server.kill):
            leave()
            begin = time.monotonic()
            assert "cannot be reached" in unavailable(lambda: rows(database))
            assert time.monotonic() - begin < 3
            server.start()
            assert rows(database) == [1]

        def interrupted() -> None:
            with database.begin() as connection:
                connection.execute(sql.insert(ROWS).values(n=2))
                server.kill()

        assert "cannot be reached" in unavailable(interrupted)
        server.start()
        assert rows(database) == [1]

        def frozen() -> None:
            with database.begin() as connection:
                connection.execute(sql.insert(ROWS).values(n=3))
                server.freeze()
                connection.execute(sql.insert(ROWS).values(n=4))

        begin = time.monotonic()
        assert "no answer within 1 seconds" in unavailable(frozen)
        assert "cannot be reached" in unavailable(lambda: rows(database))
        assert time.monotonic() - begin < 8
        server.thaw()
        assert rows(database) == [1]
        database.close()


def test_a_driver_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "penstock.store.postgresql", raising=False)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    assert "pip install 'penstock[postgres]'" in unavailable(lambda: open_database("postgresql://u:sekrit@h/n"))
