"""A disk without room: one line that names the place and the mend, and who can serve serves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.running import free_port, running, status, wait_until

FAKE = "models: {quick: {engine: fake}}\nservices: {quick: {model: quick}}\n"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of half a megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("file systems cannot be mounted here")
    yield place
    subprocess.run(["umount", place], check=True)


def fill(place: Path) -> None:
    with (place / "filler").open("wb", buffering=0) as file:
        for size in (4096, 1):
            while True:
                try:
                    file.write(b"x" * size)
                except OSError:
                    break


def test_a_server_that_has_never_started_says_what_to_mend(disk: Path, tmp_path: Path) -> None:
    fill(disk)
    (tmp_path / "fake.yaml").write_text(FAKE)
    env = os.environ | {"PENSTOCK_HOME": str(disk / "home"), "PENSTOCK_PORT": str(free_port())}
    refused = subprocess.run(
        [sys.executable, "-m", "penstock", "up", "-c", "fake.yaml"],
        cwd=tmp_path, env=env, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr
    last = refused.stderr.splitlines()[-1]
    assert str(disk / "home") in last
    assert "disk" in last.lower() or "No space left" in last


def test_a_server_that_runs_serves_on_and_mends_its_worker(disk: Path) -> None:
    with running(FAKE, env={"PENSTOCK_HOME": str(disk / "home")}) as server:
        fill(disk)
        assert status(server.url + "/readyz") == 200
        first = server.worker()
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: status(server.url + "/readyz") == 200, 10.0, server.said)
