"""Questions over a link: none is left waiting, none outlives it, and a place that crosses its cancel is given back."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from penstock.assembly.asking import Answerer, Asker
from penstock.assembly.link import Ask, Cancel, Denied, Measured, Standing, Told, ToldOfWorker
from penstock.core.errors import QUEUE_FULL, STOPPING, PenstockError
from tests.control.timing import until


def told(number: int, answer: object = None) -> Told:
    return Told(number, msgspec.Raw(msgspec.msgpack.encode(answer)))


class Sent(list[object]):
    def __call__(self, message: object) -> None:
        self.append(message)


async def test_each_answer_goes_to_its_question() -> None:
    sent = Sent()
    asker: Asker[ToldOfWorker] = Asker(sent)
    first, second = (asyncio.create_task(asker.ask(what, 10)) for what in (Measured(), Standing()))
    await until(lambda: sent == [Ask(1, Measured()), Ask(2, Standing())], 10)
    asker.hear(told(2, "two"))
    asker.hear(Denied(1, QUEUE_FULL.code, "full", retry_after=3.0))
    assert msgspec.msgpack.decode((await second).answer) == "two"
    with pytest.raises(PenstockError, match="full") as raised:
        await first
    assert (raised.value.fault, raised.value.retry_after) == (QUEUE_FULL, 3.0)
    assert len(sent) == 2, "what was answered is not cancelled"


async def test_who_waits_too_long_or_is_cancelled_says_so() -> None:
    sent = Sent()
    asker: Asker[ToldOfWorker] = Asker(sent)
    with pytest.raises(TimeoutError):
        await asker.ask(Measured(), 0.01)
    asking = asyncio.create_task(asker.ask(Measured(), 10))
    await until(lambda: len(sent) == 3, 10)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert [message for message in sent if isinstance(message, Cancel)] == [Cancel(1), Cancel(2)]
    asker.hear(told(1))


async def test_an_answer_that_crosses_the_cancel_of_its_question_is_given_back() -> None:
    """The task is cancelled in the moment in which the answer has come and was not yet taken."""
    sent = Sent()
    asker: Asker[ToldOfWorker] = Asker(sent)
    asking = asyncio.create_task(asker.ask(Measured(), 10))
    await until(lambda: bool(sent), 10)
    asker.hear(told(1))
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert sent[-1] == Cancel(1)


async def test_a_broken_link_ends_all_waiting_and_all_asking() -> None:
    asker: Asker[ToldOfWorker] = Asker(Sent())
    asking = asyncio.create_task(asker.ask(Measured(), 10))
    await asyncio.sleep(0)
    asker.broken()
    for waiting in (asking, asker.ask(Measured(), 10)):
        with pytest.raises(PenstockError) as raised:
            await waiting
        assert raised.value.fault is STOPPING


async def test_what_answers_is_answered_refused_or_cancelled() -> None:
    sent, never = Sent(), asyncio.Event()

    async def answer(number: int, _: ToldOfWorker) -> object:
        if number == 1:
            return {"n": 1}
        if number == 2:
            raise PenstockError(QUEUE_FULL, "full", retry_after=2.0)
        if number == 3:
            raise ZeroDivisionError
        await never.wait()
        return None

    answerer: Answerer[ToldOfWorker] = Answerer(answer, sent)
    for number in range(1, 6):
        answerer.hear(Ask(number, Measured()))
    await until(lambda: len(sent) == 3, 10)
    assert sent[0] == told(1, {"n": 1})
    assert sent[1] == Denied(2, QUEUE_FULL.code, "full", None, 2.0)
    assert isinstance(sent[2], Denied)
    assert sent[2].code == "internal_error"
    assert answerer.cancel(4)
    assert not answerer.cancel(4)
    assert not answerer.cancel(1)
    await answerer.aclose()
    assert len(sent) == 3
