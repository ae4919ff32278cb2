"""Whatever happens, in whatever order: the ledger has exactly the rows that it should, each once."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.control.shipping import Shipping
from penstock.core.usage import Opened, Settled
from penstock.store.journal import Journal
from penstock.store.journal_folder import segments
from tests.control.shipping_house import PACE, House
from tests.control.timing import until
from tests.store.records import audited, opened, scored, settled

WITHIN_S = 20.0
SEGMENT_BYTES = 1_500

STEPS = st.one_of(
    st.tuples(
        st.sampled_from(["open", "settle", "settle for nothing", "again", "audit", "score"]), st.integers(0, 5)
    ),
    st.tuples(st.sampled_from(["kill", "torn"]), st.integers(0, 1)),
    st.tuples(st.sampled_from(["restart", "away", "back", "turn", "flush"]), st.just(0)),
    st.tuples(st.just("fail"), st.integers(1, 4)),
)


class Life:
    """What workers do, and what should come of it."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.expected: dict[tuple[str, int], bool] = {}
        """Each row of the ledger: whether it is marked as estimated."""
        self.acts: list[str] = []
        self.scores: list[str] = []
        """The requests that they are of."""
        self._writers: list[tuple[str, Journal] | None] = [None, None]
        self._open: dict[str, list[int]] = {}
        self._count = 0

    def writer(self, index: int) -> tuple[str, Journal]:
        found = self._writers[index]
        if found is None:
            found = self._writers[index] = self.house.writer(segment_bytes=SEGMENT_BYTES)
        return found

    def do(self, what: str, number: int) -> None:
        owner, journal = self.writer(number % 2)
        mine = [lease for lease in self._open if lease.startswith(owner + ".")]
        if what == "open":
            self._count += 1
            lease = f"{owner}.{self._count}"
            self._attempt(journal, lease, 1)
        elif what == "audit":
            self._count += 1
            journal.write(audited(f"act{self._count}", b"x" * (200 * number)))
            self.acts.append(f"act{self._count}")
        elif what == "score":
            requests = [f"scored{self._count}-{each}" for each in range(number)]
            self._count += 1
            journal.write(scored(*requests))
            self.scores += requests
        elif mine:
            lease = mine[number % len(mine)]
            attempts = self._open[lease]
            if what == "again":
                self._attempt(journal, lease, len(attempts) + 1)
                return
            for attempt in self._open.pop(lease):
                del self.expected[f"req_{lease}", attempt]
            rows = () if what == "settle for nothing" else (len(attempts),)
            journal.write(Settled(lease, settled(lease, *rows).entries if rows else (), {}))
            self.expected.update(((f"req_{lease}", attempt), False) for attempt in rows)

    def kill(self, index: int, torn: bool) -> str | None:
        """Its name. Everything it left open is to be charged; ``torn``: it was in the middle of a write."""
        found, self._writers[index] = self._writers[index], None
        if found is None:
            return None
        if torn:
            last = segments(self.house.folder)[found[0]][-1].path
            with last.open("ab") as file:
                file.write(b"\x50\x01\x00\x00\x11\x22\x33\x44\x93\xa6opened")
        self._open = {lease: tries for lease, tries in self._open.items() if not lease.startswith(found[0] + ".")}
        return found[0]

    def _attempt(self, journal: Journal, lease: str, attempt: int) -> None:
        journal.write(opened(lease, attempt))
        self._open.setdefault(lease, []).append(attempt)
        self.expected[f"req_{lease}", attempt] = True


async def live(house: House, life: Life, steps: list[tuple[str, int]]) -> None:
    left = iter(steps)
    done = False
    while not done:
        async with house.shipping() as shipping:
            done = await until_restart(house, life, shipping, left)
        check_followed(house)
        for index in (0, 1):
            life.kill(index, torn=False)
    house.store.away, house.store.failures = False, 0
    async with house.shipping() as shipping:
        await shipping.flush(WITHIN_S)
        await until(lambda: house.files() == [], WITHIN_S)
    check_followed(house)


