"""A WebSocket of the real server: twenty requests at once on one socket, some cancelled, and HTTP besides."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from tests.e2e.running import Penstock, running, wait_until

Frame = dict[str, object]

WORDS = [f"word{number}" for number in range(20)]
ANSWERS = [
    {"when": "steady", "text": " ".join(WORDS), "chunk_delay_s": 0.02},
    {"when": "endless", "text": "on " * 2000, "chunk_delay_s": 0.02},
    {"when": "late", "text": "never", "first_delay_s": 60.0},
]
DEPLOYMENT = {
    "models": {"scripted": {"engine": "fake", "answers": ANSWERS}},
    "services": {"scripted": {"model": "scripted"}},
}
WITHIN_S = 30.0


@pytest.fixture(scope="module")
def server() -> Iterator[Penstock]:
    with running(json.dumps(DEPLOYMENT)) as penstock:
        yield penstock
        assert "Traceback" not in penstock.said()


def opened(server: Penstock, key: str | None = None) -> connect:
    url = server.url.replace("http", "ws", 1) + "/v1/websocket"
    return connect(url, additional_headers={"authorization": f"Bearer {key or server.key}"}, proxy=None)


def asked(name: str, text: str, stream: bool = True) -> str:
    body = {"model": "scripted", "messages": [{"role": "user", "content": text}], "stream": stream}
    return json.dumps({"id": name, "body": body})


def over_http(server: Penstock, path: str, body: object | None = None) -> Frame:
    request = urllib.request.Request(
        server.url + path,
        data=None if body is None else json.dumps(body).encode(),
        headers={"authorization": f"Bearer {server.key}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=WITHIN_S) as reply:
        found: Frame = json.loads(reply.read())
    return found


def at_rest(server: Penstock) -> None:
    """The admin's word that nothing is left."""
    wait_until(
        lambda: all(over_http(server, "/admin/live")[what] == 0 for what in ("tasks", "sockets", "leases")),
        WITHIN_S,
        lambda: json.dumps(over_http(server, "/admin/live")),
    )


def said(frames: list[Frame]) -> str:
    """The text of a stream's chunks."""
    deltas = [frame["chunk"]["choices"][0]["delta"] for frame in frames if "chunk" in frame]  # type: ignore[index]
    return "".join(delta.get("content") or "" for delta in deltas)


async def heard(socket: ClientConnection) -> Frame:
    found: Frame = json.loads(await asyncio.wait_for(socket.recv(), WITHIN_S))
    return found


async def test_twenty_requests_on_one_socket_with_cancels_pings_and_http_besides(server: Penstock) -> None:
    streams = [f"stream-{number}" for number in range(8)]
    wholes = [f"whole-{number}" for number in range(4)]
    endless = [f"endless-{number}" for number in range(4)]
    late = [f"late-{number}" for number in range(2)]
    wrong = [f"wrong-{number}" for number in range(2)]
    every = [*streams, *wholes, *endless, *late, *wrong]
    frames: defaultdict[str, list[Frame]] = defaultdict(list)
    order: list[str] = []
    done: set[str] = set()
    async with opened(server) as socket:
        for name in every:
            text = {"s": "steady", "w": "steady", "e": "endless", "l": "late"}[name[0]]
            message = asked(name, text, stream=not name.startswith("whole"))
            await socket.send(message if name not in wrong else json.dumps({"id": name, "body": {"model": 5}}))
        cancelled: set[str] = set()
        pings = []
        besides = asyncio.create_task(
            asyncio.to_thread(
                over_http, server, "/v1/chat/completions", json.loads(asked("", "steady", False))["body"]
            )
        )
        while len(done) < len(every):
            frame = await heard(socket)
            name = str(frame["id"])
            assert name not in done, "nothing follows a request's last frame"
            frames[name].append(frame)
            order.append(name)
            if frame.get("done"):
                done.add(name)
            if "chunk" in frame and name in endless and name not in cancelled and len(frames[name]) > 5:
                await socket.send(json.dumps({"id": name, "cancel": True}))
                pings.append(await socket.ping())
                cancelled.add(name)
                if cancelled == set(endless):
                    for one in late:
                        await socket.send(json.dumps({"id": one, "cancel": True}))
        for ping in pings:
            assert await asyncio.wait_for(ping, WITHIN_S) < WITHIN_S
        assert len(pings) == len(endless)

        for name in streams:
            assert said(frames[name]) == " ".join(WORDS)
        for name in wholes:
            reply, _ = frames[name]
            assert reply["reply"]["choices"][0]["message"]["content"] == " ".join(WORDS)  # type: ignore[index]
        for name in [*endless, *late]:
            assert frames[name][-1]["cancelled"] is True
            assert not any("error" in frame for frame in frames[name])
        for name in wrong:
            refusal, _ = frames[name]
            assert (refusal["status"], refusal["error"]["code"]) == (400, "invalid_type")  # type: ignore[index]
        ids = {frames[name][-1]["headers"]["x-request-id"] for name in every}  # type: ignore[index]
        assert len(ids) == len(every)
        assert sum(one != other for one, other in pairwise(order)) > 100, "they are interleaved"
        answer = await asyncio.wait_for(besides, WITHIN_S)
        assert answer["choices"][0]["message"]["content"] == " ".join(WORDS)  # type: ignore[index]

        # The socket is as good as new.
        await socket.send(asked(streams[0], "steady"))
        again: list[Frame] = []
        while not again or not again[-1].get("done"):
            again.append(await heard(socket))
        assert said(again) == " ".join(WORDS)
    await asyncio.to_thread(at_rest, server)


async def test_a_socket_that_is_dropped_leaves_nothing(server: Penstock) -> None:
    for close in (True, False):
        async with opened(server) as socket:
            for number in range(20):
                await socket.send(asked(str(number), "endless" if number % 2 else "late"))
            await heard(socket)
            live = await asyncio.to_thread(over_http, server, "/admin/live")
            assert live["tasks"] == 20
            if not close:
                socket.transport.abort()
        await asyncio.to_thread(at_rest, server)


async def test_a_wrong_key_opens_no_socket(server: Penstock) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await opened(server, key="wrong")
    assert refused.value.response.status_code == 401
    assert json.loads(refused.value.response.body or b"")["error"]["code"] == "invalid_api_key"


async def test_a_stop_tells_every_request_and_closes_the_socket() -> None:
    deployment = DEPLOYMENT | {"server": {"drain": {"announce_s": 0, "limit_s": 2}}}
    with running(json.dumps(deployment)) as server:
        async with opened(server) as socket:
            await socket.send(asked("quick", "steady"))
            await socket.send(asked("endless", "endless"))
            await heard(socket)
            server.process.terminate()
            ends: dict[str, Frame] = {}
            async with asyncio.timeout(WITHIN_S):
                async for message in socket:
                    frame = json.loads(message)
                    if "error" in frame or frame.get("done"):
                        ends.setdefault(frame["id"], frame)
        assert ends["endless"]["error"]["code"] == "gateway_stopping"  # type: ignore[index]
        assert "error" not in ends["quick"]
        assert socket.close_code == 1001
        assert await asyncio.to_thread(server.process.wait, WITHIN_S) == 0
