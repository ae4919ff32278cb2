"""What takes a message to people, and what becomes of those that it could not take."""

from __future__ import annotations

import asyncio
import collections
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from penstock.control.objectives.telling import Message, wanting
from penstock.core.series import Severity

DEADLINE_S = 900.0
"""How long a message is tried."""
MOST_WAITING = 100
"""Messages that wait for one receiver; of more, the oldest is given up."""
_FIRST_S, _LONGEST_S = 1.0, 60.0

_log = logging.getLogger("penstock.alerts")

Sleep = Callable[[float], Awaitable[None]]
Done = Callable[[Message, bool], None]


class Undelivered(Exception):
    """A message that a receiver did not take; the text says why, without a secret. ``retry``: it may take it later,
    ``after_s`` at the earliest."""

    def __init__(self, why: str, *, retry: bool = True, after_s: float = 0.0) -> None:
        super().__init__(why)
        self.retry = retry
        self.after_s = after_s


class Receiver(Protocol):
    """Somebody who is told."""

    @property
    def name(self) -> str:
        """For people, without a secret, such as ``webhook 1 (slack)``."""

    @property
    def severities(self) -> Sequence[Severity]:
        """What they are told of."""

    async def send(self, message: Message) -> None:
        """Within a deadline of its own. Raises ``Undelivered``."""

    async def aclose(self) -> None:
        """Lets go of what it holds. Idempotent."""


class Line:
    """The messages for one receiver, in their order: what is over is never told before what has begun."""

    def __init__(self, receiver: Receiver, done: Done, now: Callable[[], float], sleep: Sleep) -> None:
        self.receiver = receiver
        self.delivered = self.failed = 0
        self.failing = ""
        self._done = done
        self._now = now
        self._sleep = sleep
        self._waiting: collections.deque[tuple[Message, float]] = collections.deque()
        self._more = asyncio.Event()
        self._busy = False

    @property
    def idle(self) -> bool:
        """Whether nothing is left to send."""
        return not self._waiting and not self._busy

    def put(self, message: Message) -> None:
        """Takes it, where the receiver is told of any of it."""
        alerts = wanting(message.alerts, self.receiver.severities)
        if not alerts:
            return
        if len(self._waiting) >= MOST_WAITING:
            self._given_up(self._waiting.popleft()[0], f"more than {MOST_WAITING} messages wait")
        self._waiting.append((message.of(alerts), self._now() + DEADLINE_S))
        self._more.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            while self._waiting:
                message, deadline = self._waiting.popleft()
                self._busy = True
                try:
                    await self._sent(message, deadline)
                finally:
                    self._busy = False
            self._more.clear()
            await self._more.wait()

    async def _sent(self, message: Message, deadline: float) -> None:
        pause_s = _FIRST_S
        while True:
            try:
                await self.receiver.send(message)
            except Undelivered as error:
                wait_s = max(pause_s * random.uniform(0.75, 1.25), error.after_s)
                if not error.retry or self._now() + wait_s >= deadline:
                    self._given_up(message, str(error))
                    return
                _log.info("%s was not told yet: %s", self.receiver.name, error)
                self.failing = str(error) if pause_s > _FIRST_S else self.failing
                await self._sleep(wait_s)
                pause_s = min(pause_s * 2, _LONGEST_S)
            except Exception as error:  # noqa: BLE001 - said; the messages behind it go on
                self._given_up(message, f"a fault of the gateway itself ({type(error).__name__})")
                _log.exception("%s was not told", self.receiver.name)
                return
            else:
                self.delivered += 1
                self.failing = ""
                self._done(message, True)
                return

    def _given_up(self, message: Message, why: str) -> None:
        self.failed += 1
        self.failing = why
        _log.error("%s was not told of %s: %s", self.receiver.name, message.alerts[0].id, why)
        self._done(message, False)


class Delivery:
    """Takes messages to all receivers, each in its own time. ``done`` hears of every message and receiver whether it
    was delivered, on the event loop."""

    def __init__(
        self,
        receivers: Sequence[Receiver],
        done: Done,
        now: Callable[[], float],
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.lines = tuple(Line(receiver, done, now, sleep) for receiver in receivers)

    @property
    def severities(self) -> frozenset[str]:
        """Those that anybody is told of."""
        return frozenset(each for line in self.lines for each in line.receiver.severities)

    @property
    def names(self) -> Sequence[str]:
        return tuple(line.receiver.name for line in self.lines)

    @property
    def failing(self) -> Mapping[str, str]:
        """Why, by the receiver's name, of those that do not take what they are told."""
        return {line.receiver.name: line.failing for line in self.lines if line.failing}

    def put(self, message: Message) -> int:
        """How many receivers it is on its way to. Never blocks."""
        before = [line for line in self.lines if wanting(message.alerts, line.receiver.severities)]
        for line in before:
            line.put(message)
        return len(before)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for line in self.lines:
                tasks.create_task(line.run())

    async def drained(self, within_s: float) -> bool:
        """Whether all that waits was sent within this time."""
        deadline = self._deadline(within_s)
        while not all(line.idle for line in self.lines):
            if asyncio.get_running_loop().time() >= deadline:
                return False
            await asyncio.sleep(0.02)
        return True

    async def aclose(self) -> None:
        """Lets go of the receivers. Idempotent."""
        for line in self.lines:
            await line.receiver.aclose()

    @staticmethod
    def _deadline(within_s: float) -> float:
        return asyncio.get_running_loop().time() + within_s
