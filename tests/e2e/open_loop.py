"""Requests that come at their own pace, whatever becomes of those before: what was lost is told, not averaged away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import aiohttp

from tests.e2e.running import Penstock

PATIENCE_S = 60.0
TRIES = 20
PAUSE_S = 0.1


@dataclass
class Tally:
    """``lost`` are requests that were not answered whole, by number, each with what the client saw; ``slow_s`` the
    longest wait for a first byte. ``elsewhere`` counts requests that were sent again because a server would not take
    them. ``at`` says to which server each was sent last, by its place in the list; ``under_way`` are those that have
    not ended."""

    good: int = 0
    lost: dict[int, str] = field(default_factory=dict)
    at: dict[int, int] = field(default_factory=dict)
    under_way: set[int] = field(default_factory=set)
    elsewhere: int = 0
    slow_s: float = 0.0
    said: set[str] = field(default_factory=set)


class Refused(Exception):
    """The server did not take the request: it may be sent again, here or elsewhere."""


async def drive(
    servers: Sequence[Penstock],
    *,
    service: str,
    count: int,
    per_s: float,
    events: Sequence[tuple[int, Callable[[], Awaitable[object]]]] = (),
    tally: Tally | None = None,
) -> Tally:
    """Sends ``count`` requests, ``per_s`` each second, every other one as a stream, in turn to each server.

    ``tally`` is filled in, and given back. ``events`` are begun when so many requests have been sent, and awaited in the end. A request that is refused a
    connection or answered 503 before anything else is sent to the next server, as a client with a list does.
    """
    tally = tally or Tally()
    loop = asyncio.get_running_loop()
    due = sorted(events, key=lambda event: event[0])
    under_way: set[asyncio.Task[object]] = set()
    happening: list[asyncio.Future[object]] = []
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=2.0)
    timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        begun = loop.time()
        for number in range(count):
            while due and due[0][0] <= number:
                happening.append(asyncio.ensure_future(due.pop(0)[1]()))
            task: asyncio.Task[object] = loop.create_task(_one(session, servers, service, number, tally))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            await asyncio.sleep(max(0.0, begun + (number + 1) / per_s - loop.time()))  # pace: an open loop
        if under_way:
            await asyncio.wait(under_way)
        await asyncio.gather(*happening)
    return tally


async def _one(
    session: aiohttp.ClientSession, servers: Sequence[Penstock], service: str, number: int, tally: Tally
) -> None:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    why = ""
    for attempt in range(TRIES):
        place = (number // 2 + attempt) % len(servers)
        tally.at[number] = place
        tally.under_way.add(number)
        try:
            first_at, text = await _asked(session, servers[place], service, stream=number % 2 == 0)
        except Refused as error:
            tally.elsewhere += 1
            why = str(error)
            await asyncio.sleep(PAUSE_S)  # pace: what a client waits before it tries again
            continue
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError) as error:
            tally.lost[number] = f"{type(error).__name__}: {error}"
            return
        finally:
            tally.under_way.discard(number)
        tally.good += 1
        tally.slow_s = max(tally.slow_s, first_at - begun)
        tally.said.add(text)
        return
    tally.lost[number] = f"refused {TRIES} times, at last: {why}"


async def _asked(
    session: aiohttp.ClientSession, server: Penstock, service: str, *, stream: bool
) -> tuple[float, str]:
    body = {"model": service, "stream": stream, "messages": [{"role": "user", "content": "Say something."}]}
    headers = {"authorization": f"Bearer {server.key}"}
    loop = asyncio.get_running_loop()
    url = f"{server.base_url}/chat/completions"
    try:
        answering = await session.post(url, json=body, headers=headers)
    except aiohttp.ClientConnectorError as error:
        raise Refused(str(error)) from error
    async with answering as answer:
        first_at = loop.time()
        raw = await answer.read()
        if answer.status == 503:
            raise Refused(raw[:300].decode(errors="replace"))
        if answer.status != 200:
            raise ValueError(f"{answer.status} {raw[:300]!r}")
        if not stream:
            return first_at, json.loads(raw)["choices"][0]["message"]["content"]
        events = [line[6:] for line in raw.split(b"\n") if line.startswith(b"data: ")]
        if not events or events[-1] != b"[DONE]" or any(b'"error"' in event for event in events):
            raise ValueError(f"a stream that ends with {raw[-300:]!r}")
        deltas = [json.loads(event)["choices"] for event in events[:-1]]
        return first_at, "".join(choice["delta"].get("content") or "" for delta in deltas for choice in delta)
