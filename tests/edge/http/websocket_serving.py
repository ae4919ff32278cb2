"""WebSockets over real ones: a listener that reads a head and hands its connection over, a real client, and raw bytes.

The gateway behind is real; only the engine is scripted.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from penstock.access.limits import Rules
from penstock.core.accounts import Directory
from penstock.core.clock import SystemClock
from penstock.core.errors import KEY_REVOKED, PenstockError
from penstock.core.identity import Principal
from penstock.edge.http.access import AccessLine
from penstock.edge.http.websocket import PATH, SocketTimes, WebSocketSide
from penstock.edge.http.websocket_connection import WebSocketConnection
from penstock.gateway.chat import Gateway
from penstock.gateway.prepare import Preparing
from penstock.gateway.settle import Settling
from penstock.gateway.snapshot import Engine as AnyEngine
from penstock.gateway.snapshot import Snapshot
from penstock.routing.places import LocalPlaces
from penstock.routing.traffic import Traffic
from tests.edge.http.serving import DEADLINE_S, K1, deployment
from tests.gateway.doubles import NoPrices, OneKey, Samples, reserving, trials, unlearned

Frame = dict[str, object]
KEY = {"authorization": "Bearer key"}


class Revocable(OneKey):
    """One key, until it is taken back."""

    revoked = False

    def find(self, presented: str) -> Principal:
        if self.revoked:
            raise PenstockError(KEY_REVOKED, "The API key was revoked.")
        return super().find(presented)


class _Watched(WebSocketConnection):
    """Tells the site what is held whenever more may be: on a busy machine whoever looks from time to time may look
    first when all of it is gone."""

    def __init__(self, site: SocketSite, transport: asyncio.Transport, head: bytes) -> None:
        super().__init__(site.side, transport, head, client="192.0.2.1")
        self._site = site

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._site.look(self._transport)

    def send(self, *frames: bytes) -> None:
        super().send(*frames)
        self._site.look(self._transport)


class _Listener(asyncio.Protocol):
    """As much of a listener as the handing over needs."""

    def __init__(self, site: SocketSite) -> None:
        self._site = site
        self._read = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, end, rest = self._read.partition(b"\r\n\r\n")
        if end:
            connection = _Watched(self._site, self._transport, head + end)
            self._transport.set_protocol(connection)
            self._site.transports.append(self._transport)
            connection.begin(rest)


class SocketSite:
    """One server under test. ``held`` is the most bytes that ever waited for a client, ``paused`` whether one was not
    read from."""

    def __init__(self, side: WebSocketSide, samples: Samples, lines: list[AccessLine], keyring: Revocable) -> None:
        self.side = side
        self.samples = samples
        self.lines = lines
        self.keyring = keyring
        self.transports: list[asyncio.Transport] = []
        self.port = 0
        self.held = 0
        self.paused = False

    def look(self, transport: asyncio.Transport) -> None:
        self.held = max(self.held, transport.get_write_buffer_size())
        self.paused |= not transport.is_closing() and not transport.is_reading()

    def listener(self) -> asyncio.Protocol:
        return _Listener(self)

    def connect(self, *subprotocols: str, **headers: str) -> connect:
        """A client that shows the key, unless headers or subprotocols are given."""
        return connect(
            f"ws://127.0.0.1:{self.port}{PATH}",
            additional_headers=headers if headers or subprotocols else KEY,
            subprotocols=[Subprotocol(name) for name in subprotocols] or None,
            compression=None,
            ping_interval=None,
            proxy=None,
            max_size=None,
        )

    def requests(self) -> list[AccessLine]:
        return [line for line in self.lines if line.method == "WS"]


@asynccontextmanager
async def socket_site(
    engine: AnyEngine,
    *,
    times: SocketTimes = SocketTimes(),  # noqa: B008 - frozen
    origins: Collection[str] = (),
    max_body_bytes: int = 1 << 20,
) -> AsyncIterator[SocketSite]:
    """Nothing may be left when it ends: no task, no socket, and the log has a line for every socket."""
    samples, lines, clock = Samples(), list[AccessLine](), SystemClock()
    keyring = Revocable(K1)
    snapshot = Snapshot(deployment(), {"m": engine}, keyring, Rules(Directory()), NoPrices())
    gateway = Gateway(
        snapshots=lambda: snapshot,
        traffic=Traffic(clock, random.Random(1)),
        places=LocalPlaces(clock),
        reserving=reserving(clock),
        settle=Settling(clock, samples),
        doors=lambda: None,
        learn=unlearned,
        clock=clock,
        prepare=Preparing(),
        trials=trials(clock),
    )
    side = WebSocketSide(
        gateway,
        meter=samples,
        max_body_bytes=max_body_bytes,
        log_line=lambda line: lines.append(line) if isinstance(line, AccessLine) else None,
        origins=origins,
        times=times,
    )
    site = SocketSite(side, samples, lines, keyring)
    before = asyncio.all_tasks()
    server = await asyncio.get_running_loop().create_server(site.listener, "127.0.0.1", 0)
    site.port = server.sockets[0].getsockname()[1]
    try:
        yield site
    finally:
        server.close()
        await asyncio.wait_for(side.stop(), DEADLINE_S)
        assert (side.sockets, side.requests) == (0, 0)
        left = asyncio.all_tasks() - before - {asyncio.current_task()}
        assert not left, left
        assert len([line for line in lines if line.method == "GET"]) == len(site.transports)
        assert len(lines) == samples.total("penstock_http_responses")


def frame(id: str, text: str = "hi", stream: bool = True, **fields: object) -> str:
    body = {"model": "chat", "messages": [{"role": "user", "content": text}], "stream": stream}
    return json.dumps({"id": id, "body": body, **fields})


async def hear(client: ClientConnection) -> Frame:
    """The next frame."""
    text = await asyncio.wait_for(client.recv(), DEADLINE_S)
    assert isinstance(text, str)
    found = json.loads(text)
    assert isinstance(found, dict)
    return found


async def ended(client: ClientConnection, count: int = 1) -> dict[object, list[Frame]]:
    """All frames by their ids, until ``count`` requests have ended."""
    heard: dict[object, list[Frame]] = {}
    while count:
        said = await hear(client)
        heard.setdefault(said.pop("id"), []).append(said)
        count -= said.get("done") is True
    return heard


async def asked(client: ClientConnection, text: str) -> list[Frame]:
    """Sends one frame, and gives those of its answer."""
    await client.send(text)
    [frames] = (await ended(client)).values()
    return frames


def code(said: Frame) -> str:
    error = said["error"]
    assert isinstance(error, dict)
    assert set(error) == {"message", "type", "param", "code"}
    return str(error["code"])
