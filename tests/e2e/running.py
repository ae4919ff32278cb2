"""Runs the real thing for a test: ``penstock up`` as a process of its own, with a home and a port of its own.

with running("models: {...}\nservices: {...}") as penstock:
    httpx.get(penstock.base_url + "/models", headers={"authorization": f"Bearer {penstock.key}"})
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

DEFAULT_READY_S = 60.0
STOP_S = 20.0


@dataclass(frozen=True)
class Process:
    pid: int
    parent: int
    command: str


@dataclass(frozen=True)
class Penstock:
    """A server that is up. ``url`` has no path, ``base_url`` is what an OpenAI client wants."""

    url: str
    home: Path
    process: subprocess.Popen[bytes]
    output: Path

    @property
    def base_url(self) -> str:
        return self.url + "/v1"

    @property
    def key(self) -> str:
        """The admin key, as its owner would read it."""
        lines = (self.home / "credentials").read_text().splitlines()
        return next(line.removeprefix("PENSTOCK_API_KEY=") for line in lines if line.startswith("PENSTOCK_API_KEY="))

    @property
    def pid(self) -> int:
        """The supervisor's."""
        return self.process.pid

    @property
    def file(self) -> Path:
        """The deployment file that it was started with."""
        return self.home.parent / "penstock.yaml"

    def family(self) -> list[Process]:
        """Every live process below the supervisor."""
        return descendants(self.pid)

    def worker(self) -> int:
        """The worker's process id."""
        return next(p.pid for p in self.family() if "penstock.assembly.worker" in p.command)

    def engines(self) -> list[int]:
        """The process ids of the llama.cpp children."""
        return [p.pid for p in self.family() if "llamacpp_child" in p.command]

    def said(self) -> str:
        """What it has printed so far, both streams."""
        return self.output.read_text(errors="replace")


@contextlib.contextmanager
def running(
    config: str | None = None,
    *,
    env: Mapping[str, str] | None = None,
    ready_within_s: float = DEFAULT_READY_S,
    wait_ready: bool = True,
    program: str = "penstock",
    stop: signal.Signals = signal.SIGINT,
) -> Iterator[Penstock]:
    """Starts ``penstock up`` on a free port and yields it once ``/readyz`` says 200.

    ``config`` is the text of the deployment file (None: the embedded default). ``env`` is added to the
    environment. With ``wait_ready`` false it yields as soon as ``/healthz`` answers. ``program`` is the module that is
    run. On the way out it is stopped by ``stop`` (SIGINT does not wait for load balancers), and the test fails if it
    has to be killed or leaves a process behind.
    """
    root = Path(tempfile.mkdtemp(prefix="penstock-e2e-"))
    home = root / "home"
    home.mkdir()
    port = free_port()
    arguments = [sys.executable, "-m", program, "up"]
    if config is not None:
        file = root / "penstock.yaml"
        file.write_text(config)
        arguments += ["-c", str(file)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
    environment |= {"PENSTOCK_HOME": str(home), "PENSTOCK_PORT": str(port)} | dict(env or {})
    output = root / "output"
    with output.open("wb") as sink:
        process = subprocess.Popen(
            arguments, cwd=root, env=environment, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink
        )
    server = Penstock(f"http://127.0.0.1:{port}", home, process, output)
    family: list[Process] = []
    try:
        path = "/readyz" if wait_ready else "/healthz"
        wait_until(
            lambda: process.poll() is not None or status(server.url + path) == 200, ready_within_s, server.said
        )
        if process.poll() is not None:
            raise AssertionError(f"penstock up ended with {process.returncode}:\n{server.said()}")
        yield server
        family = server.family()
    finally:
        family = family or server.family()
        killed = _stop(process, stop)
        left = [p for p in family if alive(p.pid)]
        for orphan in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(orphan.pid, signal.SIGKILL)
        said = server.said()
        shutil.rmtree(root, ignore_errors=True)
    assert not killed, f"{stop.name} did not stop it in {STOP_S} s:\n{said}"
    assert not left, f"left behind: {left}"


def _stop(process: subprocess.Popen[bytes], number: signal.Signals) -> bool:
    """Whether it had to be killed."""
    if process.poll() is None:
        process.send_signal(number)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)
            return True
    return False


def status(url: str, timeout_s: float = 2.0) -> int:
    """The HTTP status of a GET; 0 when nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def wait_until(done: Callable[[], T], within_s: float, said: Callable[[], str] = str, every_s: float = 0.02) -> T:
    """Polls until ``done`` gives something true, and returns it; fails after ``within_s`` seconds."""
    deadline = time.monotonic() + within_s
    while True:
        if result := done():
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s:\n{said()}")
        time.sleep(every_s)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def alive(pid: int) -> bool:
    """Whether a process is there and not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def descendants(pid: int) -> list[Process]:
    """Every live process below ``pid``, by the kernel's own account."""
    every: list[Process] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and alive(int(entry.name)):
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                every.append(Process(int(entry.name), parent, command))
    found: list[Process] = []
    above = {pid}
    while below := [p for p in every if p.parent in above and p not in found]:
        found += below
        above = {p.pid for p in below}
    return found
