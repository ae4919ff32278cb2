from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from penstock.control.shipping_batch import ShippingPace
from penstock.core.errors import STORE_UNAVAILABLE, PenstockError
from penstock.core.releases import Scored
from penstock.core.usage import Settled
from penstock.store.database import open_database, sqlite_url
from penstock.store.journal import Framing
from penstock.store.journal_folder import segments
from penstock.store.ledger import SqlLedger
from penstock.store.migrations import migrate
from penstock.store.scores import SqlScores
from tests.control.shipping_house import House
from tests.control.timing import until
from tests.store.records import audited, entry, opened, scored, settled, used

WITHIN_S = 5.0
SIZE = len(Framing().one(settled("a")))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path / "journal")
    yield house
    house.close()


async def test_what_is_written_comes_into_the_store(house: House) -> None:
    async with house.shipping() as shipping:
        owner, journal = house.writer()
        journal.write(opened("a"))
        journal.write(opened("a", 2))
        journal.write(settled("a", 2))
        journal.write_all([audited("x"), used("k_1"), scored("a", "b")])
        await shipping.flush(WITHIN_S)
        assert house.store.rows == {("req_a", 2): entry("req_a", 2)}
        assert list(house.store.acts_by_id) == ["x"]
        assert house.store.keys == [used("k_1")]
        assert tuple(house.store.scores.values()) == scored("a", "b").scores
        assert house.followed == [(owner, opened("a")), (owner, opened("a", 2)), (owner, settled("a", 2))]
        assert house.orphaned == []
        assert shipping.waiting() == 0


async def test_what_nobody_settled_is_charged_at_its_bound(house: House) -> None:
    async with house.shipping() as shipping:
        owner, journal = house.writer()
        journal.write(opened("a"))
        journal.write(opened("b", 1))
        journal.write(opened("b", 2))
        journal.write(settled("a"))
        await shipping.flush(WITHIN_S)
        assert house.orphaned == []
        shipping.ended(owner)
        await shipping.caught_up(WITHIN_S)
        assert house.orphaned == [(owner, "b")]
        await shipping.flush(WITHIN_S)
        rows = house.store.rows
        assert rows.keys() == {("req_a", 1), ("req_b", 1), ("req_b", 2)}
        for attempt in (1, 2):
            row = rows["req_b", attempt]
            assert (row.ending, row.status, row.estimated) == ("worker_lost", 500, True)
            assert row.cost_nano == opened("b").bound.cost_nano
            assert row.settled_at == house.time.wall()
        await until(lambda: house.files() == [])
        shipping.ended(owner)
        await shipping.flush(WITHIN_S)
        assert len(rows) == 3


async def test_an_end_that_is_told_twice_is_one(house: House) -> None:
    async with house.shipping() as shipping:
        owner, journal = house.writer()
        journal.write(opened("a"))
        await shipping.caught_up(WITHIN_S)
        house.store.away = True
        for _ in range(2):
            shipping.ended(owner)
            await shipping.caught_up(WITHIN_S)
        assert house.orphaned == [(owner, "a")]
        house.store.away = False
        await shipping.flush(WITHIN_S)
        assert list(house.store.rows) == [("req_a", 1)]


async def test_one_that_ends_does_not_end_the_others(house: House) -> None:
    gone, journal = house.writer()
    other, going_on = house.writer()
    journal.write(opened("a"))
    going_on.write(opened("b"))
    async with house.shipping() as shipping:
        await shipping.flush(WITHIN_S)
        assert sorted(house.orphaned) == [(gone, "a"), (other, "b")], "of an earlier life everybody has ended"
        new, journal = house.writer()
        journal.write(opened("c"))
        await shipping.flush(WITHIN_S)
        shipping.ended(gone)
        shipping.ended("somebody-else")
        await shipping.flush(WITHIN_S)
        assert (new, "c") not in house.orphaned
        assert len(house.orphaned) == 2


async def test_an_earlier_life_is_settled_once(house: House) -> None:
    owner, journal = house.writer(segment_bytes=1_000)
    for number in range(20):
        journal.write(opened(f"l{number}"))
        if number % 3:
            journal.write(settled(f"l{number}"))
    house.store.failures = 3
    async with house.shipping() as shipping:
        await shipping.flush(WITHIN_S)
        assert house.orphaned == [(owner, f"l{number}") for number in range(0, 20, 3)]
        assert len(house.store.rows) == 20
        await until(lambda: house.files() == [])
    async with house.shipping() as shipping:
        await shipping.flush(WITHIN_S)
    assert len(house.store.rows) == 20
    assert [key for key, row in house.store.rows.items() if row.ending == "worker_lost"] == [
        (f"req_l{number}", 1) for number in range(0, 20, 3)
    ]


