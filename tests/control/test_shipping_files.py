"""Journals that are not as they were written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from penstock.core.usage import Opening
from penstock.store.journal_folder import segments
from tests.control.shipping_house import House
from tests.control.timing import until
from tests.store.records import opened, settled

WITHIN_S = 5.0


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path / "journal")
    yield house
    house.close()


async def test_a_damaged_segment_is_kept_and_the_next_is_read(house: House) -> None:
    owner, journal = house.writer(segment_bytes=2_000)
    for number in range(12):
        journal.write(settled(f"l{number}"))
    first = segments(house.folder)[owner][0].path
    data = bytearray(first.read_bytes())
    data[len(data) // 2] ^= 1
    first.write_bytes(data)
    async with house.shipping() as shipping:
        await shipping.flush(WITHIN_S)
        await until(lambda: house.files() == [f"{owner}-000001.damaged"])
        assert shipping.damaged == 1
        assert shipping.waiting() == 0
    assert {("req_l0", 1), ("req_l11", 1)} <= house.store.rows.keys()
    assert len(house.store.rows) < 12


async def test_a_bound_of_a_later_version_is_told_and_the_others_are_charged(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    owner, journal = house.writer()
    journal.write(opened("a"))
    journal.write(Opening("b", msgspec.Raw(msgspec.msgpack.encode({"of": "later"})), ()))
    journal.write(opened("c"))
    async with house.shipping() as shipping:
        await shipping.flush(WITHIN_S)
        assert house.orphaned == [(owner, "a"), (owner, "b"), (owner, "c")]
        assert shipping.damaged == 1
    assert list(house.store.rows) == [("req_a", 1), ("req_c", 1)]
    assert "what b may have used" in caplog.text


async def test_a_torn_end_is_no_damage(house: House, caplog: pytest.LogCaptureFixture) -> None:
    owner, journal = house.writer()
    journal.write(opened("a"))
    journal.write(settled("a"))
    path = segments(house.folder)[owner][0].path
    path.write_bytes(path.read_bytes()[:-1])
    async with house.shipping() as shipping:
        await shipping.flush(WITHIN_S)
        await until(lambda: house.files() == [])
        assert shipping.damaged == 0
    assert house.store.rows["req_a", 1].ending == "worker_lost"


async def test_a_segment_that_somebody_took_away_holds_nothing_up(house: House) -> None:
    house.store.away = True
    async with house.shipping() as shipping:
        owner, journal = house.writer()
        journal.write(settled("a"))
        await shipping.caught_up(WITHIN_S)
        segments(house.folder)[owner][0].path.unlink()
        house.store.away = False
        _, other = house.writer()
        other.write(settled("b"))
        await shipping.flush(WITHIN_S)
        assert ("req_b", 1) in house.store.rows
        assert shipping.waiting() == 0
