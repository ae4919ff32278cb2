"""Questions over a link: each is answered, refused or given up within its time, and none outlives the link."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import msgspec

from penstock.assembly.link import Ask, Cancel, Denied, Told
from penstock.core import errors
from penstock.core.errors import INTERNAL, STOPPING, Fault, PenstockError

_FAULTS = {fault.code: fault for fault in vars(errors).values() if isinstance(fault, Fault)}

_log = logging.getLogger(__name__)

Q = TypeVar("Q")


class Asker(Generic[Q]):
    """Asks the other end. ``send`` is the link's."""

    def __init__(self, send: Callable[[Ask[Q] | Cancel], None]) -> None:
        self._send = send
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Told]] = {}
        self._broken = False

    async def ask(self, question: Q, within_s: float) -> Told:
        """The answer, which names the question.

        Raises the ``PenstockError`` that the other end answers with, one with STOPPING once the link is broken, and
        ``TimeoutError``. Then, and when cancelled, the other end is told that nobody waits any more.
        """
        if self._broken:
            raise _gone()
        loop = asyncio.get_running_loop()
        number = next(self._numbers)
        future: asyncio.Future[Told] = loop.create_future()
        self._waiting[number] = future
        timer = loop.call_later(within_s, _late, future)
        answered = False
        try:
            self._send(Ask(number, question))
            told = await future
            answered = True
            return told
        finally:
            timer.cancel()
            # Not there any more after an error of the other end, which keeps nothing for us then.
            self._waiting.pop(number, None)
            if not answered and not self._broken and not _refused(future):
                self._send(Cancel(number))

    def expect(self) -> tuple[int, asyncio.Future[Told]]:
        """The number of a question that is not asked, and what it is answered with some time. ``forget`` it."""
        number = next(self._numbers)
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        # That the link broke is heard by whoever waits; that nobody does is no second fault.
        future.add_done_callback(lambda told: told.cancelled() or told.exception())
        if self._broken:
            self.broken()
        return number, future

    def forget(self, number: int) -> None:
        """Its answer is not waited for any more. Idempotent."""
        if (future := self._waiting.pop(number, None)) is not None:
            future.cancel()

    def hear(self, message: Told | Denied) -> None:
        """An answer has come. One that nobody waits for any more has crossed its cancel and is left alone."""
        future = self._waiting.pop(message.id, None)
        if future is None or future.done():
            return
        if isinstance(message, Told):
            future.set_result(message)
        else:
            fault = _FAULTS.get(message.code, INTERNAL)
            future.set_exception(
                PenstockError(fault, message.message, param=message.param, retry_after=message.retry_after)
            )

    def broken(self) -> None:
        """The link is gone: whoever waits hears of it now, whoever asks from now on at once. Idempotent."""
        self._broken = True
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(_gone())
        self._waiting.clear()


def _late(future: asyncio.Future[Told]) -> None:
    if not future.done():
        future.set_exception(TimeoutError())


def _refused(future: asyncio.Future[Told]) -> bool:
    """Whether the other end has answered with an error."""
    return future.done() and not future.cancelled() and isinstance(future.exception(), PenstockError)


def _gone() -> PenstockError:
    return PenstockError(STOPPING, "The gateway is shutting down. Send the request again.")


class Answerer(Generic[Q]):
    """Answers the other end, each question by a task of its own.

    ``answer`` is given a question with its number. What it returns goes out as msgpack; what it raises, too.
    """

    def __init__(self, answer: Callable[[int, Q], Awaitable[object]], send: Callable[[Told | Denied], None]) -> None:
        self._answer = answer
        self._send = send
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def hear(self, message: Ask[Q]) -> None:
        """A question has come."""
        self._tasks[message.id] = asyncio.create_task(self._answered(message.id, message.question))

    def cancel(self, number: int) -> bool:
        """Nobody waits for this answer any more. False when it has been given already, or was never asked for."""
        task = self._tasks.pop(number, None)
        return task is not None and task.cancel()

    async def aclose(self) -> None:
        """Ends what is being answered. Idempotent."""
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _answered(self, number: int, question: Q) -> None:
        try:
            answer = await self._answer(number, question)
            message: Told | Denied = Told(number, msgspec.Raw(msgspec.msgpack.encode(answer)))
        except PenstockError as error:
            message = Denied(number, error.fault.code, error.message, error.param, error.retry_after)
        except Exception:  # noqa: BLE001 - the log has it, whoever asked is told
            _log.exception("a question over the link failed")
            message = Denied(number, INTERNAL.code, "Penstock failed at this; its log says why.")
        finally:
            self._tasks.pop(number, None)
        self._send(message)
