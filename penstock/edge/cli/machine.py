"""What this machine is: cores, memory, disk, GPUs. Reads it within the limits that a container sets."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

_UNLIMITED = 1 << 60
"""What cgroup v1 writes for no limit is a little below 2**63."""


class Memory(msgspec.Struct, frozen=True):
    """Bytes. ``total`` is what this process may use at most, ``available`` what of it is free now. ``limited``: a
    container's limit is tighter than the machine."""

    total: int
    available: int
    limited: bool = False


class Limit(msgspec.Struct, frozen=True):
    """One cgroup's: bytes allowed, and bytes used without the page cache."""

    allowed: int
    used: int


class Gpu(msgspec.Struct, frozen=True):
    """Memory in bytes."""

    name: str
    memory: int
    free: int


class Machine(msgspec.Struct, frozen=True):
    """``cores`` may be a fraction where a container has a share of one."""

    cores: float
    memory: Memory


def this_machine(root: Path = Path("/")) -> Machine:
    """Reads the machine; ``root`` is where ``/proc`` and ``/sys`` are."""
    groups = _groups(root)
    meminfo = _text(root / "proc/meminfo")
    limits = [limit for group in groups for limit in _memory_limits(group)]
    quotas = [quota for group in groups for quota in _core_quotas(group)]
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(cores=min([float(affinity), *quotas]), memory=memory(meminfo, limits))


def memory(meminfo: str, limits: Sequence[Limit]) -> Memory:
    """The memory that ``/proc/meminfo`` tells of, within the cgroups' limits. Zeros where it tells nothing."""
    found = dict(line.split(":", 1) for line in meminfo.splitlines() if ":" in line)

    def read(name: str) -> int:
        words = found.get(name, "").split()
        return int(words[0]) * 1024 if words and words[0].isdigit() else 0

    machine, free = read("MemTotal"), read("MemAvailable")
    total = min([machine, *(limit.allowed for limit in limits)])
    available = min([free, *(max(0, limit.allowed - limit.used) for limit in limits)])
    return Memory(total=total, available=available, limited=total < machine)


def gpus() -> Sequence[Gpu]:
    """The NVIDIA GPUs that ``nvidia-smi`` tells of within 10 seconds; none where there is no such program."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    query = [program, "--query-gpu=name,memory.total,memory.free", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ()
    return parse_gpus(told.stdout)


def parse_gpus(table: str) -> Sequence[Gpu]:
    """What ``nvidia-smi --query-gpu=name,memory.total,memory.free --format=csv,noheader,nounits`` says, in MiB.

    A column may read ``[N/A]``, as on boards that share their memory with the CPU.
    """
    rows = ([cell.strip() for cell in line.rsplit(",", 2)] for line in table.splitlines() if line.count(",") >= 2)
    return tuple(Gpu(name, _mib(total), _mib(free)) for name, total, free in rows)


def disk_free(path: Path) -> int:
    """Free bytes for this user where ``path`` is, or will be."""
    there = next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
    return shutil.disk_usage(there).free


def _mib(cell: str) -> int:
    return int(cell) << 20 if cell.isdigit() else 0


def _groups(root: Path) -> Sequence[Path]:
    """The directories of this process's cgroups and of their ancestors, v2 and v1; those that are mounted."""
    found: list[Path] = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        mounts = ["", "unified"] if not controllers else [controllers] if controllers in ("memory", "cpu") else []
        if controllers == "cpu,cpuacct":
            mounts = [controllers, "cpu"]
        for mount in mounts:
            base = root / "sys/fs/cgroup" / mount
            place = base / path.lstrip("/")
            # In a container the path may be the host's, and what is mounted its own group: the base is always asked.
            found += [place, *(parent for parent in place.parents if parent.is_relative_to(base))]
            found.append(base)
    return [group for group in dict.fromkeys(found) if group.is_dir()]


def _memory_limits(group: Path) -> Iterator[Limit]:
    for allowed, used, cache in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit = _number(group / allowed)
        if limit is not None and limit < _UNLIMITED:
            stat = dict(line.split(" ", 1) for line in _text(group / "memory.stat").splitlines() if " " in line)
            cached = stat.get(cache, "0")
            yield Limit(limit, max(0, (_number(group / used) or 0) - (int(cached) if cached.isdigit() else 0)))


def _core_quotas(group: Path) -> Iterator[float]:
    words = _text(group / "cpu.max").split()
    if len(words) == 2 and all(word.isdigit() for word in words):
        yield int(words[0]) / max(1, int(words[1]))
    quota, period = _number(group / "cpu.cfs_quota_us"), _number(group / "cpu.cfs_period_us")
    if quota is not None and period and quota > 0:
        yield quota / period


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdigit() else None


def _text(path: Path) -> str:
    """What a file of the kernel says; nothing where it is missing or not ours to read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def gib(number: float) -> str:
    """Bytes for people: ``7.6 GiB``, ``98 MiB``."""
    if number < 1 << 30:
        return f"{math.ceil(number / (1 << 20))} MiB"
    return f"{number / (1 << 30):.1f} GiB"
