"""Keeps one worker alive. The listening socket is held here, so that clients wait for the next one, not in vain."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence

from penstock.assembly.link import (
    STOP_GRACE_S,
    Link,
    LinkBroken,
    Listening,
    Refused,
    Stop,
    ToSupervisor,
    ToWorker,
    Update,
    supervisor_end,
)
from penstock.core.clock import Clock
from penstock.core.errors import CANNOT_START, PenstockError
from penstock.fleet.child import Child, in_words
from penstock.fleet.restart import Again, History, after_end, after_refusal

ARGV = (sys.executable, "-P", "-m", "penstock.assembly.worker")
STARTS_WITHIN_S = 60.0
# Beyond the grace that requests have: the worker tells those it cancels, and lets go of its engines.
_STOPS_WITHIN_S = STOP_GRACE_S + 7.0
_WITHOUT_LINK_S = 1.0


class WorkerLoop:
    """Starts the worker, tells it what to serve, starts it again when it ends.

    ``say`` hears, in one line each, what people should know. ``listening`` is set once a worker has answered for
    the first time. ``argv`` is run with the two descriptors, link and socket, as its last arguments.
    """

    def __init__(
        self,
        update: Update,
        sock: socket.socket,
        *,
        env: Mapping[str, str],
        say: Callable[[str], None],
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        argv: Sequence[str] = ARGV,
    ) -> None:
        self._newest = update
        self._sock = sock
        self._env = env
        self._say = say
        self._clock = clock
        self._sleep = sleep
        self._argv = argv
        self._changed = asyncio.Event()
        self.listening = asyncio.Event()

    def update(self, update: Update) -> None:
        """What to serve from now on; of several that the worker has not been told yet it hears the last."""
        self._newest = update
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled, when the worker ends its requests and itself. Raises ``PenstockError`` when the worker
        says that it cannot serve this at all, or never comes up."""
        history = History()
        while True:
            since = self._clock.now()
            came_up, reason = await self._one()
            if came_up:
                history, decision = after_end(history, self._clock.now() - since)
            else:
                history, decision = after_refusal(history)
            if not isinstance(decision, Again):
                raise PenstockError(CANNOT_START, f"The worker does not start ({reason}). It says why above.")
            again = f"in {decision.after_s:g} s" if decision.after_s else "at once"
            self._say(f"The worker is gone ({reason}); starting it again {again}.")
            await self._sleep(decision.after_s)

    async def _one(self) -> tuple[bool, str]:
        """One worker's life: whether it came up, and how it ended."""
        ours, theirs = socket.socketpair()
        with theirs:
            inherited = (theirs.fileno(), self._sock.fileno())
            child = Child((*self._argv, *map(str, inherited)), self._env, pass_fds=inherited)
        async with contextlib.AsyncExitStack() as held:
            held.push_async_callback(child.stop, 0.0)
            link = await supervisor_end(ours)
            held.push_async_callback(link.aclose)
            up = asyncio.Event()
            telling = asyncio.create_task(self._tell(link))
            held.push_async_callback(_cancelled, telling)
            hearing = asyncio.create_task(self._hear(link, up))
            held.push_async_callback(_cancelled, hearing)
            try:
                await self._until_ended(child, hearing, up)
            except asyncio.CancelledError:
                await _cancelled(telling)
                with contextlib.suppress(ConnectionError):
                    await link.send(Stop())
                await asyncio.wait((child.ended,), timeout=_STOPS_WITHIN_S)
                raise
        return up.is_set(), in_words(child.ended.result())

    async def _until_ended(self, child: Child, hearing: asyncio.Task[None], up: asyncio.Event) -> None:
        rising = asyncio.create_task(up.wait())
        try:
            await asyncio.wait(
                (child.ended, hearing, rising), timeout=STARTS_WITHIN_S, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            await _cancelled(rising)
        if up.is_set():
            await asyncio.wait((child.ended, hearing), return_when=asyncio.FIRST_COMPLETED)
        if hearing.done():
            hearing.result()
            # A worker lets go of its link as the last thing it does.
            await asyncio.wait((child.ended,), timeout=_WITHOUT_LINK_S)

    async def _tell(self, link: Link[ToSupervisor, ToWorker]) -> None:
        self._changed.set()
        with contextlib.suppress(ConnectionError):
            while await self._changed.wait():
                self._changed.clear()
                await link.send(self._newest)

    async def _hear(self, link: Link[ToSupervisor, ToWorker], up: asyncio.Event) -> None:
        try:
            while message := await link.receive():
                match message:
                    case Listening():
                        up.set()
                        self.listening.set()
                    case Refused(said):
                        raise PenstockError(CANNOT_START, said)
        except LinkBroken as error:
            self._say(f"The worker garbled its link ({error}).")


async def _cancelled(task: asyncio.Task[None] | asyncio.Task[bool]) -> None:
    task.cancel()
    await asyncio.wait((task,))
