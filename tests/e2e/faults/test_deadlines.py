"""Deadlines of every kind are hit within five per cent: each is tried ten times, and the worst counts."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest

from tests.e2e import rawhttp
from tests.e2e.faults.asked import Place
from tests.e2e.faults.upstream import BadUpstream
from tests.e2e.running import Penstock, running, wait_until

TIMES = 10
WITHIN = 0.05
DEADLINE_S = 3.0
BETWEEN_S = 0.02
"""From one request to the next: the errors of all at once would wait for one another."""


@dataclass(frozen=True)
class Kind:
    """One way of running out of time: the fault that brings it about, what the service says, and the error's code.

    ``client``: the deadline is the client's own, in a header. ``since_word``: it is counted from the last word.
    """

    fault: str
    terms: dict[str, object]
    code: str
    stream: bool = True
    client: bool = False
    since_word: bool = False


def _deadlines(**said: float) -> dict[str, object]:
    return {"deadlines": said}


_AGAIN: dict[str, object] = {"retry": {"attempts": 10, "backoff_s": 0.05, "budget": 1}}
KINDS = {
    "connect": Kind("no connection", _deadlines(connect_s=DEADLINE_S), "upstream_timeout"),
    "first token": Kind("hung", _deadlines(first_token_s=DEADLINE_S), "upstream_timeout"),
    "between tokens": Kind(
        "falls silent", _deadlines(between_tokens_s=DEADLINE_S), "upstream_timeout", since_word=True
    ),
    "total": Kind("hung", _deadlines(total_s=DEADLINE_S), "deadline_exceeded", stream=False),
    "total, of a stream": Kind("endless", _deadlines(total_s=DEADLINE_S), "deadline_exceeded"),
    "total, over attempts": Kind(
        "hung", _deadlines(total_s=DEADLINE_S, first_token_s=1.1) | _AGAIN, "deadline_exceeded"
    ),
    "the client's": Kind("hung", _deadlines(total_s=60), "deadline_exceeded", stream=False, client=True),
    "the client's, of a stream": Kind("endless", _deadlines(total_s=60), "deadline_exceeded", client=True),
    "queue": Kind("hung", {"queue": {"concurrency": 1, "wait_s": DEADLINE_S}}, "queue_timeout"),
}


@dataclass
class Found:
    """Seconds to the error, of every try, and the codes that were told."""

    took: list[float] = field(default_factory=list)
    codes: set[str] = field(default_factory=set)


@pytest.fixture(scope="module")
def found() -> Iterator[Mapping[str, Found]]:
    """Every kind, tried at the same time as all others."""
    with BadUpstream() as upstream:
        places = {name: upstream.place(kind.fault) for name, kind in KINDS.items()}
        models = {_service(name): {"engine": "openai", "base_url": place.base_url} for name, place in places.items()}
        once: dict[str, object] = {"retry": {"attempts": 1}, "breaker": {"failures": 1000, "least": 1000}}
        services = {_service(name): once | kind.terms | {"model": _service(name)} for name, kind in KINDS.items()}
        with running(json.dumps({"models": models, "services": services})) as server:
            yield asyncio.run(_tried(server, places))


@pytest.mark.parametrize("name", KINDS)
def test_it_is_hit(found: Mapping[str, Found], name: str) -> None:
    took = found[name].took
    print(f"\n{name}: {DEADLINE_S:g} s; {TIMES} tries took {min(took):.3f} to {max(took):.3f} s")
    assert found[name].codes == {KINDS[name].code}
    assert len(took) == TIMES
    assert min(took) >= DEADLINE_S * (1 - WITHIN)
    assert max(took) <= DEADLINE_S * (1 + WITHIN)


async def _tried(server: Penstock, places: Mapping[str, Place]) -> Mapping[str, Found]:
    found = {name: Found() for name in KINDS}
    # Whoever holds the only place keeps it for longer than the others wait.
    holder = asyncio.create_task(_asked(server, "queue", ("x-penstock-timeout: 10",)))
    await asyncio.to_thread(wait_until, lambda: places["queue"].attempts, DEADLINE_S)
    tries = []
    for _ in range(TIMES):
        for name in KINDS:
            tries.append(asyncio.create_task(_noted(server, name, found[name])))
            await asyncio.sleep(BETWEEN_S)  # pace: see there
    await asyncio.gather(*tries)
    holder.cancel()
    await asyncio.gather(holder, return_exceptions=True)
    return found


async def _noted(server: Penstock, name: str, found: Found) -> None:
    took, code = await _asked(server, name, (f"x-penstock-timeout: {DEADLINE_S:g}",) if KINDS[name].client else ())
    found.took.append(took)
    found.codes.add(code)


async def _asked(server: Penstock, name: str, headers: tuple[str, ...]) -> tuple[float, str]:
    """Seconds to the error, from the request or the last word before it, and its code."""
    kind = KINDS[name]
    body = {"model": _service(name), "messages": [{"role": "user", "content": "Hello"}], "stream": kind.stream}
    address = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        began = time.perf_counter()
        writer.write(rawhttp.request(server, json.dumps(body).encode(), headers=headers))
        read = b""
        while piece := await reader.read(1 << 16):
            now = time.perf_counter()
            read = (read + piece)[-4096:]
            if b'"code":"' in read and b'"error"' in read:
                return now - began, read.rpartition(b'"code":"')[2].partition(b'"')[0].decode()
            if kind.since_word and b'"content"' in piece:
                began = now
        raise AssertionError(f"{name} ended without an error: {read!r}")
    finally:
        writer.close()


def _service(name: str) -> str:
    return name.replace(" ", "-").replace("'", "").replace(",", "")
