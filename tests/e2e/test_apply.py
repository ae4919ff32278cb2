"""Changing what is served while it is served: the file read again, refused or taken, and what a hang-up means."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

from tests.e2e.running import Penstock, alive, descendants, free_port, running, status, wait_until

FIRST = "models: {quick: {engine: fake}}\nservices:\n  quick: {model: quick}\n"
SECOND = FIRST + "  more: {model: quick}\n"


def listed(server: Penstock) -> list[str]:
    request = urllib.request.Request(server.base_url + "/models", headers={"authorization": f"Bearer {server.key}"})
    with urllib.request.urlopen(request, timeout=5) as reply:
        return [entry["id"] for entry in json.load(reply)["data"]]


def test_the_file_is_read_again_on_sighup() -> None:
    with running(FIRST) as server:
        server.file.write_text(SECOND + "server: {port: 9999, heartbeat_s: 3}\n")
        os.kill(server.pid, signal.SIGHUP)
        wait_until(lambda: listed(server) == ["quick", "more"], 5.0, server.said)
        assert "Applied: added service more: quick." in server.said()
        # The port was chosen by the environment, so the file's is not what is waited for.
        assert "Not applied before the next start: server.heartbeat_s 15 -> 3." in server.said()
        assert "server.port" not in server.said()
        server.file.write_text(FIRST.replace("model: quick}", "modle: quick}"))
        os.kill(server.pid, signal.SIGHUP)
        wait_until(lambda: "is not applied" in server.said(), 5.0, server.said)
        assert f'{server.file}:3: services.quick.modle: unknown key; did you mean "model"?' in server.said()
        assert listed(server) == ["quick", "more"]
        worker = server.worker()
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: status(server.url + "/readyz") == 200, 10.0)
        assert listed(server) == ["quick", "more"]


def test_a_terminal_that_is_closed_ends_the_server_in_it(tmp_path: Path) -> None:
    (tmp_path / "fake.yaml").write_text(FIRST)
    port = free_port()
    env = os.environ | {"PENSTOCK_HOME": str(tmp_path / "home"), "PENSTOCK_PORT": str(port)}
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "penstock", "up", "-c", "fake.yaml"],
        cwd=tmp_path, env=env, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
        preexec_fn=_controlled_by_it,
    )  # fmt: skip
    os.close(slave)
    try:
        wait_until(lambda: status(f"http://127.0.0.1:{port}/readyz") == 200, 30.0)
        family = [each.pid for each in descendants(process.pid)]
        assert family
        os.close(master)
        assert process.wait(15) == 0
        wait_until(lambda: not any(map(alive, family)), 2.0)
    finally:
        process.kill()
        process.wait()


def _controlled_by_it() -> None:
    """The terminal on standard input tells this session when it is closed."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
