"""The substrate of one machine: every replica is a child process of this one, in a session of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import deque
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from urllib.parse import quote

import msgspec

from penstock.core.errors import ENGINE_START_FAILED, PenstockError
from penstock.core.serving import Launch
from penstock.fleet.logfile import LogFile

# How long output that is still in the pipes is waited for once a child has ended; a grandchild may hold them open.
_DRAIN_S = 1.0
_LINES_KEPT = 20
_LONGEST_LINE = 64 * 1024


class _Handshake(msgspec.Struct, frozen=True):
    base_url: str = ""
    error: str = ""


_handshake = msgspec.json.Decoder(_Handshake)


class ProcessSubstrate:
    """Starts replicas as children. ``env`` is all the environment they get, beside ``Launch.env``.

    What a child prints goes to ``logs/<replica id>.log``, which is bounded. ``grace_s`` is how long ``aclose`` lets
    the children end by themselves.
    """

    def __init__(self, logs: Path, env: Mapping[str, str], grace_s: float = 5.0) -> None:
        self._logs = logs
        self._env = dict(env)
        self._grace_s = grace_s
        self._children: set[RunningProcess] = set()

    async def start(self, replica_id: str, launch: Launch) -> RunningProcess:
        """As the port says. What the child prints on standard output before its line of JSON counts as log."""
        log = LogFile(self._logs / f"{quote(replica_id, safe='')}.log")
        try:
            process = await asyncio.create_subprocess_exec(
                *launch.argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=self._env | dict(launch.env),
                start_new_session=True,
                limit=_LONGEST_LINE,
            )
        except BaseException as error:
            log.close()
            if not isinstance(error, OSError):
                raise
            raise PenstockError(
                ENGINE_START_FAILED, f"{launch.argv[0]} cannot be run: {error.strerror}. Is it installed?"
            ) from error
        child = RunningProcess(process, log)
        self._children.add(child)
        try:
            await child.greet(launch)
        except BaseException:
            # Shielded: whoever gave up waiting must still not leave half a replica behind.
            await asyncio.shield(asyncio.ensure_future(self._discard(child)))
            raise
        child.ended.add_done_callback(lambda _: self._children.discard(child))
        return child

    async def aclose(self) -> None:
        await asyncio.gather(*(child.stop(self._grace_s) for child in tuple(self._children)))
        self._children.clear()

    async def _discard(self, child: RunningProcess) -> None:
        await child.stop(0.0)
        self._children.discard(child)


class RunningProcess:
    """One child. ``ended`` becomes done, with the reason, when nothing of it is left."""

    def __init__(self, process: asyncio.subprocess.Process, log: LogFile) -> None:
        self.base_url = ""
        self.pid = process.pid
        self._process = process
        self._log = log
        self._last: deque[str] = deque(maxlen=_LINES_KEPT)
        self._stopping = False
        self._handshake: asyncio.Future[_Handshake] = asyncio.get_running_loop().create_future()
        self._pumps = (
            asyncio.create_task(self._read_output(_stream(process.stdout))),
            asyncio.create_task(self._read_log(_stream(process.stderr))),
        )
        self.ended: asyncio.Task[str] = asyncio.create_task(self._see_to_its_end())

    async def greet(self, launch: Launch) -> None:
        """Hands the child its settings and waits for its word that it serves."""
        try:
            async with asyncio.timeout(launch.ready_within_s):
                await self._tell(launch.stdin + b"\n")
                await asyncio.wait((self._handshake, self.ended), return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            raise PenstockError(
                ENGINE_START_FAILED,
                f"not ready within {launch.ready_within_s:g} s{self._last_words()}. Its log is {self._log.path}.",
            ) from None
        if not self._handshake.done():
            raise PenstockError(ENGINE_START_FAILED, f"{self.ended.result()}. Its log is {self._log.path}.")
        said = self._handshake.result()
        if said.error:
            raise PenstockError(ENGINE_START_FAILED, said.error)
        self.base_url = said.base_url

    async def wait(self) -> str:
        return await asyncio.shield(self.ended)

    async def stop(self, grace_s: float) -> None:
        if not self.ended.done():
            self._stopping = True
            if grace_s > 0:
                _stdin(self._process).close()
                self._signal(signal.SIGTERM)
                await asyncio.wait((self.ended,), timeout=grace_s)
            if not self.ended.done():
                self._signal(signal.SIGKILL)
        await asyncio.wait((self.ended,))

    async def _tell(self, text: bytes) -> None:
        stdin = _stdin(self._process)
        # A child that is gone already is noticed by its end, which also says why.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            stdin.write(text)
            await stdin.drain()

    async def _see_to_its_end(self) -> str:
        status = await self._process.wait()
        # The leader is gone; what it may have started is in its session and goes too.
        self._signal(signal.SIGKILL)
        _stdin(self._process).close()
        _, late = await asyncio.wait(self._pumps, timeout=_DRAIN_S)
        for pump in late:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        self._log.close()
        if self._stopping:
            return "stopped"
        return f"{_in_words(status)}{self._last_words()}"

    def _last_words(self) -> str:
        return f": {self._last[-1]}" if self._last else ""

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    async def _read_output(self, stream: asyncio.StreamReader) -> None:
        async for line in _lines(stream):
            if not self._handshake.done() and line.startswith(b"{"):
                with contextlib.suppress(msgspec.DecodeError):
                    said = _handshake.decode(line)
                    if said.base_url or said.error:
                        self._handshake.set_result(said)
                        continue
            self._keep(line)

    async def _read_log(self, stream: asyncio.StreamReader) -> None:
        async for line in _lines(stream):
            self._keep(line)

    def _keep(self, line: bytes) -> None:
        self._log.write(line)
        if text := line.decode("utf-8", "replace").strip():
            self._last.append(text[:500])


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """The lines of a stream, ends included; one longer than the stream's limit comes in pieces."""
    while True:
        try:
            yield await stream.readuntil(b"\n")
        except asyncio.LimitOverrunError as overrun:
            yield await stream.readexactly(max(1, overrun.consumed))
        except asyncio.IncompleteReadError as end:
            if end.partial:
                yield end.partial
            return


def _stream(stream: asyncio.StreamReader | None) -> asyncio.StreamReader:
    assert stream is not None, "the child was started with pipes"
    return stream


def _stdin(process: asyncio.subprocess.Process) -> asyncio.StreamWriter:
    assert process.stdin is not None, "the child was started with pipes"
    return process.stdin


def _in_words(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
