"""Every way of getting an answer wrong that a bad upstream knows, by name."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from tests.e2e.faults.asked import WORDS, Asked, complaint, framed, whole_reply

FLOOD_WORD = 1000
WORK_S = 0.8

Play = Callable[[Asked], Awaitable[None]]


async def later() -> None:
    """Until what was sent has been read on its own."""
    await asyncio.sleep(0.15)  # pace: what follows comes in a piece of its own


async def _reset_on_request(asked: Asked) -> None:
    asked.reset()


async def _reset_in_answer(asked: Asked) -> None:
    """After the first words of a stream, in the middle of the body of a whole reply."""
    if asked.streams:
        await asked.begin()
        await asked.say(*WORDS[:2])
    else:
        await asked.answer(whole_reply()[:50], length=500)
    # A reset overtakes what was sent before it, if it is too quick.
    await later()
    asked.reset()


async def _hung(asked: Asked) -> None:
    await asked.silence()


async def _slow(asked: Asked) -> None:
    """A sound answer, in drips."""
    body = whole_reply()
    if asked.streams:
        await asked.begin()
        for word in WORDS:
            await asyncio.sleep(0.03)  # pace: a slow upstream
            await asked.say(word)
        await asked.end()
    else:
        await asked.answer(body[:10], length=len(body))
        for at in range(10, len(body), 40):
            await asyncio.sleep(0.01)  # pace: a slow upstream
            await asked.send(body[at : at + 40])


async def _works(asked: Asked) -> None:
    """A sound answer after a while of work."""
    await asyncio.sleep(WORK_S)  # pace: the time that the work takes
    await asked.good()


async def _half_head(asked: Asked) -> None:
    await asked.send(b"HTTP/1.1 200 OK\r\ncontent-ty")


async def _garbage(asked: Asked) -> None:
    await asked.send(bytes(range(256)) * 4)


async def _garbage_body(asked: Asked) -> None:
    """HTTP that is sound around what is not."""
    if asked.streams:
        await asked.begin()
        await asked.say(WORDS[0])
        await later()
        await asked.send(framed(b'{"id": "chatcmpl-bad", "choices": [{]'))
        await asked.end()
    else:
        await asked.answer(b'{"id": "chatcmpl-bad", "choices": [{]')


async def _too_short(asked: Asked) -> None:
    body = whole_reply()
    await asked.answer(body, length=len(body) // 2)


async def _too_long(asked: Asked) -> None:
    body = whole_reply()
    await asked.answer(body, length=len(body) * 2)


async def _error_event(asked: Asked) -> None:
    """After the first word. A reply that is not streamed has the error in the body of a 200."""
    if asked.streams:
        await asked.begin()
        await asked.say(WORDS[0])
        await later()
        await asked.send(framed(complaint("The engine has died.")) + b"0\r\n\r\n")
    else:
        await asked.answer(complaint("The engine has died."))


async def _error_event_first(asked: Asked) -> None:
    if asked.streams:
        await asked.begin()
        await asked.send(framed(complaint("The engine has died.")) + b"0\r\n\r\n")
    else:
        await asked.answer(complaint("The engine has died."))


async def _cut(asked: Asked) -> None:
    """An end of the connection, in order, before that of the answer."""
    if asked.streams:
        await asked.begin()
        await asked.say(*WORDS[:2])
    else:
        await asked.answer(whole_reply()[:50], length=500)


async def _empty(asked: Asked) -> None:
    if asked.streams:
        await asked.begin()
        await asked.send(framed(b"[DONE]") + b"0\r\n\r\n")
    else:
        await asked.answer(b"")


async def _endless(asked: Asked) -> None:
    """A stream that goes on for ever; a whole reply that never ends."""
    if asked.streams:
        await asked.begin()
    else:
        await asked.answer(b"{", length=1 << 30)
    while True:
        await asyncio.sleep(0.02)  # pace: a slow upstream
        await (asked.say("on and ") if asked.streams else asked.send(b" " * 10))


async def _flood(asked: Asked) -> None:
    """An endless stream as fast as it is taken, with little held on the way out of here."""
    asked.hold_little()
    await asked.begin()
    while True:
        await asked.say("x" * FLOOD_WORD)


async def _falls_silent(asked: Asked) -> None:
    if asked.streams:
        await asked.begin()
        await asked.say(*WORDS[:2])
    else:
        await asked.answer(whole_reply()[:50], length=500)
    await asked.silence()


def _status(status: int, **headers: str) -> Play:
    async def play(asked: Asked) -> None:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        await asked.answer(complaint(f"Refused with {status}."), status, headers=sent)

    return play


async def _good(asked: Asked) -> None:
    await asked.good()


FAULTS: Mapping[str, Play] = {
    "good": _good,
    "reset on request": _reset_on_request,
    "reset in the answer": _reset_in_answer,
    "hung": _hung,
    "slow": _slow,
    "half a head": _half_head,
    "garbage": _garbage,
    "garbage in the body": _garbage_body,
    "length too short": _too_short,
    "length too long": _too_long,
    "closed in the answer": _cut,
    "empty": _empty,
    "endless": _endless,
    "falls silent": _falls_silent,
    "flood": _flood,
    "works": _works,
    "error event first": _error_event_first,
    "error event": _error_event,
    "400": _status(400),
    "401": _status(401),
    "429, no retry-after": _status(429),
    "429, retry-after 0.5 s": _status(429, retry_after="0.5"),
    "429, retry-after 60 s": _status(429, retry_after="60"),
    "500": _status(500),
    "503": _status(503),
}


# The connection is sound after these, and goes on; after the others it ends.
KEEPING = frozenset(
    play
    for name, play in FAULTS.items()
    if name[0].isdigit() or name in ("good", "slow", "works", "error event", "empty")
)
