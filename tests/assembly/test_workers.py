"""The loop that keeps a worker alive, with workers that do as they are told."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.assembly.link import Entrance, Update, framed
from penstock.assembly.workers import WorkerLoop
from penstock.core.accounts import Directory
from penstock.core.clock import SystemClock
from penstock.core.errors import PenstockError
from penstock.core.leases import Hold, Need
from penstock.core.serving import Applied, Deployment
from penstock.core.usage import Act, Held
from penstock.edge.http.config import Drain, ServerSettings
from penstock.routing.places import LocalPlaces
from tests.assembly.doubles import StillBooks
from tests.control.timing import ManualTime, until
from tests.e2e.running import alive

# Notes what it hears in a file. What it does with a deployment is decided by how the test has named its mood.
WORKER = """
import asyncio, msgspec, os, socket, sys
from penstock.assembly.link import *
from penstock.core.leases import Hold, Need
from penstock.core.policy import Queue
from penstock.core.usage import Act, Held
from penstock.observe.totals import Report, Series
async def main():
    note, mood = open(sys.argv[1], "a", buffering=1), sys.argv[2]
    print("pid", os.getpid(), file=note)
    if mood == "stillborn":
        sys.exit(3)
    messages = asyncio.Queue()
    link = worker_end(messages.put_nowait)
    await link.open(socket.socket(fileno=int(sys.argv[3])))
    socket.socket(fileno=int(sys.argv[4])).getsockname()
    place = False
    link.ended.add_done_callback(lambda _: messages.put_nowait(None))
    while message := await messages.get():
        match message:
            case Begin():
                print("owner", int(message.owner.split("-")[1]), file=note)
            case Entrance(directory):
                print("directory", directory.version, file=note)
            case Update(deployment):
                print("version", deployment.version, file=note)
                if mood == "refusing":
                    link.send(Refused("no such certificate"))
                    break
                link.send(Oldest(deployment.version))
                link.send(Listening())
                if mood == "garbling":
                    link.send_frame(b"\\xff" * 4)
                if mood == "holding":
                    link.send(Ask(7, Acquire("s", "p", 0, Queue(), 1)))
                if mood == "spending":
                    need = Need("bud_1:", Hold.KEPT, 20, 4, until=4e10)
                    link.send(Ask(8, Reserve("l", (need,))))
            case Told(8):
                link.send(SettleLease("l", {"bud_1:": 3}))
                link.send(Ask(9, Reserve("m", (need,))))
            case Told(9):
                print("spent", int(sys.argv[5]), file=note)
            case Ask(number, Holding()):
                held = (Held("bud_1:", Hold.KEPT, 4, 0.0, 4e10, 5.0),)
                link.send(Told(number, msgspec.Raw(msgspec.msgpack.encode([("m", held)]))))
            case Told(7):
                print("place", int(sys.argv[5]), file=note)
            case Ask(number, Measured()) if mood != "hung":
                link.send(Told(number, msgspec.Raw(msgspec.msgpack.encode(Report({"m": (Series((), (1.0,)),)})))))
            case Stop(announce):
                print("stop", int(announce), file=note)
                if mood != "stubborn":
                    break
    await link.aclose()
