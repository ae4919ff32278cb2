"""What is known of keys and limits is fresh, in order, or said to be stale."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence

import pytest

from penstock.control.directories import BEAT_S, EVERY_S, Directories
from penstock.core.accounts import Change, Directory, Project
from penstock.core.errors import STORE_UNAVAILABLE, PenstockError
from penstock.store.forgetful import ForgetfulStore
from tests.control.shipping_house import cancelled_at_end
from tests.control.timing import ManualTime, until

STALE_S = 300.0


class Store(ForgetfulStore):
    """It may be away. Counts how it is asked."""

    def __init__(self, time: ManualTime) -> None:
        super().__init__(time.wall, lambda _: None)
        self.away = False
        self.asked = threading.Event()
        self.answers = threading.Event()
        self.answers.set()
        self.versions = self.directories = 0
        self.beats: list[tuple[str, float]] = []

    def version(self) -> int:
        self._here()
        self.versions += 1
        return super().version()

    def directory(self) -> Directory:
        self._here()
        self.directories += 1
        return super().directory()

    def beat(self, gateway: str, at: float, ready: Sequence[str] = ()) -> Mapping[str, frozenset[str]]:
        self._here()
        self.beats.append((gateway, at))
        return super().beat(gateway, at, ready)

    def add(self, project: str) -> None:
        self.change(Change(version=self._directory.version, put=(Project(id=project),)))

    def _here(self) -> None:
        self.asked.set()
        assert self.answers.wait(10)
        if self.away:
            raise PenstockError(STORE_UNAVAILABLE, "The store is away.")


class Scene:
    """One gateway's look at a store."""

    def __init__(self) -> None:
        self.time = ManualTime()
        self.store = Store(self.time)
        self.heard: list[int] = []
        self.stale: list[bool] = []
        self.fails: list[Exception] = []
        self.ready: list[str] = []
        self.directories = Directories(
            self.store,
            self.time,
            gateway="g1",
            stale_after_s=STALE_S,
            changed=self._changed,
            stale=self.stale.append,
            ready=lambda: self.ready,
        )

    async def _changed(self, directory: Directory) -> None:
        if self.fails:
            raise self.fails.pop()
        self.heard.append(directory.version)


@pytest.fixture
async def scene() -> Scene:
    made = Scene()
    await made.directories.first()
    return made


async def test_without_a_first_look_there_is_nothing() -> None:
    scene = Scene()
    scene.store.away = True
    with pytest.raises(PenstockError) as caught:
        await scene.directories.first()
    assert caught.value.fault is STORE_UNAVAILABLE
    assert scene.heard == []


async def test_a_change_is_told_once_and_what_has_not_changed_is_not_read(scene: Scene) -> None:
    assert scene.heard == [1]
    for _ in range(3):
        await scene.directories.once()
    assert (scene.heard, scene.store.directories) == ([1], 1)
    scene.store.add("red")
    scene.store.add("blue")
    await scene.directories.once()
    assert (scene.heard, scene.directories.version) == ([1, 3], 3)


async def test_what_was_changed_before_the_call_is_known_after_it(scene: Scene) -> None:
    """Also when a look is under way that began before the change."""
    loop = asyncio.get_running_loop()
    looking, go_on = asyncio.Event(), threading.Event()
    version = scene.store.version

    def slow() -> int:
        found = version()
        loop.call_soon_threadsafe(looking.set)
        assert go_on.wait(10)
        return found

    scene.store.version = slow  # type: ignore[method-assign]
    early = asyncio.create_task(scene.directories.once())
    await asyncio.wait_for(looking.wait(), 10)
    scene.store.version = version  # type: ignore[method-assign]
    scene.store.add("red")
    late = asyncio.create_task(scene.directories.once())
    go_on.set()
    await asyncio.gather(early, late)
    assert scene.heard == [1, 2]


async def test_changes_come_one_at_a_time_the_newest_last() -> None:
    scene = Scene()
    running, most = 0, 0
    heard: list[int] = []

    async def slowly(directory: Directory) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(5):
            await asyncio.sleep(0)
        running -= 1
        heard.append(directory.version)

    directories = Directories(
        scene.store, scene.time, gateway="g1", stale_after_s=STALE_S, changed=slowly, stale=scene.stale.append
    )
    await directories.first()
    calls = []
    for number in range(10):
        scene.store.add(f"p{number}")
        calls.append(asyncio.create_task(directories.once()))
        await asyncio.sleep(0)
    await asyncio.gather(*calls)
    assert most == 1
    assert heard == sorted(set(heard))
    assert heard[-1] == 11


