"""Frames arrive whole, or the link says that it is broken."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest
import uvloop

from penstock.access.config import AccessSettings
from penstock.assembly.link import (
    LONGEST_FRAME,
    Apply,
    Ask,
    Begin,
    Doors,
    Entrance,
    Link,
    LinkBroken,
    Listening,
    Measured,
    Reserve,
    SettleLease,
    Stop,
    ToSupervisor,
    ToWorker,
    Update,
    framed,
    supervisor_end,
    worker_end,
)
from penstock.caches.config import CacheSettings, RedisSettings, S3Settings
from penstock.core.accounts import Directory, KeyRecord, SigningKeys
from penstock.core.leases import Hold, Need
from penstock.core.serving import Deployment, Model, Replica, ReplicaState, Service
from penstock.core.usage import Act
from penstock.edge.http.config import ServerSettings
from penstock.observe.config import ObserveSettings
from penstock.store.config import StateSettings
from tests.control.timing import until

DEPLOYMENT = Deployment(
    version=7,
    models={"small": Model("small", "llamacpp", "abc", b"\x80")},
    services={"*": Service("*", ("small",), ("a",), 5, "any")},
    replicas={"small": (Replica("small-0", "small", "http://x/v1", "secret", ReplicaState.DOWN, "crashed"),)},
    settled=False,
)
ACT = Act(at=1.0, actor="admin", project="*", action="deployment.apply")
UPDATE = Update(DEPLOYMENT, ServerSettings(port=1234))
BEGIN = Begin(
    "g",
    "g-w0-1",
    0,
    "/journal",
    "/spool",
    AccessSettings(pepper="hush"),
    StateSettings(),
    ObserveSettings(),
    CacheSettings(redis=RedisSettings(url="redis://:hush@h"), s3=S3Settings(place="s3://b/p")),
    b"\x00\xff",
)
DIRECTORY = Directory(version=4, keys=(KeyRecord(id="k", digest=b"\x00\xff" * 16, project="red", role="viewer"),))
ENTRANCE = Entrance(DIRECTORY, (("now", b"p" * 32),), (SigningKeys("https://id", b"{}", 5.0),), {"bud_1:": (5, 9.0)})


class Ends:
    """Both ends, and what each has heard."""

    def __init__(self) -> None:
        self.at_worker: list[ToWorker] = []
        self.at_supervisor: list[ToSupervisor] = []
        self.worker: Link[ToWorker, ToSupervisor] = worker_end(self.at_worker.append)
        self.supervisor: Link[ToSupervisor, ToWorker] = supervisor_end(self.at_supervisor.append)


@contextlib.asynccontextmanager
async def linked() -> AsyncIterator[Ends]:
    ends, (ours, theirs) = Ends(), socket.socketpair()
    await ends.supervisor.open(ours)
    await ends.worker.open(theirs)
    try:
        yield ends
    finally:
        await ends.supervisor.aclose()
        await ends.worker.aclose()


async def test_what_is_sent_is_heard_in_order() -> None:
    async with linked() as ends:
        said: list[ToWorker] = [
            BEGIN,
            ENTRANCE,
            Doors("journal_full", "full"),
            UPDATE,
            Ask(3, Measured()),
            Stop(True),
        ]
        for message in said:
            ends.supervisor.send(message)
        need = Need("bud_1:", Hold.KEPT, 5, 2, until=9.0)
        answered: list[ToSupervisor] = [Listening(), Ask(1, Reserve("l", (need,))), SettleLease("l", {"bud_1:": 2})]
        for answer in answered:
            ends.worker.send(answer)
        await until(lambda: len(ends.at_worker) == 6 and len(ends.at_supervisor) == 3, 10)
        assert ends.at_worker == said
        assert ends.at_supervisor == answered
        await ends.supervisor.aclose()
        await ends.supervisor.aclose()
        assert await asyncio.wait_for(ends.worker.ended, 10) is None
        ends.worker.send(Listening())


def test_it_works_in_the_loop_that_workers_run_in() -> None:
    """Its transports are no subclasses of asyncio's."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test_what_is_sent_is_heard_in_order())


@pytest.mark.parametrize(
    "frame", [(LONGEST_FRAME + 1).to_bytes(4, "big"), b"\0\0\0\1\xc1", b"\0\0\0\1\x80", b"\0\0\0\0"]
)
async def test_what_is_no_frame_breaks_the_link(frame: bytes) -> None:
    async with linked() as ends:
        ends.supervisor.send_frame(framed(Stop(False)) + frame)
        with pytest.raises(LinkBroken):
            await asyncio.wait_for(ends.worker.ended, 10)
        assert ends.at_worker == [Stop(False)]


@pytest.mark.parametrize("size", [1, 3, 7])
async def test_frames_may_come_in_any_pieces(size: int) -> None:
    frames = framed(UPDATE) + framed(Stop(False))
    async with linked() as ends:
        for at in range(0, len(frames), size):
            ends.worker.data_received(frames[at : at + size])
        assert ends.at_worker == [UPDATE, Stop(False)]


async def test_an_end_in_mid_frame_is_an_end() -> None:
    async with linked() as ends:
        ends.supervisor.send_frame(b"\0\0\1\0half")
        await ends.supervisor.aclose()
        assert await asyncio.wait_for(ends.worker.ended, 10) is None
        assert not ends.at_worker


async def test_a_frame_larger_than_the_sockets_buffers_arrives_whole_and_makes_room() -> None:
    big = Entrance(DIRECTORY, (("now", b"p" * 5_000_000),), (), {})
    async with linked() as ends:
        ends.supervisor.send(big)
        await asyncio.wait_for(ends.supervisor.room(), 10)
        await until(lambda: ends.at_worker == [big], 10)


async def test_who_does_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.assembly.link._MOST_WAITING", 1 << 20)
    monkeypatch.setattr("penstock.assembly.link.LONGEST_FRAME", 1 << 20)
    ours, theirs = socket.socketpair()
    supervisor = supervisor_end(lambda _: None)
    await supervisor.open(ours)
    with theirs:
        for _ in range(40):
            supervisor.send_frame(b"x" * (100 << 10))
        with pytest.raises(LinkBroken, match="does not read"):
            await asyncio.wait_for(supervisor.ended, 10)
    await supervisor.aclose()


def test_secrets_are_in_no_representation() -> None:
    assert "secret" not in repr(UPDATE)
    assert "ppp" not in repr(ENTRANCE)
    assert "hush" not in repr(BEGIN)
    assert "models" not in repr(Apply("models: {}", False, ACT))
