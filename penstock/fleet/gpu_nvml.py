"""NVIDIA's devices, asked through NVML (https://docs.nvidia.com/deploy/nvml-api/)."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pynvml as nvml

from penstock.fleet.gpu import Device

_log = logging.getLogger(__name__)


class Nvml:
    """As ``penstock.fleet.gpu.Devices``. Without a driver there are no devices."""

    def __init__(self) -> None:
        self._ready = False
        try:
            nvml.nvmlInit()
            self._ready = True
        except nvml.NVMLError as error:
            _log.info("no NVIDIA device is watched: %s", error)

    def read(self) -> Sequence[Device]:
        if not self._ready:
            return ()
        try:
            return tuple(_device(nvml.nvmlDeviceGetHandleByIndex(i)) for i in range(nvml.nvmlDeviceGetCount()))
        except nvml.NVMLError as error:
            _log.warning("NVIDIA's devices cannot be asked: %s", error)
            return ()


def _device(handle: object) -> Device:
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    return Device(
        name=nvml.nvmlDeviceGetUUID(handle),
        memory=memory.used,
        memory_total=memory.total,
        utilisation=_utilisation(handle),
        processes=_processes(handle),
    )


def _utilisation(handle: object) -> float | None:
    """Some devices do not say, such as one that is divided."""
    try:
        return float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu) / 100.0
    except nvml.NVMLError:
        return None


def _processes(handle: object) -> dict[int, int | None]:
    try:
        return {each.pid: each.usedGpuMemory for each in nvml.nvmlDeviceGetComputeRunningProcesses(handle)}
    except nvml.NVMLError:
        return {}
