"""The link between the supervisor and a worker: frames of msgpack over a Unix socket pair, each at most 64 MiB.

A frame is its length in four bytes, big-endian, and one message. It carries secrets and never leaves the machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Generic, TypeVar

import msgspec

from penstock.core.serving import Deployment
from penstock.edge.http.config import ServerSettings

LONGEST_FRAME = 64 * 1024 * 1024
STOP_GRACE_S = 8


class Update(msgspec.Struct, frozen=True, tag="update"):
    """To the worker: what to serve from now on. ``server`` counts on the first one only."""

    deployment: Deployment
    pepper: bytes
    server: ServerSettings

    def __repr__(self) -> str:
        return f"Update(version={self.deployment.version})"


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """To the worker: take no more requests, end those in progress within ``STOP_GRACE_S`` seconds, then end."""


class Listening(msgspec.Struct, frozen=True, tag="listening"):
    """To the supervisor: requests are being answered."""


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """To the supervisor: this deployment cannot be served, and starting again would not help."""

    message: str


ToWorker = Update | Stop
ToSupervisor = Listening | Refused

In = TypeVar("In")
Out = TypeVar("Out")


class LinkBroken(Exception):
    """The other end said something that is no frame of this link."""


class Link(Generic[In, Out]):
    """One end. Takes the socket over. One task may send while another receives."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, decoder: msgspec.msgpack.Decoder[In]
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._decoder = decoder
        self._encoder = msgspec.msgpack.Encoder()

    async def send(self, message: Out) -> None:
        """Returns when the other end has room for it. Raises ``ConnectionError`` when it is gone."""
        frame = self._encoder.encode(message)
        if len(frame) > LONGEST_FRAME:
            raise LinkBroken(f"a frame of {len(frame)} bytes is too long for the link")
        self._writer.write(len(frame).to_bytes(4, "big") + frame)
        await self._writer.drain()

    async def receive(self) -> In | None:
        """The next message; None once the other end is gone. Raises ``LinkBroken``."""
        try:
            length = int.from_bytes(await self._reader.readexactly(4), "big")
            if length > LONGEST_FRAME:
                raise LinkBroken(f"a frame of {length} bytes is too long for the link")
            return self._decoder.decode(await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        except msgspec.DecodeError as error:
            raise LinkBroken(str(error)) from error

    async def aclose(self) -> None:
        """Idempotent. The other end then receives None."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


async def supervisor_end(sock: socket.socket) -> Link[ToSupervisor, ToWorker]:
    """The supervisor's end."""
    reader, writer = await asyncio.open_connection(sock=sock)
    return Link(reader, writer, msgspec.msgpack.Decoder(ToSupervisor))


async def worker_end(sock: socket.socket) -> Link[ToWorker, ToSupervisor]:
    """The worker's end."""
    reader, writer = await asyncio.open_connection(sock=sock)
    return Link(reader, writer, msgspec.msgpack.Decoder(ToWorker))