asyncio.run(main())
"""


def update(version: int, workers: int = 1) -> Update:
    return Update(Deployment(version, {}, {}, {}), ServerSettings(workers=workers, drain=Drain(limit_s=0)))


async def refused(_: str, __: bool, ___: Act) -> Applied:
    raise AssertionError("nothing is applied here")


class Stage:
    def __init__(self, note: Path, mood: str, workers: int = 1) -> None:
        self.note, self.said, self.time = note, list[str](), ManualTime()
        self.places = LocalPlaces(SystemClock())
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.books = StillBooks()
        self.loop = WorkerLoop(
            update(1, workers), self.sock, env=dict(os.environ), say=self.said.append, clock=SystemClock(),
            places=self.places, apply=refused, text=str, books=self.books.as_books(), page=refused,
            sleep=self.time.sleep,
            argv=(sys.executable, "-c", WORKER, str(note), mood),
        )  # fmt: skip

    def heard(self, what: str) -> list[int]:
        if not self.note.exists():
            return []
        lines = [line.split() for line in self.note.read_text().splitlines()]
        return [int(line[1]) for line in lines if len(line) == 2 and line[0] == what]

    def words(self) -> list[str]:
        return [line.split()[0] for line in self.note.read_text().splitlines()]

    async def until(self, what: str, *values: int) -> None:
        await until(lambda: self.heard(what) == list(values), 10)

    @contextlib.asynccontextmanager
    async def playing(self) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.create_task(self.loop.run())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.wait((task,))
            self.sock.close()
            assert not [pid for pid in self.heard("pid") if alive(pid)]


@pytest.fixture
def note(tmp_path: Path) -> Path:
    return tmp_path / "note"


async def test_it_is_told_what_to_serve_and_told_again_when_that_changes(note: Path) -> None:
    stage = Stage(note, "willing")
    async with stage.playing():
        await asyncio.wait_for(stage.loop.listening.wait(), 10)
        await stage.until("version", 1)
        for version in (2, 3, 4):
            stage.loop.update(update(version))
        await stage.until("version", 1, 4)
    assert stage.heard("stop") == [0]
    assert stage.said == []


async def test_one_that_is_killed_is_replaced_and_hears_the_newest(note: Path) -> None:
    stage = Stage(note, "willing")
    async with stage.playing():
        await stage.until("version", 1)
        stage.loop.update(update(2))
        await stage.until("version", 1, 2)
        os.kill(stage.heard("pid")[0], signal.SIGKILL)
        await until(lambda: stage.time.slept == [0.0], 10)
        await stage.time.advance(0.0)
        await stage.until("version", 1, 2, 2)
        os.kill(stage.heard("pid")[1], signal.SIGKILL)
        await until(lambda: stage.time.slept == [0.0, 0.5], 10)
    assert stage.said == [
        "The worker is gone (killed by SIGKILL); starting it again at once.",
        "The worker is gone (killed by SIGKILL); starting it again in 0.5 s.",
    ]


async def test_one_that_cannot_serve_this_ends_the_loop_with_its_words(note: Path) -> None:
    async with Stage(note, "refusing").playing() as loop:
        with pytest.raises(PenstockError, match="no such certificate"):
            await asyncio.wait_for(loop, 10)


async def test_one_that_never_comes_up_is_given_up(note: Path) -> None:
    stage = Stage(note, "stillborn")
    async with stage.playing() as loop:
        for waits in (1, 2):
            await until(lambda waits=waits: len(stage.time.slept) == waits, 10)
            await stage.time.advance(1.0)
        with pytest.raises(PenstockError, match=r"does not start \(ended with status 3\)"):
            await asyncio.wait_for(loop, 10)


async def test_one_that_garbles_its_link_is_replaced(note: Path) -> None:
    stage = Stage(note, "garbling")
    async with stage.playing():
        await until(lambda: stage.time.slept == [0.0], 10)
        assert "garbled its link" in stage.said[0]


async def test_one_that_will_not_stop_is_made_to(note: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.assembly.workers._STOPS_WITHIN_S", 0.1)
    stage = Stage(note, "stubborn")
    async with stage.playing():
        await asyncio.wait_for(stage.loop.listening.wait(), 10)
    assert stage.heard("stop") == [0]


async def test_several_are_kept_and_each_hears_the_newest(note: Path) -> None:
    stage = Stage(note, "willing", workers=3)
    async with stage.playing():
        await stage.until("version", 1, 1, 1)
        stage.loop.update(update(2))
        await stage.until("version", 1, 1, 1, 2, 2, 2)
        stage.loop.stop(True)
    assert stage.heard("stop") == [1, 1, 1]


async def test_one_that_hangs_is_ended_and_replaced(note: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.assembly.talk.BEAT_S", 0.05)
    monkeypatch.setattr("penstock.assembly.talk.MISSES", 2)
    stage = Stage(note, "hung")
    async with stage.playing():
        await until(lambda: stage.time.slept == [0.0], 10)
        assert stage.said == ["The worker is gone (hung: no answer for 0.1 s); starting it again at once."]


async def test_one_that_is_killed_gives_its_place_to_the_next(note: Path) -> None:
    stage = Stage(note, "holding", workers=2)
    async with stage.playing():
        await until(lambda: len(stage.heard("place")) == 1, 10)
        await until(lambda: stage.places.waiting() == {"s": 1}, 10)
        holder = stage.heard("place")[0]
        pids = {worker.index: worker.pid for worker in stage.loop._talks}
        os.kill(pids[holder], signal.SIGKILL)
        await until(lambda: len(stage.heard("place")) == 2, 10)
        assert stage.heard("place")[1] != holder
        assert stage.places.held() == {"s": 1}


async def test_released_once_no_worker_holds_anything_older(note: Path) -> None:
    stage = Stage(note, "willing", workers=2)
    async with stage.playing():
        await asyncio.wait_for(stage.loop.released(1), 10)
        waiting = asyncio.create_task(stage.loop.released(2))
        await stage.until("version", 1, 1)
        assert not waiting.done()
        stage.loop.update(update(2))
        await asyncio.wait_for(waiting, 10)


async def test_each_is_told_who_it_is_and_who_may_call_before_anything_else(note: Path) -> None:
    stage = Stage(note, "willing")
    async with stage.playing():
        await stage.until("version", 1)
        stage.loop.tell(framed(Entrance(Directory(version=4), (), (), {})))
        await stage.until("directory", 3, 4)
        os.kill(stage.heard("pid")[0], signal.SIGKILL)
        await until(lambda: stage.time.slept == [0.0], 10)
        await stage.time.advance(0.0)
        await stage.until("version", 1, 1)
    assert stage.words()[:4] == ["pid", "owner", "directory", "version"]
    assert stage.heard("owner") == [1, 2]
    assert stage.books.accounting.ends == ["w-1", "w-2"]


async def test_what_they_use_is_counted_in_one_book_and_what_they_hold_is_known(note: Path) -> None:
    stage = Stage(note, "spending", workers=2)
    async with stage.playing():
        await until(lambda: sorted(stage.heard("spent")) == [0, 1], 10)
        held = (Held("bud_1:", Hold.KEPT, 4, 0.0, 4e10, 5.0),)
        assert sorted(await stage.loop.holding(5.0)) == [("w-1", "m", held), ("w-2", "m", held)]
        # Each has used 3 and holds 4.
        left = await stage.books.accounting.reserve("probe", "", [Need("bud_1:", Hold.KEPT, 20, 0, until=4e10)])
        assert left.levels[0].remaining == 6
    assert sorted(stage.books.accounting.ends) == ["w-1", "w-2"]
