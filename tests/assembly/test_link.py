"""Frames arrive whole, or the link says that it is broken."""

from __future__ import annotations

import asyncio
import socket

import pytest

from penstock.assembly.link import (
    LONGEST_FRAME,
    LinkBroken,
    Listening,
    Refused,
    Stop,
    Update,
    supervisor_end,
    worker_end,
)
from penstock.core.serving import Deployment, KeyRecord, Model, Replica, ReplicaState, Service
from penstock.edge.http.config import ServerSettings

DEPLOYMENT = Deployment(
    version=7,
    models={"small": Model("small", "llamacpp", "abc", b"\x80")},
    services={"*": Service("*", ("small",), ("a",), 5, "any")},
    replicas={"small": (Replica("small-0", "small", "http://x/v1", "secret", ReplicaState.DOWN, "crashed"),)},
    keys=(KeyRecord("admin", b"\x00\xff" * 16, "default", "admin", ("small",)),),
    settled=False,
)
UPDATE = Update(DEPLOYMENT, b"p" * 32, ServerSettings(port=1234))


async def test_what_is_sent_is_received_in_order() -> None:
    ours, theirs = socket.socketpair()
    supervisor, worker = await supervisor_end(ours), await worker_end(theirs)
    for message in (UPDATE, Stop()):
        await supervisor.send(message)
    assert [await worker.receive(), await worker.receive()] == [UPDATE, Stop()]
    for answer in (Listening(), Refused("no")):
        await worker.send(answer)
    assert [await supervisor.receive(), await supervisor.receive()] == [Listening(), Refused("no")]
    await supervisor.aclose()
    await supervisor.aclose()
    assert await worker.receive() is None
    await worker.aclose()


@pytest.mark.parametrize(
    "frame", [(LONGEST_FRAME + 1).to_bytes(4, "big"), b"\0\0\0\1\xc1", b"\0\0\0\1\x80", b"\0\0\0\0"]
)
async def test_what_is_no_frame_breaks_the_link(frame: bytes) -> None:
    ours, theirs = socket.socketpair()
    worker = await worker_end(theirs)
    ours.sendall(frame)
    with pytest.raises(LinkBroken):
        await worker.receive()
    ours.close()
    await worker.aclose()


async def test_an_end_in_mid_frame_is_an_end() -> None:
    ours, theirs = socket.socketpair()
    worker = await worker_end(theirs)
    ours.sendall(b"\0\0\1\0half")
    ours.close()
    assert await worker.receive() is None
    await worker.aclose()


async def test_a_frame_larger_than_the_sockets_buffers_arrives_whole() -> None:
    ours, theirs = socket.socketpair()
    supervisor, worker = await supervisor_end(ours), await worker_end(theirs)
    big = Update(DEPLOYMENT, b"p" * 5_000_000, ServerSettings())
    received, _ = await asyncio.gather(worker.receive(), supervisor.send(big))
    assert received == big
    await supervisor.aclose()
    await worker.aclose()


def test_secrets_are_in_no_representation() -> None:
    assert "secret" not in repr(UPDATE)
    assert "ppp" not in repr(UPDATE)
