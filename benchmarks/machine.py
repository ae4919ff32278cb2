"""What a benchmark reads of the machine: which core runs what, CPU time and memory of whole process trees."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.e2e.running import descendants

GATEWAY_CORE = 0
LOAD_CORE = 1
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def settle_in() -> None:
    """Puts this process, and what it starts from here on, on the load's core, with as many open files as allowed."""
    os.sched_setaffinity(0, {LOAD_CORE if LOAD_CORE in os.sched_getaffinity(0) else GATEWAY_CORE})
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@contextlib.contextmanager
def on_gateway_core() -> Iterator[None]:
    """What is started inside inherits the gateways' core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {GATEWAY_CORE})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def tree(pid: int) -> tuple[int, ...]:
    """The live processes at and below ``pid``."""
    return (pid, *(process.pid for process in descendants(pid)))


def cpu_s(pids: Iterable[int]) -> float:
    """Seconds of CPU, user and system, that the processes have used. The kernel counts what ran, not samples, and
    rounds to 10 ms."""
    return sum(sum(map(int, _stat(pid)[11:13])) for pid in pids) * _TICK_S


def rss_mb(pids: Iterable[int]) -> float:
    """Resident memory of the processes, summed, in MB (10^6 bytes); what they share counts for each."""
    return sum(int(_stat(pid)[21]) for pid in pids) * _PAGE / 1e6


def described() -> str:
    """The machine in one line."""
    name = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    memory = next(int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal"))
    system = f"{platform.system()} {platform.release()}"
    return f"{name}, {os.cpu_count()} cores, {memory / 1e6:.0f} GB, {system}, Python {platform.python_version()}"


def _stat(pid: int) -> list[str]:
    """The fields of ``/proc/PID/stat`` from the third on; zeros for a process that has gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return ["0"] * 30


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()
