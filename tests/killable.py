"""A server of another program for tests, as a process that can be killed and made to hang."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Sequence


class Killable:
    """``kill`` and another start may follow one another."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def _begin(self, command: Sequence[str], answers: Callable[[], bool], within_s: float) -> None:
        """Returns when it answers."""
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + within_s
        while not answers():
            assert self._process.poll() is None, f"{command[0]} ended at once"
            assert time.monotonic() < deadline, f"{command[0]} does not answer"
            time.sleep(0.02)

    def kill(self) -> None:
        """As kill -9: nothing is said to anybody."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """It takes connections and says nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on where it was."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