async def test_a_change_that_was_not_taken_is_told_again(scene: Scene) -> None:
    scene.store.add("red")
    scene.fails = [PenstockError(STORE_UNAVAILABLE, "nobody knows what was spent")]
    await scene.directories.once()
    assert (scene.heard, scene.directories.version) == ([1], 1)
    await scene.directories.once()
    assert (scene.heard, scene.directories.version) == ([1, 2], 2)


async def test_a_store_that_is_away_is_stale_after_its_time_and_fresh_at_once(scene: Scene) -> None:
    scene.store.away = True
    await scene.time.advance(STALE_S)
    await scene.directories.once()
    assert scene.stale == []
    await scene.time.advance(0.1)
    for _ in range(3):
        await scene.directories.once()
    assert scene.stale == [True]
    scene.store.away = False
    await scene.directories.once()
    assert scene.stale == [True, False]
    # The time counts from the last good look.
    scene.store.away = True
    await scene.time.advance(STALE_S)
    await scene.directories.once()
    assert scene.stale == [True, False]


async def test_a_store_that_says_nothing_is_stale_no_later_than_one_that_refuses(scene: Scene) -> None:
    await scene.directories.once()
    await scene.time.advance(STALE_S - 0.05)
    scene.store.asked.clear()
    scene.store.answers.clear()
    looking = asyncio.create_task(scene.directories.once())
    try:
        await until(scene.store.asked.is_set)
        assert scene.stale == []
        await scene.time.advance(0.1)
        await until(lambda: scene.stale == [True])
    finally:
        scene.store.answers.set()
    await looking
    assert scene.stale == [True, False]


async def test_a_change_made_while_it_was_away_is_told_when_it_is_back(scene: Scene) -> None:
    scene.store.away = True
    scene.store.add("red")
    await scene.directories.once()
    assert scene.heard == [1]
    scene.store.away = False
    await scene.directories.once()
    assert scene.heard == [1, 2]


async def test_it_says_that_it_lives_now_and_then_and_who_else_does(scene: Scene) -> None:
    assert scene.store.beats == [("g1", scene.time.wall())]
    assert scene.directories.alive == {"g1"}
    for _ in range(4):
        await scene.directories.once()
    assert len(scene.store.beats) == 1
    scene.store.beat("g2", scene.time.wall())
    await scene.time.advance(BEAT_S)
    await scene.directories.once()
    assert scene.store.beats[-1] == ("g1", scene.time.wall())
    assert scene.directories.alive == {"g1", "g2"}
    await scene.time.advance(11.0)
    await scene.directories.once()
    assert scene.directories.alive == {"g1"}


async def test_what_it_can_serve_is_told_as_soon_as_it_has_changed_and_what_others_can_is_known(scene: Scene) -> None:
    assert scene.directories.standing == {"g1": frozenset()}
    scene.ready = ["rel_b", "rel_a"]
    await scene.directories.once()
    assert scene.directories.standing == {"g1": {"rel_a", "rel_b"}}
    scene.ready.reverse()
    await scene.directories.once()
    assert len(scene.store.beats) == 2
    scene.store.beat("g2", scene.time.wall(), ["rel_c"])
    scene.ready = []
    scene.store.away = True
    await scene.directories.once()
    assert scene.directories.standing == {"g1": {"rel_a", "rel_b"}}
    # It was not heard, and is said again.
    scene.store.away = False
    await scene.directories.once()
    assert scene.directories.standing == {"g1": frozenset(), "g2": {"rel_c"}}


async def test_it_keeps_looking_and_looks_at_once_when_asked(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.control.directories.EVERY_S", 0.001)
    async with cancelled_at_end(scene.directories.run()):
        await until(lambda: scene.store.versions > 3, 10)
        scene.store.add("red")
        await until(lambda: scene.heard == [1, 2], 10)
        scene.store.away = True
        await until(lambda: scene.directories.away, 10)
        scene.store.away = False
        scene.store.add("blue")
        await until(lambda: scene.heard == [1, 2, 3], 10)
    monkeypatch.setattr("penstock.control.directories.EVERY_S", 3600.0)
    async with cancelled_at_end(scene.directories.run()):
        looked = scene.store.versions
        await until(lambda: scene.store.versions > looked, 10)
        assert not scene.directories.asked
        scene.store.add("green")
        scene.directories.look()
        assert scene.directories.asked
        await until(lambda: scene.heard == [1, 2, 3, 4], 10)
        await until(lambda: not scene.directories.asked, 10)


def test_a_revocation_is_seen_within_a_second() -> None:
    assert EVERY_S <= 0.25
