"""A recorder with everything around it: spools on the disk, stores that can be away, and a fuse that kills it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from pathlib import Path
from zlib import crc32

import msgspec

from penstock.control.recording import Recorder, RecordingPace
from penstock.core.errors import STORE_UNAVAILABLE, PenstockError
from penstock.core.requests import Beat, LogRecord, RequestContent, RequestQuery, RequestRecord
from penstock.core.series import Fed, SeriesQuery, SeriesRow
from penstock.observe.spool import HEADER, segment_name
from penstock.observe.spool_reader import Batch, SpoolReader, Spot
from penstock.store import SeriesStore
from penstock.store.forgetful_requests import ForgetfulRequests
from penstock.store.forgetful_series import ForgetfulSeries
from tests.control.timing import ManualTime

PACE = RecordingPace(
    tick_s=0.002, series_s=0.0, records=6, rest_least_s=0.0, idle_s=0.0, backoff_s=0.001, backoff_most_s=0.01
)


class Killed(BaseException):
    """The process ends here."""


class Fuse:
    """Counts effects; at ``at`` it raises ``error``, before the effect (even) or after it (odd)."""

    def __init__(self) -> None:
        self.at = -1
        self.passed = 0
        self.error: BaseException = Killed()

    @contextlib.contextmanager
    def effect(self) -> Iterator[None]:
        self._burn()
        yield
        self._burn()

    def _burn(self) -> None:
        self.passed += 1
        if self.passed - 1 == self.at:
            raise self.error


class Requests(ForgetfulRequests):
    def __init__(self, house: House) -> None:
        super().__init__()
        self._house = house

    def append_requests(self, records: Sequence[RequestRecord], contents: Sequence[RequestContent]) -> int:
        self._house.answer()
        with self._house.fuse.effect():
            return super().append_requests(records, contents)


class Series:
    """The series that the house has, behind its fuse."""

    def __init__(self, house: House) -> None:
        self._house = house

    def append_series(self, rows: Sequence[SeriesRow], fed: Fed) -> None:
        self._house.answer()
        with self._house.fuse.effect():
            self._house.kept.append_series(rows, fed)

    def series(self, query: SeriesQuery) -> Sequence[SeriesRow]:
        return self._house.kept.series(query)

    def fed(self) -> Sequence[Fed]:
        self._house.answer()
        return self._house.kept.fed()

    def coarsen(self, fine_before: float, middle_before: float, forget_before: float) -> None:
        self._house.kept.coarsen(fine_before, middle_before, forget_before)


class Reader(SpoolReader):
    def __init__(self, folder: Path, fuse: Fuse) -> None:
        super().__init__(folder)
        self._fuse = fuse

    def read(self, most: int, living: Collection[str]) -> Batch:
        with self._fuse.effect():
            return super().read(most, living)

    def done(self, batch: Batch) -> None:
        with self._fuse.effect():
            super().done(batch)

    def _remember(self, spots: dict[str, Spot]) -> None:  # type: ignore[override]
        with self._fuse.effect():
            super()._remember(spots)


class House:
    """``living`` are the owners that write; ``away``: the stores do not answer."""

    def __init__(self, folder: Path, series: SeriesStore | None = None, pace: RecordingPace = PACE) -> None:
        self.folder = folder
        self._pace = pace
        folder.mkdir(parents=True)
        self.time = ManualTime()
        self.fuse = Fuse()
        self.away = False
        self.calls = 0
        self.living: set[str] = set()
        self.requests = Requests(self)
        self.kept: SeriesStore = series or ForgetfulSeries()
        self.traced: list[tuple[str, int]] = []
        self.recorder = self.born()

    def born(self) -> Recorder:
        """Another life, on what is on the disk and in the stores."""
        self.recorder = Recorder(
            Reader(self.folder, self.fuse), self.requests, Series(self), self._export, self.time, "gw",
            living=lambda: self.living, pace=self._pace,
        )  # fmt: skip
        return self.recorder

    def answer(self) -> None:
        self.calls += 1
        if self.away:
            raise PenstockError(STORE_UNAVAILABLE, "The store is away.")

    def _export(self, records: Sequence[RequestRecord], contents: Sequence[RequestContent]) -> None:
        self.traced += [
            (each.request_id, sum(said.request_id == each.request_id for said in contents)) for each in records
        ]

    def write(self, owner: str, *records: LogRecord, number: int = 1) -> None:
        with (self.folder / segment_name(owner, number)).open("ab") as file:
            for each in records:
                payload = msgspec.msgpack.encode(each)
                file.write(HEADER.pack(len(payload), crc32(payload)) + payload)

    def logged(self) -> list[str]:
        """Oldest first."""
        return [each.request_id for each in reversed(self.requests.find(RequestQuery(), None, 10_000))]

    def counted(self) -> int:
        rows = self.kept.series(SeriesQuery(since=0.0, until=4e9, step_s=3600.0))
        assert sum(row.requests for row in rows) == sum(count for row in rows for _, count in row.duration)
        return sum(row.requests for row in rows)

    def fed(self) -> Fed:
        (fed,) = self.kept.fed()
        return fed

    def left(self) -> list[str]:
        """Segments that are there yet."""
        return sorted(each.name for each in self.folder.iterdir() if each.suffix == ".spool")


@contextlib.asynccontextmanager
async def running(recorder: Recorder) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(recorder.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait((task,))


async def comes(done: Callable[[], object], within_s: float = 10.0) -> None:
    """Polls, so that threads get their turns."""
    deadline = time.monotonic() + within_s
    while not done():
        assert time.monotonic() < deadline, "did not happen"
        await asyncio.sleep(0.002)


def record(number: int, **changes: object) -> RequestRecord:
    fields: dict[str, object] = {
        "at": 1_700_000_000.0 + number,
        "gateway": "gw",
        "duration_s": 0.5,
        "service": "chat",
    }
    return RequestRecord(request_id=f"r{number}", **fields | {"status": 200, "ending": "complete"} | changes)  # type: ignore[arg-type]


def content(number: int) -> RequestContent:
    return RequestContent(request_id=f"r{number}", at=1_700_000_000.0 + number, project="p", service="chat")


def beat(at: float, shed: int = 0) -> Beat:
    return Beat(1_700_000_000.0 + at, shed)
