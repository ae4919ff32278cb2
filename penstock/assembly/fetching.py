"""The model store as the loops want it: in a thread of its own, and free to be given up."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from pathlib import Path
from typing import Protocol

from penstock.weights import Artefact, Progress

_LET_GO_S = 1.0


class Store(Protocol):
    """What this needs of the model store. An exception that ``progress`` raises ends ``fetch``."""

    def fetch(self, address: str, *, sha256: str | None = None, progress: Progress) -> Artefact: ...


class _GivenUp(Exception):
    """Nobody waits for this any more."""


class _Stoppable:
    """Progress that can be told to end what it hears of."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.stopped = False

    def step(self, what: str, done: int, total: int | None) -> None:
        if self.stopped:
            raise _GivenUp
        self._progress.step(what, done, total)


class Fetching:
    """Fetches in daemon threads, so that a download which hangs never keeps the process from ending."""

    def __init__(self, store: Store, progress: Progress) -> None:
        self._store = store
        self._progress = progress

    async def fetch(self, address: str, sha256: str | None) -> Path:
        """The file. When this is cancelled the download is ended too, and waited for for up to a second."""
        loop = asyncio.get_running_loop()
        fetched: asyncio.Future[Artefact] = loop.create_future()
        progress = _Stoppable(self._progress)

        def work() -> None:
            outcome: Artefact | BaseException
            try:
                outcome = self._store.fetch(address, sha256=sha256, progress=progress)
            except BaseException as error:  # noqa: BLE001 - handed to whoever waits
                outcome = error
            # The loop may be closed by the time a given-up download ends.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_tell, fetched, outcome)

        threading.Thread(target=work, name=f"fetch {address}", daemon=True).start()
        try:
            return (await asyncio.shield(fetched)).path
        except asyncio.CancelledError:
            progress.stopped = True
            fetched.add_done_callback(lambda late: late.cancelled() or late.exception())
            await asyncio.wait((fetched,), timeout=_LET_GO_S)
            raise


def _tell(fetched: asyncio.Future[Artefact], outcome: Artefact | BaseException) -> None:
    if isinstance(outcome, Artefact):
        fetched.set_result(outcome)
    elif isinstance(outcome, _GivenUp):
        fetched.cancel()
    else:
        fetched.set_exception(outcome)
