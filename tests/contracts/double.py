"""An HTTP/1.1 server that plays scripted exchanges byte by byte and watches who hangs up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

import msgspec


class Asked(msgspec.Struct, frozen=True):
    """One request as it came over the wire; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Played(msgspec.Struct, frozen=True, kw_only=True):
    """One answer. ``then``: ``end`` completes it, ``hang`` waits for the client to leave, ``cut`` breaks it off.

    ``pieces`` are sent as chunks of their own, each flushed. ``head`` false sends nothing at all before ``then``;
    ``raw`` is sent in place of a head.
    """

    status: int = 200
    headers: Mapping[str, str] = {}
    pieces: Sequence[bytes] = ()
    then: str = "end"
    head: bool = True
    raw: bytes = b""
    keep: bool = True


Script = Callable[[Asked], Played]


class Double:
    """Use as a context. ``working`` counts the answers under way, ``left`` those whose client hung up on them."""

    def __init__(self, script: Script, ssl: object = None) -> None:
        self.script = script
        self.asked: list[Asked] = []
        self.connections = 0
        self.working = 0
        self.left = 0
        self._ssl = ssl
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Double:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self._ssl)  # type: ignore[arg-type]
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.url = f"http{'s' if self._ssl else ''}://127.0.0.1:{self.port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def until(self, true: Callable[[Double], bool], within_s: float = 5.0) -> None:
        """Waits until ``true`` of this double; raises TimeoutError after ``within_s``."""
        async with asyncio.timeout(within_s), self._changed:
            await self._changed.wait_for(lambda: true(self))

    async def idle(self) -> None:
        """Waits until no answer is under way."""
        await self.until(lambda double: double.working == 0)

    async def _count(self, working: int, left: int = 0) -> None:
        async with self._changed:
            self.working += working
            self.left += left
            self._changed.notify_all()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            try:
                while await self._one(reader, writer):
                    pass
            finally:
                writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)
        }
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        asked = Asked(method, path, headers, body)
        self.asked.append(asked)
        await self._count(1)
        gone = asyncio.ensure_future(reader.read(1))
        left = 0
        try:
            played = self.script(asked)
            await _play(played, writer)
            if played.then == "hang":
                await asyncio.wait([gone])
            left = int(gone.done())
        except ConnectionError:
            left = 1
        finally:
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
            await asyncio.shield(self._count(-1, left))
        if played.then == "cut":
            writer.transport.abort()
        return played.then == "end" and played.keep and not left


async def _play(played: Played, writer: asyncio.StreamWriter) -> None:
    if not played.head:
        return
    if played.raw:
        writer.write(played.raw)
    else:
        lines = [f"HTTP/1.1 {played.status} Said", "Transfer-Encoding: chunked"]
        lines += [f"{name}: {value}" for name, value in played.headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
    await writer.drain()
    for piece in played.pieces:
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        await writer.drain()
        await asyncio.sleep(0)
    if played.then == "end" and not played.raw:
        writer.write(b"0\r\n\r\n")
        await writer.drain()


def sliced(data: bytes, size: int) -> list[bytes]:
    """``data`` in pieces of ``size`` bytes."""
    return [data[at : at + size] for at in range(0, len(data), size)]