async def test_a_request_that_lasts_holds_back_one_record_and_not_the_journal(house: House) -> None:
    async with house.shipping() as shipping:
        owner, journal = house.writer(segment_bytes=2_000)
        journal.write(opened("long"))
        for number in range(200):
            journal.write(opened(f"l{number}"))
            journal.write(settled(f"l{number}"))
        await shipping.flush(WITHIN_S)
        await until(lambda: len(house.files()) == 2)
        assert house.files()[0] == f"{owner}-000000.journal"
    house.store.rows.clear()
    async with house.shipping() as shipping:
        await shipping.flush(WITHIN_S)
        assert (owner, opened("long")) in house.followed
        assert house.orphaned[0] == (owner, "long")
        await until(lambda: house.files() == [])
    assert house.store.rows["req_long", 1].ending == "worker_lost"


async def test_what_was_carried_is_not_followed_twice(house: House) -> None:
    async with house.shipping() as shipping:
        owner, journal = house.writer(segment_bytes=1_000)
        for number in range(10):
            journal.write(opened(f"l{number}"))
        await shipping.flush(WITHIN_S)
        await until(
            lambda: f"{owner}-000000.journal" in house.files() and f"{owner}-000001.journal" not in house.files()
        )
        journal.write(settled("l9"))
        await shipping.flush(WITHIN_S)
        assert len(house.followed) == 11
    async with house.shipping() as shipping:
        await shipping.flush(WITHIN_S)
        assert len(house.followed) == len(set(map(repr, house.followed)))
        assert house.orphaned == [(owner, f"l{number}") for number in range(9)]


# -- a store that is away ------------------------------------------------------------------------------------------------


async def test_while_the_store_is_away_nothing_is_lost_and_following_goes_on(house: House) -> None:
    house.store.away = True
    async with house.shipping() as shipping:
        _, journal = house.writer(segment_bytes=10_000)
        for number in range(100):
            journal.write(opened(f"l{number}"))
            journal.write(settled(f"l{number}"))
            journal.write(audited(f"x{number}"))
        await shipping.caught_up(WITHIN_S)
        assert len(house.followed) == 200
        with pytest.raises(TimeoutError):
            await shipping.flush(0.05)
        written = sum(each.size for each in next(iter(segments(house.folder).values())))
        assert shipping.waiting() == written
        assert house.store.rows == {}
        house.store.away = False
        house.store.failures = 5
        await shipping.flush(WITHIN_S)
        assert shipping.waiting() == 0
    assert len(house.store.rows) == len(house.store.acts_by_id) == 100
    assert house.store.largest <= house.pace.rows


async def test_what_is_too_much_to_keep_is_read_again_once(house: House) -> None:
    house.store.away = True
    async with house.shipping() as shipping:
        for turn in range(2):
            _, journal = house.writer(segment_bytes=20 * SIZE)
            for number in range(2 * house.pace.remember):
                journal.write_all([settled(f"{turn}.{number}"), audited(f"{turn}.{number}")])
        await shipping.caught_up(WITHIN_S)
        house.store.away = False
        await shipping.flush(WITHIN_S)
        assert len(house.store.rows) == len(house.store.acts_by_id) == 4 * house.pace.remember
        assert house.store.again == 0
        assert len(house.followed) == 4 * house.pace.remember


async def test_what_waits_is_more_than_little_before_it_is_sent_but_nobody_waits_for_that(house: House) -> None:
    house.pace = msgspec.structs.replace(house.pace, pause_s=60.0)
    async with house.shipping() as shipping:
        _, journal = house.writer()
        journal.write(settled("a"))
        await until(lambda: house.store.calls == 1)
        journal.write(settled("b"))
        await shipping.caught_up(WITHIN_S)
        await shipping.caught_up(WITHIN_S)
        assert house.store.calls == 1
        await shipping.flush(WITHIN_S)
        assert len(house.store.rows) == 2
        for number in range(house.pace.rows):
            journal.write(settled(f"l{number}"))
        await until(lambda: len(house.store.rows) == 2 + house.pace.rows)


async def test_a_store_with_a_defect_is_tried_again(house: House, caplog: pytest.LogCaptureFixture) -> None:
    append, told = house.store.append, []

    def defect(entries: object) -> int:
        house.store.append = append  # type: ignore[method-assign]
        told.append(entries)
        raise ZeroDivisionError

    house.store.append = defect  # type: ignore[method-assign,assignment]
    async with house.shipping() as shipping:
        _, journal = house.writer()
        journal.write(settled("a"))
        await shipping.flush(WITHIN_S)
    assert told
    assert ("req_a", 1) in house.store.rows
    assert any(record.exc_info for record in caplog.records)


async def test_it_says_when_too_much_waits_and_when_it_does_not(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    house.limit_bytes = 50 * SIZE
    house.store.away = True
    async with house.shipping() as shipping:
        _, journal = house.writer(segment_bytes=10 * SIZE)
        for _ in range(40):
            journal.write(settled("a"))
        await shipping.caught_up(WITHIN_S)
        assert not shipping.full
        assert shipping.waiting() == 40 * SIZE
        for _ in range(20):
            journal.write(settled("a"))
        await until(lambda: shipping.full)
        assert house.changes == [True]
        house.store.away = False
        await until(lambda: not shipping.full)
        assert house.changes == [True, False]
    assert house.changes == [True, False]


async def test_full_is_left_only_when_a_tenth_is_free(house: House) -> None:
    house.limit_bytes = 20 * SIZE
    house.store.away = True
    house.pace = ShippingPace(tick_s=0.002, rows=1, backoff_s=0.001, backoff_most_s=0.002)
    async with house.shipping() as shipping:
        _, journal = house.writer()
        for _ in range(21):
            journal.write(settled("a"))
        await until(lambda: shipping.full)
        seen: list[tuple[int, bool]] = []
        append = house.store.append

        def watched(entries: object) -> int:
            seen.append((shipping.waiting(), shipping.full))
            return append(entries)  # type: ignore[arg-type]

        house.store.append = watched  # type: ignore[method-assign,assignment]
        house.store.away = False
        await shipping.flush(WITHIN_S)
    assert seen[0][0] >= 20 * SIZE
    assert any(18 * SIZE <= waiting < 20 * SIZE for waiting, _ in seen)
    assert all(full is (waiting >= 18 * SIZE) for waiting, full in seen)


async def test_the_store_knows_nothing_that_the_disk_may_lose(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def refuses(fd: int) -> None:
        sizes.append(os.fstat(fd).st_size)
        raise OSError(5, "Input/output error")

    async with house.shipping() as shipping:
        owner, journal = house.writer()
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", refuses)
            journal.write(settled("a"))
            await until(lambda: len(sizes) > 2)
            assert house.store.rows == {}
            assert set(sizes) == {segments(house.folder)[owner][0].size}
        await shipping.flush(WITHIN_S)
        assert ("req_a", 1) in house.store.rows


# -- looking up ----------------------------------------------------------------------------------------------------------


async def test_a_request_can_be_looked_up_at_once(house: House) -> None:
    async with house.shipping() as shipping:
        owner, journal = house.writer()
        house.store.away = True
        journal.write(opened("a"))
        journal.write(opened("b"))
        journal.write(settled("a", 1, 2))
        assert await shipping.lookup("req_a", WITHIN_S) == (entry("req_a", 1), entry("req_a", 2))
        with pytest.raises(PenstockError) as caught:
            await shipping.lookup("req_b", WITHIN_S)
        assert caught.value.fault is STORE_UNAVAILABLE
        house.store.away = False
        await shipping.flush(WITHIN_S)
        assert await shipping.lookup("req_a", WITHIN_S) == (entry("req_a", 1), entry("req_a", 2))
        assert await shipping.lookup("req_b", WITHIN_S) == ()
        shipping.ended(owner)
        assert [row.ending for row in await shipping.lookup("req_b", WITHIN_S)] == ["worker_lost"]


async def test_requests_that_share_an_id_are_both_found(house: House) -> None:
    house.store.away = True
    async with house.shipping() as shipping:
        _, journal = house.writer()
        later = msgspec.structs.replace(entry("same", 1), received_at=entry("same").received_at + 1, project="blue")
        journal.write(Settled("b", (later,), {}))
        journal.write(settled("a", 1, 2, request="same"))
        assert await shipping.lookup("same", WITHIN_S) == (entry("same", 1), later, entry("same", 2))


async def test_no_more_is_remembered_than_was_said(house: House) -> None:
    house.store.away = True
    async with house.shipping() as shipping:
        _, journal = house.writer()
        for number in range(house.pace.remember + house.pace.rows):
            journal.write(settled(f"l{number}"))
        with pytest.raises(PenstockError):
            await shipping.lookup("req_l0", WITHIN_S)
        first = f"req_l{house.pace.rows}"
        assert await shipping.lookup(first, WITHIN_S) == (entry(first),)


async def test_what_a_client_scores_is_of_the_release_that_answered(house: House, tmp_path: Path) -> None:
    """The row of its request comes into the store before it, when both are written at once."""
    database = open_database(sqlite_url(tmp_path / "state.db"))
    migrate(database, now=0.0)
    ledger, scores = SqlLedger(database), SqlScores(database)
    house.store.append = ledger.append  # type: ignore[method-assign]
    house.store.append_scores = scores.append_scores  # type: ignore[method-assign]
    (given,) = scored("req_a").scores
    given = msgspec.structs.replace(given, service="", release="", rollout="", unit="")
    row = msgspec.structs.replace(entry("req_a"), release="rel_2")
    async with house.shipping() as shipping:
        _, journal = house.writer()
        journal.write_all([opened("a"), Scored((given,)), Settled("a", (row,), {})])
        await shipping.flush(WITHIN_S)
    assert list(scores.of_request("req_a")) == [msgspec.structs.replace(given, service="small", release="rel_2")]
    database.close()
