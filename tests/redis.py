"""A private redis-server for tests: its own port and folder, nothing kept on disk, stopped by its process id.

Where the machine has none, Debian's package is installed, once.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

from tests.killable import Killable


class RedisServer(Killable):
    """Use as a context. ``url`` stays the same over ``kill`` and ``start``."""

    def __init__(self, *arguments: str) -> None:
        super().__init__()
        self._arguments = arguments

    def __enter__(self) -> RedisServer:
        self._program = _program()
        self._folder = tempfile.TemporaryDirectory(prefix="penstock-redis-")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._folder.cleanup()

    def start(self) -> None:
        """Returns when it answers."""
        command = [
            *(self._program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self._folder.name),
            *("--save", "", "--appendonly", "no", "--enable-debug-command", "local", *self._arguments),
        ]
        self._begin(list(map(str, command)), self._answers, 20)

    def ask(self, *command: str) -> bytes:
        """One command on a connection of its own; the first 64 KiB of the answer, as the wire has it."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as wire:
            words = "".join(f"${len(word.encode())}\r\n{word}\r\n" for word in command)
            wire.sendall(f"*{len(command)}\r\n{words}".encode())
            return wire.recv(1 << 16)

    def _answers(self) -> bool:
        try:
            return self.ask("PING") == b"+PONG\r\n"
        except OSError:
            return False


def _program() -> Path:
    found = shutil.which("redis-server")
    if found is None:
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(["apt-get", "install", "-qq", "-y", "--no-install-recommends", "redis-server"], check=True)
        found = shutil.which("redis-server")
    assert found is not None, "redis-server could not be installed"
    return Path(found)
