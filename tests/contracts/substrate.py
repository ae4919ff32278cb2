"""What every substrate promises. The launches are the same for all: a child that says what it was told to say."""

from __future__ import annotations

import asyncio
import sys
import time

import msgspec
import pytest

from penstock.core.errors import ENGINE_START_FAILED, PenstockError
from penstock.core.serving import Launch
from penstock.fleet import Running, Substrate
from penstock.fleet.fake import FakeLife

# Says back the first line it is given, then lives until its standard input ends.
ECHO = "import sys\nprint(sys.stdin.readline(), flush=True)\nsys.stdin.read()"
URL = "http://127.0.0.1:9/v1"


def launch(life: FakeLife, ready_within_s: float = 10.0, code: str = ECHO) -> Launch:
    return Launch(
        (sys.executable, "-c", code), msgspec.json.encode(life), key="secret", ready_within_s=ready_within_s
    )


class SubstrateContract:
    def make(self) -> Substrate:
        raise NotImplementedError

    async def crash(self, running: Running) -> None:
        """Makes the copy end without being asked to."""
        raise NotImplementedError

    def alive(self) -> int:
        """How many copies are left, by the substrate's own means."""
        raise NotImplementedError

    @pytest.fixture
    async def substrate(self):
        substrate = self.make()
        yield substrate
        await substrate.aclose()
        assert self.alive() == 0

    async def test_it_returns_once_the_copy_says_that_it_serves(self, substrate: Substrate) -> None:
        running = await substrate.start("small-0", launch(FakeLife(base_url=URL)))
        assert running.base_url == URL
        assert self.alive() == 1

    async def test_a_stopped_copy_is_gone_and_says_so_to_all_who_wait(self, substrate: Substrate) -> None:
        running = await substrate.start("small-0", launch(FakeLife(base_url=URL)))
        waiting = [asyncio.create_task(running.wait()) for _ in range(3)]
        await running.stop(5.0)
        assert self.alive() == 0
        assert await asyncio.gather(*waiting) == ["stopped"] * 3
        assert await running.wait() == "stopped"
        await running.stop(0.0)

    async def test_who_waits_no_longer_does_not_end_the_copy(self, substrate: Substrate) -> None:
        running = await substrate.start("small-0", launch(FakeLife(base_url=URL)))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(running.wait(), 0.01)
        assert self.alive() == 1

    async def test_a_crash_is_told_in_one_line(self, substrate: Substrate) -> None:
        running = await substrate.start("small-0", launch(FakeLife(base_url=URL)))
        await self.crash(running)
        reason = await asyncio.wait_for(running.wait(), 5.0)
        assert reason
        assert "\n" not in reason
        assert self.alive() == 0

    async def test_a_crash_of_one_leaves_the_other_alone(self, substrate: Substrate) -> None:
        first = await substrate.start("small-0", launch(FakeLife(base_url=URL)))
        second = await substrate.start("small-1", launch(FakeLife(base_url=URL + "/2")))
        await self.crash(first)
        await first.wait()
        assert second.base_url == URL + "/2"
        assert self.alive() == 1

    async def test_a_copy_that_refuses_is_quoted(self, substrate: Substrate) -> None:
        with pytest.raises(PenstockError, match="no such weights") as caught:
            await substrate.start("small-0", launch(FakeLife(error="no such weights")))
        assert caught.value.fault is ENGINE_START_FAILED
        assert self.alive() == 0

    async def test_a_copy_that_is_late_is_given_up(self, substrate: Substrate) -> None:
        begun = time.monotonic()
        with pytest.raises(PenstockError, match=r"not ready within 0\.3 s") as caught:
            await substrate.start("small-0", launch(FakeLife(), ready_within_s=0.3))
        assert caught.value.fault is ENGINE_START_FAILED
        assert time.monotonic() - begun < 5.0
        assert self.alive() == 0

    async def test_a_start_that_is_cancelled_leaves_nothing(self, substrate: Substrate) -> None:
        starting = asyncio.create_task(substrate.start("small-0", launch(FakeLife())))
        await asyncio.sleep(0.1)  # pace: a start that is under way
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert self.alive() == 0

    async def test_closing_stops_every_copy_and_may_be_repeated(self, substrate: Substrate) -> None:
        runnings = [await substrate.start(f"small-{n}", launch(FakeLife(base_url=URL))) for n in range(3)]
        assert self.alive() == 3
        await substrate.aclose()
        assert self.alive() == 0
        assert [await running.wait() for running in runnings] == ["stopped"] * 3
        await substrate.aclose()

    async def test_a_copy_that_was_stopped_may_be_started_again(self, substrate: Substrate) -> None:
        first = await substrate.start("small-0", launch(FakeLife(base_url=URL)))
        await first.stop(1.0)
        again = await substrate.start("small-0", launch(FakeLife(base_url=URL)))
        assert self.alive() == 1
        assert again.base_url == URL
