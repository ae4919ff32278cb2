"""A child process that ends with all it started, and is noticed the moment it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import IO


class Child:
    """A process in a session of its own. ``ended`` becomes done with its status as ``subprocess`` counts it:
    minus the signal's number when one ended it.

    Once it has ended, whatever it left in its session is killed before anything is told. Made inside an event loop,
    which must outlive it. Raises ``OSError`` when ``argv`` cannot be run. With ``piped`` the three standard streams
    are pipes and the caller closes them; otherwise standard input is empty and the others are this process's own.
    """

    def __init__(
        self, argv: Sequence[str], env: Mapping[str, str], *, piped: bool = False, pass_fds: Sequence[int] = ()
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._process = subprocess.Popen(
            argv,
            env=env,
            stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
            stdout=subprocess.PIPE if piped else None,
            stderr=subprocess.PIPE if piped else None,
            pass_fds=pass_fds,
            start_new_session=True,
            bufsize=0,
        )
        self.pid = self._process.pid
        self.ended: asyncio.Future[int] = self._loop.create_future()
        self._watch = os.pidfd_open(self.pid)
        self._loop.add_reader(self._watch, self._reap)

    @property
    def pipes(self) -> tuple[IO[bytes], IO[bytes], IO[bytes]]:
        """Standard input, output and error of a child that was made ``piped``."""
        pipes = self._process.stdin, self._process.stdout, self._process.stderr
        if pipes[0] is None or pipes[1] is None or pipes[2] is None:
            raise ValueError("this child was not made piped")
        return pipes[0], pipes[1], pipes[2]

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the child and all in its session; nothing happens once it has ended."""
        if not self.ended.done():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    async def stop(self, grace_s: float) -> None:
        """SIGTERM, ``grace_s`` seconds, SIGKILL; returns when it has ended. Idempotent."""
        if grace_s > 0 and not self.ended.done():
            self.signal(signal.SIGTERM)
            await asyncio.wait((self.ended,), timeout=grace_s)
        self.signal(signal.SIGKILL)
        await asyncio.wait((self.ended,))

    def _reap(self) -> None:
        self._loop.remove_reader(self._watch)
        os.close(self._watch)
        # Before it is reaped its number still names its session and nobody else's.
        self.signal(signal.SIGKILL)
        self.ended.set_result(self._process.wait())


def in_words(status: int) -> str:
    """How a child ended, for people."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
