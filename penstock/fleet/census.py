"""Which copies run, and what they take of this machine, beside whatever starts and stops them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

import msgspec

from penstock.core.serving import Launch
from penstock.fleet import Running, Substrate

_TICKS = os.sysconf("SC_CLK_TCK")


@runtime_checkable
class Process(Protocol):
    """A copy that is a process of this machine."""

    @property
    def pid(self) -> int: ...


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What one copy takes. ``memory`` in bytes; ``cpu`` is the share of all processors since it was asked last; None:
    not known. ``pid`` None: it is no process of this machine."""

    memory: int | None = None
    cpu: float | None = None
    pid: int | None = None


class _Copy:
    __slots__ = ("asked", "running", "used")

    def __init__(self, running: Running) -> None:
        self.running = running
        self.used: float | None = None
        self.asked = 0.0


class Census:
    """A substrate that knows what it has started. ``now`` is a clock that never goes back, ``cpus`` how many
    processors there are."""

    def __init__(
        self, inner: Substrate, now: Callable[[], float] = time.monotonic, cpus: int = os.cpu_count() or 1
    ) -> None:
        self._inner = inner
        self._now = now
        self._cpus = cpus
        self._copies: dict[str, _Copy] = {}

    async def start(self, replica_id: str, launch: Launch) -> Running:
        """As the port says."""
        running = await self._inner.start(replica_id, launch)
        self._copies[replica_id] = _Copy(running)
        return running

    async def aclose(self) -> None:
        """As the port says."""
        await self._inner.aclose()

    def taken(self, replica_id: str) -> Taken:
        """What the copy of this id takes now; nothing is known of one that was not started here, or has ended."""
        copy = self._copies.get(replica_id)
        if copy is None:
            return Taken()
        memory = copy.running.memory()
        if not isinstance(copy.running, Process):
            return Taken(memory=memory)
        pid, now = copy.running.pid, self._now()
        used = cpu_seconds(pid)
        share = None
        if used is not None and copy.used is not None and now > copy.asked:
            share = min(1.0, max(0.0, used - copy.used) / (now - copy.asked) / self._cpus)
        copy.used, copy.asked = used, now
        return Taken(memory=memory, cpu=share, pid=pid)

    def forget(self, wanted: frozenset[str]) -> None:
        """Those that are not among ``wanted`` any more."""
        for gone in self._copies.keys() - wanted:
            del self._copies[gone]


def cpu_seconds(pid: int) -> float | None:
    """What a process has had of processors since it began; None once it has ended (proc(5), ``/proc/PID/stat``)."""
    try:
        # The name, in brackets, may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS
    except (OSError, IndexError, ValueError):
        return None
