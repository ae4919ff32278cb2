"""The supervisor: what ``penstock up`` runs. It owns the home, the port, the store, the replicas and the workers."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
from collections.abc import AsyncIterator, Coroutine, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from penstock import catalog
from penstock.assembly import admin, ground
from penstock.assembly.apply import Applying
from penstock.assembly.books import keeping
from penstock.assembly.explaining import Explaining
from penstock.assembly.fetching import Fetching
from penstock.assembly.link import Update
from penstock.assembly.pages import Pages
from penstock.assembly.redis import Open
from penstock.assembly.seeing import Around, Sight
from penstock.assembly.serving import Serving, Source
from penstock.assembly.state import opened
from penstock.assembly.workers import WorkerLoop
from penstock.config import Loaded
from penstock.control.board import Board
from penstock.control.health import Watch
from penstock.control.upkeep import Upkeep
from penstock.core.accounts import EVERYWHERE
from penstock.core.clock import Clock, SystemClock
from penstock.core.serving import Deployment
from penstock.core.usage import Act
from penstock.edge.http import tls
from penstock.fleet.census import Census
from penstock.routing.places import LocalPlaces
from penstock.weights.store import ModelStore

# What must not be handed to children: they need no key of ours.
_OURS_ALONE = frozenset({"PENSTOCK_ADMIN_KEY", "PENSTOCK_API_KEY"})
_HELD_WITHIN_S = 2.0
# Objects made, less those that have gone again, before the garbage collector looks at them.
_YOUNG = 20_000


T = TypeVar("T")


class Show(Protocol):
    """Where people see how it goes. Nothing here may block for long or raise."""

    def step(self, what: str, done: int, total: int | None) -> None:
        """How far a long step is, in bytes; called from other threads."""

    def say(self, line: str) -> None:
        """Something people should know."""

    def changed(self, deployment: Deployment) -> None:
        """How the replicas stand now."""

    def serving(self, url: str, deployment: Deployment) -> None:
        """Requests are answered, and every model has come up or failed once. Called once."""

    def stopping(self) -> None:
        """It has been asked to stop."""


class Credentials(Protocol):
    """Where the admin key is kept for its owner."""

    def kept(self) -> str | None:
        """The key that is kept, if one is."""

    def keep(self, url: str, key: str) -> None:
        """Keeps this one in its place. Raises ``PenstockError`` when it cannot."""


async def supervise(
    first: Loaded, source: Source, home: Path, env: Mapping[str, str], show: Show, credentials: Credentials
) -> None:
    """Serves ``first`` until SIGINT or SIGTERM; a second one ends everything at once. SIGHUP applies what ``source``
    says then, or ends it when it says that the terminal was closed.

    Raises ``PenstockError`` when it cannot start. Nothing that it started is left when it returns.
    """
    stop = _Stop()
    reread = _asked_to_reread(stop)
    clock = SystemClock()
    # As in a worker: what is here now stays, and next to nothing of what follows is a cycle.
    gc.freeze()
    gc.set_threshold(_YOUNG)
    file = first.file
    few = ground.open_files()
    tls.check(file.server.tls)
    async with contextlib.AsyncExitStack() as held:
        held.enter_context(ground.sole(home))
        sock = held.enter_context(ground.listening(file.server.host, file.server.port))
        state = held.enter_context(opened(home, file.state, file.access, file.observe, clock))
        key = admin.ensure(
            state.store, state.peppers, f"{admin.ADMIN}-{state.gateway}" if state.shared else admin.ADMIN,
            clock.wall(), chosen=env.get("PENSTOCK_ADMIN_KEY"), kept=credentials.kept(),
        )  # fmt: skip
        url = ground.url(file.server.host, sock.getsockname()[1], secure=file.server.tls is not None)
        credentials.keep(url, key.key)
        for note in filter(None, (key.note, few)):
            show.say(note)
        serving = Serving(source, created_at=state.store.created_at(), wall=clock.wall, say=show.say)
        places = LocalPlaces(clock)
        around = Around(serving, places)
        sight = Sight(state, file.observe, home, clock, around)
        deployment = await serving.first(first, state.store.directory())
        crew = serving.now.crew
        inherited = {name: value for name, value in env.items() if name not in _OURS_ALONE}
        substrate = Census(catalog.load("substrate.process")(home / "logs", inherited))
        held.push_async_callback(substrate.aclose)
        changed = asyncio.Event()

        def hear(fresh: Deployment) -> None:
            workers.update(msgspec.structs.replace(update, deployment=fresh))
            show.changed(fresh)
            changed.set()

        board = around.board = Board(deployment, crew.wanted, hear)
        update = Update(board.deployment, file.server)
        weights = Fetching(ModelStore(home / "models"), show)
        upkeep = Upkeep(
            crew.wanted.values(), board=board, substrate=substrate, weights=weights, clock=clock,
            released=lambda version: workers.released(version),
        )  # fmt: skip
        watch = Watch(board)
        watch.want(crew.watched.values())
        serving.onto(board, upkeep, watch)
        applying = Applying(serving, source=source, board=board, say=show.say, note=lambda act: books.note(act))
        crowd = _Crowd()
        books = await held.enter_async_context(
            keeping(
                state, home, file.access, file.state, file.observe, file.cache, alone=file.server.workers == 1,
                clock=clock, tell=crowd.tell, holding=crowd.holding, gave=crowd.gave, serving=serving, sight=sight,
                deployed=Explaining(applying, asyncio.get_running_loop()),
            )
        )  # fmt: skip
        workers = WorkerLoop(
            update, sock, env=inherited, say=show.say, clock=clock, places=places, apply=applying.apply,
            text=applying.text, books=books, page=Pages(books.administer).page,
        )  # fmt: skip
        crowd.workers = around.workers = workers
        around.directories, around.desks = books.directories, books.desks
        await held.enter_async_context(sight.looking(substrate, lambda: books.accounting.living))
        # In this order, so that on the way out requests end before the replicas that answer them.
        async with _running(upkeep.run()), _running(watch.run()), _running(workers.run()) as working:
            async with (
                _running(_announce(url, board, workers, changed, show)),
                _running(_reread(reread, applying, clock)),
                _running(stop.asked.wait()) as asked,
            ):
                await asyncio.wait((asked, working), return_when=asyncio.FIRST_COMPLETED)
            applying.end()
            if not working.done():
                show.stopping()
            # From here on only the workers hold the socket, and close it when they have announced their end.
            workers.stop(stop.announce)
            sock.close()
        if not working.cancelled():
            working.result()


async def _announce(url: str, board: Board, workers: WorkerLoop, changed: asyncio.Event, show: Show) -> None:
    await workers.listening.wait()
    while not board.deployment.settled:
        changed.clear()
        await changed.wait()
    show.serving(url, board.deployment)


async def _reread(asked: asyncio.Event, applying: Applying, clock: Clock) -> None:
    while await asked.wait():
        asked.clear()
        act = Act(at=clock.wall(), actor="SIGHUP", project=EVERYWHERE, action="deployment.apply")
        await applying.reread(act)


class _Crowd:
    """The workers, as the books speak to them; none before there are any."""

    def __init__(self) -> None:
        self.workers: WorkerLoop | None = None

    def tell(self, message: bytes) -> None:
        if self.workers is not None:
            self.workers.tell(message)

    async def holding(self) -> Open:
        return () if self.workers is None else await self.workers.holding(_HELD_WITHIN_S)

    async def gave(self, request_id: str, project: str) -> str | None:
        return None if self.workers is None else await self.workers.gave(request_id, project, _HELD_WITHIN_S)


@contextlib.asynccontextmanager
async def _running(work: Coroutine[object, object, T]) -> AsyncIterator[asyncio.Task[T]]:
    """The work as a task of this block: cancelled and awaited at its end. Whether it failed is for the block."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait((task,))


class _Stop:
    """Whether it has been asked to stop. ``announce`` unless whoever asked sits before it and waits."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.announce = True
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self.hear, number != signal.SIGINT)

    def hear(self, announce: bool) -> None:
        if self.asked.is_set():
            # What was started here ends when this process does, however it ends.
            os._exit(130)
        self.announce = announce
        self.asked.set()


def _asked_to_reread(stop: _Stop) -> asyncio.Event:
    asked = asyncio.Event()
    had_terminal = os.isatty(2)

    def hear() -> None:
        # A terminal that was closed is none any more by the time this is heard.
        if had_terminal and not os.isatty(2):
            stop.hear(False)
        else:
            asked.set()

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hear)
    return asked
