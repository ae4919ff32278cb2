"""NVML's answers become devices; what a device does not say is unknown, and no failure of the driver gets out."""

from __future__ import annotations

from types import SimpleNamespace

import pynvml
import pytest

from penstock.fleet import gpu_nvml
from penstock.fleet.gpu import Device
from penstock.fleet.gpu_nvml import Nvml


class Driver:
    """NVML of a machine with two devices, of which the second is divided and tells less."""

    NVMLError = pynvml.NVMLError

    def __init__(self, broken: str = "") -> None:
        self.broken = broken

    def _may(self, name: str) -> None:
        if name == self.broken:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_UNKNOWN)

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's name
        self._may("init")

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        self._may("count")
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetUUID(self, handle: int) -> str:  # noqa: N802
        return f"GPU-{handle}"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(used=60, total=100)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> SimpleNamespace:  # noqa: N802
        if handle:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return SimpleNamespace(gpu=85, memory=3)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[SimpleNamespace]:  # noqa: N802
        if handle:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NO_PERMISSION)
        return [SimpleNamespace(pid=7, usedGpuMemory=50), SimpleNamespace(pid=8, usedGpuMemory=None)]


def test_devices_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_nvml, "nvml", Driver())
    assert Nvml().read() == (
        Device(name="GPU-0", memory=60, memory_total=100, utilisation=0.85, processes={7: 50, 8: None}),
        Device(name="GPU-1", memory=60, memory_total=100),
    )


@pytest.mark.parametrize("broken", ["init", "count"])
def test_a_driver_that_fails_has_no_devices(monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    monkeypatch.setattr(gpu_nvml, "nvml", Driver(broken))
    assert Nvml().read() == ()