async def until_restart(house: House, life: Life, shipping: Shipping, left: Iterator[tuple[str, int]]) -> bool:
    for what, number in left:
        match what:
            case "kill" | "torn":
                if owner := life.kill(number, what == "torn"):
                    shipping.ended(owner)
            case "restart":
                return False
            case "away":
                house.store.away = True
            case "back":
                house.store.away = False
            case "fail":
                house.store.failures = number
            case "turn":
                with contextlib.suppress(TimeoutError):
                    await shipping.caught_up(WITHIN_S)
            case "flush":
                if not house.store.away:
                    await shipping.flush(WITHIN_S)
                    missing = [key for key, lost in life.expected.items() if not lost and key not in house.store.rows]
                    assert not missing
            case _:
                life.do(what, number)
    return True


def check_followed(house: House) -> None:
    """In order, once each, and nothing of a lease after its end."""
    met: set[tuple[str, int]] = set()
    closed: set[str] = set()
    for _, record in house.followed:
        assert record.lease not in closed
        if isinstance(record, Opened):
            assert (record.lease, record.bound.attempt) not in met
            met.add((record.lease, record.bound.attempt))
        else:
            closed.add(record.lease)
    assert not closed & {lease for _, lease in house.orphaned}
    assert len(house.orphaned) == len(set(house.orphaned))


@given(st.lists(STEPS, min_size=10, max_size=80), st.sampled_from([1, 8, 50]), st.sampled_from([1, 1_000, 1 << 20]))
@settings(max_examples=200, deadline=None)
def test_the_ledger_has_exactly_what_it_should(steps: list[tuple[str, int]], remember: int, size: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        pace = msgspec.structs.replace(PACE, remember=remember, bytes=size)
        house = House(Path(folder) / "journal", pace=pace)
        house.folder.mkdir()
        life = Life(house)
        try:
            asyncio.run(live(house, life, steps))
        finally:
            house.close()
        assert {key: row.estimated for key, row in house.store.rows.items()} == life.expected
        assert house.store.acts_by_id.keys() == set(life.acts)
        assert sorted(request for request, *_ in house.store.scores) == sorted(life.scores)
        assert house.files() == []


async def test_killed_processes_are_settled_to_the_row(tmp_path: Path) -> None:
    """Real processes, killed in the middle of writing, while their journals are shipped."""
    house = House(tmp_path)
    house.pace = type(house.pace)(tick_s=0.01)
    owners = [f"w{number}" for number in range(3)]
    async with house.shipping() as shipping:
        children = [started(tmp_path, owner) for owner in owners]
        told = {}
        for owner, child in zip(owners, children, strict=True):
            assert child.stdout is not None
            told[owner] = await asyncio.to_thread(child.stdout.read, 4 * 3_000)
            child.kill()
            told[owner] += await asyncio.to_thread(child.stdout.read)
            child.stdout.close()
            child.wait(10)
            shipping.ended(owner)
        await shipping.flush(WITHIN_S)
        assert shipping.damaged == 0
    for owner in owners:
        returned = len(told[owner]) // 4
        got = {key: row.estimated for key, row in house.store.rows.items() if key[0].startswith(f"req_{owner}.")}
        # One more may have been written than could be told of.
        assert got in (rows_of(owner, returned), rows_of(owner, returned + 1))
        scores = {request for request, *_ in house.store.scores if request.startswith(f"req_{owner}.")}
        assert scores in (scores_of(owner, returned), scores_of(owner, returned + 1))
    assert house.store.again == 0


def started(folder: Path, owner: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.store.journal_writer", str(folder), owner]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def rows_of(owner: str, writes: int) -> dict[tuple[str, int], bool]:
    """What so many writes of ``journal_writer`` come to."""
    rows: dict[tuple[str, int], bool] = {}
    for number in range(writes):
        request = f"req_{owner}.{number // 2}"
        if number % 97 == 96:
            rows[request, 2] = True
        elif number % 2:
            rows.pop((request, 2), None)
            rows[request, 1] = False
        else:
            rows[request, 1] = True
    return rows


def scores_of(owner: str, writes: int) -> set[str]:
    """The requests of which so many writes have scores."""
    return {f"req_{owner}.{number // 2}" for number in range(writes) if number % 97 == 96}
