"""What the machine is, as the kernel's files tell it: bare, and in containers of both kinds."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.edge.cli.machine import Gpu, Limit, Memory, disk_free, gib, memory, parse_gpus, this_machine

GIB = 1 << 30
MEMINFO = (
    "MemTotal:       16777216 kB\nMemFree:         1000000 kB\nMemAvailable:    8388608 kB\nHugePages_Total: 0\n"
)


def machine_at(root: Path, files: dict[str, str]) -> Path:
    for name, text in {"proc/meminfo": MEMINFO, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("limits", "found"),
    [
        ([], Memory(16 * GIB, 8 * GIB)),
        ([Limit(4 * GIB, 3 * GIB)], Memory(4 * GIB, GIB, limited=True)),
        ([Limit(4 * GIB, 5 * GIB), Limit(2 * GIB, 0)], Memory(2 * GIB, 0, limited=True)),
        ([Limit(32 * GIB, 0)], Memory(16 * GIB, 8 * GIB)),
    ],
)
def test_memory_is_the_tightest_limit(limits: list[Limit], found: Memory) -> None:
    assert memory(MEMINFO, limits) == found


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    assert memory("", []) == Memory(0, 0)
    assert this_machine(tmp_path).memory == Memory(0, 0)


def test_a_container_of_cgroup_v2(tmp_path: Path) -> None:
    root = machine_at(
        tmp_path,
        {
            "proc/self/cgroup": "0::/app/inner\n",
            "sys/fs/cgroup/app/memory.max": f"{4 * GIB}\n",
            "sys/fs/cgroup/app/memory.current": f"{3 * GIB}\n",
            "sys/fs/cgroup/app/memory.stat": f"anon 1\ninactive_file {GIB}\n",
            "sys/fs/cgroup/app/cpu.max": "50000 100000\n",
            "sys/fs/cgroup/app/inner/memory.max": "max\n",
            "sys/fs/cgroup/app/inner/cpu.max": "max 100000\n",
        },
    )
    found = this_machine(root)
    assert found.memory == Memory(4 * GIB, 2 * GIB, limited=True)
    assert found.cores == 0.5


def test_a_container_of_cgroup_v1_that_sees_only_its_own_group(tmp_path: Path) -> None:
    root = machine_at(
        tmp_path,
        {
            "proc/self/cgroup": "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n3:pids:/docker/abc\n0::/\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{2 * GIB}\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{GIB}\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "25000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
    )
    assert this_machine(root).memory == Memory(2 * GIB, GIB, limited=True)
    assert this_machine(root).cores == 0.25


def test_no_limit_of_cgroup_v1(tmp_path: Path) -> None:
    root = machine_at(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
        },
    )
    assert this_machine(root).memory == Memory(16 * GIB, 8 * GIB)


def test_this_machine_has_something() -> None:
    found = this_machine()
    assert found.cores > 0
    assert 0 < found.memory.available <= found.memory.total


def test_gpus_as_nvidia_smi_tells_them() -> None:
    table = "NVIDIA H200, 143771, 143156\nNVIDIA GB10, [N/A], [N/A]\n\nNo devices were found\n"
    assert parse_gpus(table) == (
        Gpu("NVIDIA H200", 143771 << 20, 143156 << 20),
        Gpu("NVIDIA GB10", 0, 0),
    )


def test_the_disk_of_a_place_that_is_not_there_yet(tmp_path: Path) -> None:
    assert disk_free(tmp_path / "a" / "b") > 0


def test_bytes_for_people() -> None:
    assert [gib(98_000_000), gib(GIB), gib(1.83e9)] == ["94 MiB", "1.0 GiB", "1.7 GiB"]
