"""What copies take of this machine is asked of the kernel, and of those alone that were started here."""

from __future__ import annotations

import os

from penstock.core.serving import Launch
from penstock.fleet.census import Census, Taken, cpu_seconds
from penstock.fleet.gpu_nvml import Nvml

LAUNCH = Launch(argv=("true",))


class Here:
    """A copy that is this very process."""

    base_url = "http://127.0.0.1:1/v1"
    pid = os.getpid()

    def memory(self) -> int | None:
        return 1 << 20

    async def wait(self) -> str:
        return ""

    async def stop(self, grace_s: float) -> None:
        """Goes on."""


class Elsewhere(Here):
    @property
    def pid(self) -> int:
        raise AttributeError("pid")


class Street:
    def __init__(self, running: Here) -> None:
        self.running = running
        self.closed = False

    async def start(self, replica_id: str, launch: Launch) -> Here:
        return self.running

    async def aclose(self) -> None:
        self.closed = True


async def test_memory_and_the_share_of_processors_are_known_of_a_process() -> None:
    now = [0.0]
    street = Street(Here())
    census = Census(street, now=lambda: now[0], cpus=2)
    assert census.taken("m-0") == Taken()
    await census.start("m-0", LAUNCH)
    assert census.taken("m-0") == Taken(memory=1 << 20, cpu=None, pid=os.getpid())
    while (used := cpu_seconds(os.getpid())) is not None and used < 0.05:
        sum(range(10_000))
    now[0] = 10.0
    share = census.taken("m-0").cpu
    assert share is not None
    assert 0.0 <= share <= 1.0
    census.forget(frozenset({"m-0"}))
    assert census.taken("m-0").pid == os.getpid()
    census.forget(frozenset())
    assert census.taken("m-0") == Taken()
    await census.aclose()
    assert street.closed


async def test_of_a_copy_elsewhere_only_what_its_substrate_says_is_known() -> None:
    census = Census(Street(Elsewhere()))
    await census.start("m-0", LAUNCH)
    assert census.taken("m-0") == Taken(memory=1 << 20)


def test_a_process_that_has_ended_takes_nothing() -> None:
    assert cpu_seconds(2**22 + 1) is None


def test_without_a_driver_there_are_no_devices() -> None:
    # On a machine with one they are read; either way nothing is raised.
    assert all(device.memory_total > 0 for device in Nvml().read())
