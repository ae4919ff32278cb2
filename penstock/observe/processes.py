"""What the kernel says of processes, under the names that Prometheus's client libraries have given it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec
import prometheus_client as prometheus


class Level(msgspec.Struct, frozen=True):
    """One number. ``name`` as it is exposed, ``_total`` included where it only ``grows``."""

    name: str
    about: str
    process: str
    value: float
    grows: bool


def of_processes(processes: Mapping[str, int]) -> Iterator[Level]:
    """Of each of ``processes``, ids by name; nothing of one that has ended."""
    for name, pid in processes.items():
        for family in prometheus.ProcessCollector(pid=pid.__int__, registry=None).collect():
            for sample in family.samples:
                yield Level(sample.name, family.documentation, name, sample.value, family.type == "counter")
