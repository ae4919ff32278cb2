"""The substrate that starts nothing: the fake of the room. Its replicas live and die by what they are told."""

from __future__ import annotations

import asyncio

import msgspec

from penstock.core.errors import ENGINE_START_FAILED, PenstockError
from penstock.core.serving import Launch


class FakeLife(msgspec.Struct, frozen=True, omit_defaults=True):
    """What ``Launch.stdin`` holds for a fake replica, as JSON: what it will say, as a child says it on its standard
    output. With neither it says nothing, and is late."""

    base_url: str = ""
    error: str = ""


_life = msgspec.json.Decoder(FakeLife)


class FakeSubstrate:
    """``running`` are the copies that are up, ``started`` the ids of every start that was tried, in order."""

    def __init__(self) -> None:
        self.running: dict[str, FakeRunning] = {}
        self.started: list[str] = []

    async def start(self, replica_id: str, launch: Launch) -> FakeRunning:
        self.started.append(replica_id)
        life = _life.decode(launch.stdin)
        if life.error:
            raise PenstockError(ENGINE_START_FAILED, life.error)
        if not life.base_url:
            await asyncio.sleep(launch.ready_within_s)
            raise PenstockError(ENGINE_START_FAILED, f"not ready within {launch.ready_within_s:g} s")
        running = FakeRunning(life.base_url)
        self.running[replica_id] = running
        running.ended.add_done_callback(lambda _: self._forget(replica_id, running))
        return running

    async def aclose(self) -> None:
        for running in tuple(self.running.values()):
            await running.stop(0.0)

    def _forget(self, replica_id: str, running: FakeRunning) -> None:
        if self.running.get(replica_id) is running:
            del self.running[replica_id]


class FakeRunning:
    """One copy that is up until it is stopped or crashed. ``held`` is what it says it holds in memory."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.held: int | None = None
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def crash(self, reason: str) -> None:
        """It ends by itself."""
        if not self.ended.done():
            self.ended.set_result(reason)

    def memory(self) -> int | None:
        return self.held

    async def wait(self) -> str:
        return await asyncio.shield(self.ended)

    async def stop(self, grace_s: float) -> None:
        self.crash("stopped")
