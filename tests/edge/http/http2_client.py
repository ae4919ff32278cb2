"""A client for HTTP/2 over a real socket, which can also be a bad one."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    DataReceived,
    InformationalResponseReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)

from tests.edge.http.serving import DEADLINE_S, Heard, Site


class Stream:
    """What has come of one answer."""

    def __init__(self) -> None:
        self.status = 0
        self.informed: list[int] = []
        self.headers: dict[str, str] = {}
        self.body = b""
        self.pieces = 0
        self.ended = False
        self.reset: int | None = None

    @property
    def over(self) -> bool:
        return self.ended or self.reset is not None

    def heard(self) -> Heard:
        assert self.ended, (self.status, self.reset, self.body[-200:])
        return Heard(self.status, self.headers, self.body)


class Client:
    """``greedy``: gives new room for all that it is sent. ``goaway`` is the last that it got: error, last stream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="latin-1"))
        self.streams: dict[int, Stream] = {}
        self.greedy = True
        self.goaway: tuple[int, int] | None = None
        self.closed = False
        self._held = b""
        self.h2.initiate_connection()
        self.flush()

    def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())

    def begin(self, method: str, path: str, *, end: bool = True, **headers: str) -> int:
        id = self.h2.get_next_available_stream_id()
        given = {"authorization": "Bearer key"} | {name.replace("_", "-"): value for name, value in headers.items()}
        pseudo = [(":method", method), (":path", path), (":scheme", "http"), (":authority", "x")]
        self.h2.send_headers(id, [*pseudo, *given.items()], end_stream=end)
        self.streams[id] = Stream()
        self.flush()
        return id

    def post(self, body: object, path: str = "/v1/chat/completions", **headers: str) -> int:
        """Begins a request with a body that the first window has room for."""
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        id = self.begin("POST", path, end=False, content_type="application/json", **headers)
        for at in range(0, len(text), 16_384):
            self.h2.send_data(id, text[at : at + 16_384])
        self.h2.end_stream(id)
        self.flush()
        return id

    async def get(self, path: str, method: str = "GET", **headers: str) -> Heard:
        return await self.answer(self.begin(method, path, **headers))

    async def answer(self, id: int) -> Heard:
        await self.until(lambda: self.streams[id].over)
        return self.streams[id].heard()

    async def until(self, true: Callable[[], object]) -> None:
        """Reads on until it is true. Fails at the end of the connection, and after a while."""
        async with asyncio.timeout(DEADLINE_S):
            while not true():
                assert not self.closed, (self.goaway, self.streams)
                await self.read()

    async def end(self) -> None:
        """Reads to the end of the connection."""
        async with asyncio.timeout(DEADLINE_S):
            while not self.closed:
                await self.read()

    async def read(self) -> None:
        try:
            data = await self._reader.read(1 << 16)
        except (ConnectionError, ssl.SSLError):
            data = b""
        self.closed = not data
        for event in self.h2.receive_data(self._without_goaway(data)):
            self._hear(event)
        if not self.closed:
            self.flush()

    def _without_goaway(self, data: bytes) -> bytes:
        """Whole frames, but for GOAWAY: after it h2 hears no more, though streams may go on."""
        self._held += data
        whole = b""
        while len(self._held) >= 9:
            end = 9 + int.from_bytes(self._held[:3])
            if len(self._held) < end:
                break
            frame, self._held = self._held[:end], self._held[end:]
            if frame[3] == 7:
                self.goaway = (int.from_bytes(frame[13:17]), int.from_bytes(frame[9:13]))
            else:
                whole += frame
        return whole

    def _hear(self, event: object) -> None:
        match event:
            case InformationalResponseReceived(stream_id=int(id), headers=headers):
                self.streams[id].informed.append(int(dict(headers or [])[":status"]))
            case ResponseReceived(stream_id=int(id), headers=headers):
                self.streams[id].headers = {str(name): str(value) for name, value in headers or []}
                self.streams[id].status = int(self.streams[id].headers.pop(":status"))
            case DataReceived(stream_id=int(id), data=data, flow_controlled_length=int(length)):
                self.streams[id].body += data or b""
                self.streams[id].pieces += 1
                if self.greedy and length:
                    self.h2.acknowledge_received_data(length, id)
            case StreamEnded(stream_id=int(id)):
                self.streams[id].ended = True
            case StreamReset(stream_id=int(id), error_code=code):
                self.streams[id].reset = int(code or 0)


@asynccontextmanager
async def http2(here: Site, context: ssl.SSLContext | None = None) -> AsyncIterator[Client]:
    """One connection; with a context over TLS, else with prior knowledge."""
    reader, writer = await asyncio.open_connection("127.0.0.1", here.port, ssl=context)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()


def raw(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """A frame as bytes, sound or not."""
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload
