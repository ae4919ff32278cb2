"""Fetching never holds up the end."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from penstock.assembly.fetching import Fetching
from penstock.core.errors import WEIGHTS_UNAVAILABLE, PenstockError
from penstock.weights import Artefact, Progress


class Quiet:
    def __init__(self) -> None:
        self.steps: list[tuple[str, int, int | None]] = []

    def step(self, what: str, done: int, total: int | None) -> None:
        self.steps.append((what, done, total))


class Store:
    """Gives ``a`` at once, refuses ``b``, and works on anything else until its progress ends it."""

    def __init__(self) -> None:
        self.begun, self.ended = threading.Event(), threading.Event()

    def fetch(self, address: str, *, sha256: str | None = None, progress: Progress) -> Artefact:
        progress.step(address, 1, 2)
        if address == "a":
            return Artefact(address, Path("/weights/a"), sha256 or "", 1)
        if address == "b":
            raise PenstockError(WEIGHTS_UNAVAILABLE, "no such file")
        try:
            while True:
                self.begun.set()
                progress.step(address, 1, 2)
                threading.Event().wait(0.001)
        finally:
            self.ended.set()


async def test_the_path_and_the_progress_come_through() -> None:
    quiet = Quiet()
    assert await Fetching(Store(), quiet).fetch("a", None) == Path("/weights/a")
    assert quiet.steps == [("a", 1, 2)]


async def test_a_refusal_comes_through() -> None:
    with pytest.raises(PenstockError, match="no such file"):
        await Fetching(Store(), Quiet()).fetch("b", None)


async def test_who_stops_waiting_ends_the_download() -> None:
    store = Store()
    fetching = asyncio.create_task(Fetching(store, Quiet()).fetch("endless", None))
    await asyncio.to_thread(store.begun.wait, 5)
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    assert store.ended.is_set()
