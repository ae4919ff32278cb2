"""Keeps the workers alive. The listening socket is held here, so that clients wait for the next one, not in vain."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from penstock.assembly import talk as talks
from penstock.assembly.books import Books
from penstock.assembly.gathering import Gathering
from penstock.assembly.link import LinkBroken, Update, framed
from penstock.assembly.metrics import ROWS
from penstock.assembly.talk import Office, Talk
from penstock.caches.flight import Flights
from penstock.core.administration import Answer
from penstock.core.clock import Clock
from penstock.core.console import PageAsk
from penstock.core.errors import CANNOT_START, PenstockError
from penstock.core.serving import Applied
from penstock.core.usage import Act, Held
from penstock.edge.http.admin import Live
from penstock.fleet.child import Child, in_words
from penstock.fleet.restart import Again, History, after_end, after_refusal
from penstock.gateway.place import Places
from penstock.observe.totals import Report

ARGV = (sys.executable, "-P", "-m", "penstock.assembly.worker")
STARTS_WITHIN_S = 60.0
# Beyond the time that requests have: a worker tells those that it cancels, and lets go of its engines.
_STOPS_WITHIN_S = 7.0
_WITHOUT_LINK_S = 1.0


class WorkerLoop:
    """Starts ``server.workers`` workers, tells them what to serve, starts each again when it ends or hangs.

    ``say`` hears, in one line each, what people should know. ``listening`` is set once a worker has answered for
    the first time. ``argv`` is run with three more arguments: two descriptors, link and socket, and the worker's
    index. ``places`` are those that several workers share; the rest is as ``Office`` has it.
    """

    def __init__(
        self,
        update: Update,
        sock: socket.socket,
        *,
        env: Mapping[str, str],
        say: Callable[[str], None],
        clock: Clock,
        places: Places,
        apply: Callable[[str, bool, Act], Awaitable[Applied]],
        text: Callable[[], str],
        books: Books,
        page: Callable[[PageAsk], Awaitable[Answer]],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        argv: Sequence[str] = ARGV,
    ) -> None:
        self._count = update.server.workers
        self._drain = update.server.drain
        self._sock = sock
        self._env = env
        self._say = say
        self._clock = clock
        self._sleep = sleep
        self._argv = argv
        gathering = Gathering(ROWS, {"supervisor": os.getpid()}, lambda: books.measured())
        self._office = Office(gathering, places, apply, text, books, page, Flights())
        self._newest = framed(update)
        self._changed = asyncio.Event()
        self._talks: set[Talk] = set()
        self._moved = asyncio.Event()
        self._announce = False
        self.listening = asyncio.Event()

    def update(self, update: Update) -> None:
        """What to serve from now on; of several that a worker has not been told yet it hears the last."""
        self._newest = framed(update)
        self._changed = _rung(self._changed)

    def tell(self, message: bytes) -> None:
        """Says something ``framed`` to every worker there is."""
        for talk in self._talks:
            talk.say(message)

    async def holding(self, within_s: float) -> tuple[tuple[str, str, tuple[Held, ...]], ...]:
        """What all workers' open leases hold: owner, lease, and what. Raises ``TimeoutError`` and ``PenstockError``
        when one does not say."""
        found: list[tuple[str, str, tuple[Held, ...]]] = []
        for talk in tuple(self._talks):
            if talk.up.is_set():
                found += ((talk.owner, lease, held) for lease, held in await talk.holding(within_s))
        return tuple(found)

    async def gave(self, request_id: str, project: str, within_s: float) -> str | None:
        """Which entry one of them gave to a request of the project, by its 40 digits; None: none did that answers."""
        for talk in tuple(self._talks):
            with contextlib.suppress(TimeoutError, PenstockError):
                if talk.up.is_set() and (key := await talk.gave(request_id, project, within_s)) is not None:
                    return key
        return None

    async def live(self) -> Live:
        """What is under way in all of them."""
        return await self._office.gathering.live()

    async def measured(self) -> Report:
        """What they, and the supervisor, have measured."""
        return (await self._office.gathering.metrics()).report

    def stop(self, announce: bool) -> None:
        """How the workers end once ``run`` is cancelled: whether they say so first, for ``drain.announce_s``."""
        self._announce = announce

    async def released(self, version: int) -> None:
        """Returns once no request holds a deployment older than ``version``."""
        while any(talk.oldest < version for talk in self._talks):
            await self._moved.wait()

    async def run(self) -> None:
        """Until cancelled, when the workers end their requests and themselves. Raises ``PenstockError`` when one says
        that it cannot serve this at all, or never comes up, before any has served."""
        keepers = [asyncio.create_task(self._keep(index)) for index in range(self._count)]
        try:
            await asyncio.wait(keepers, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for keeper in keepers:
                keeper.cancel()
            await asyncio.wait(keepers)
        for keeper in keepers:
            if not keeper.cancelled():
                keeper.result()

    async def _keep(self, index: int) -> None:
        name = "The worker" if self._count == 1 else f"Worker {index}"
        history = History()
        while True:
            since = self._clock.now()
            came_up, reason = await self._one(index, name)
            if came_up:
                history, decision = after_end(history, self._clock.now() - since)
            else:
                # Where others serve, this one is wanted for as long as it takes.
                was_up = history.was_up or self.listening.is_set()
                history, decision = after_refusal(msgspec.structs.replace(history, was_up=was_up))
            if not isinstance(decision, Again):
                raise PenstockError(CANNOT_START, f"{name} does not start ({reason}). It says why above.")
            again = f"in {decision.after_s:g} s" if decision.after_s else "at once"
            self._say(f"{name} is gone ({reason}); starting it again {again}.")
            await self._sleep(decision.after_s)

    async def _one(self, index: int, name: str) -> tuple[bool, str]:
        """One worker's life: whether it came up, and how it ended."""
        ours, theirs = socket.socketpair()
        with theirs:
            inherited = (theirs.fileno(), self._sock.fileno())
            arguments = (*self._argv, *map(str, inherited), str(index))
            child = Child(arguments, self._env, pass_fds=inherited)
        hung = False
        async with contextlib.AsyncExitStack() as held:
            talk = Talk(index, child.pid, self._office, self._move)
            held.callback(self._forget, talk)
            held.push_async_callback(talk.aclose)
            # Before its places are given back it must be unable to use them.
            held.push_async_callback(child.stop, 0.0)
            await talk.open(ours)
            talk.begin()
            self._talks.add(talk)
            telling = asyncio.create_task(self._tell(talk))
            held.push_async_callback(_cancelled, telling)
            try:
                hung = await self._until_ended(child, talk, name)
            except asyncio.CancelledError:
                await _cancelled(telling)
                talk.stop(self._announce)
                drain_s = self._drain.limit_s + (self._drain.announce_s if self._announce else 0.0)
                await asyncio.wait((child.ended,), timeout=drain_s + _STOPS_WITHIN_S)
                raise
        if talk.refused is not None:
            if not self.listening.is_set():
                raise PenstockError(CANNOT_START, talk.refused)
            return False, talk.refused
        if hung:
            return True, f"hung: no answer for {talks.MISSES * talks.BEAT_S:g} s"
        return talk.up.is_set(), in_words(child.ended.result())

    async def _until_ended(self, child: Child, talk: Talk, name: str) -> bool:
        """Whether it has hung, rather than ended."""
        rising = asyncio.create_task(talk.up.wait())
        try:
            await asyncio.wait(
                (child.ended, talk.ended, rising), timeout=STARTS_WITHIN_S, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            await _cancelled(rising)
        if talk.up.is_set():
            self.listening.set()
            pulse = asyncio.create_task(talk.pulse())
            try:
                await asyncio.wait((child.ended, talk.ended, pulse), return_when=asyncio.FIRST_COMPLETED)
                if pulse.done():
                    pulse.result()
                    return True
            finally:
                await _cancelled(pulse)
        if talk.ended.done():
            if isinstance(error := talk.ended.exception(), LinkBroken):
                self._say(f"{name} garbled its link ({error}).")
            # A worker lets go of its link as the last thing it does.
            await asyncio.wait((child.ended,), timeout=_WITHOUT_LINK_S)
        return False

    async def _tell(self, talk: Talk) -> None:
        while True:
            changed = self._changed
            await talk.tell(self._newest)
            await changed.wait()

    def _move(self) -> None:
        self._moved = _rung(self._moved)

    def _forget(self, talk: Talk) -> None:
        self._talks.discard(talk)
        self._move()


def _rung(bell: asyncio.Event) -> asyncio.Event:
    """Wakes whoever waits; the new one is for whoever waits from now on."""
    bell.set()
    return asyncio.Event()


async def _cancelled(task: asyncio.Task[None] | asyncio.Task[bool]) -> None:
    task.cancel()
    await asyncio.wait((task,))
