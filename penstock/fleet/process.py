"""The substrate of one machine: every replica is a child process of this one, in a session of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import IO
from urllib.parse import quote

import msgspec

from penstock.core.errors import ENGINE_START_FAILED, PenstockError
from penstock.core.serving import Launch
from penstock.fleet.child import Child, in_words
from penstock.fleet.logfile import LogFile

# How long output that is still in the pipes is waited for once a child has ended; who has left its session may
# hold them open.
_DRAIN_S = 1.0
_LINES_KEPT = 20
_PAGE = os.sysconf("SC_PAGE_SIZE")
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
        try:
            log = LogFile(self._logs / f"{quote(replica_id, safe='')}.log")
        except OSError as error:
            raise PenstockError(
                ENGINE_START_FAILED, f"its log cannot be written: {error}. Give this user the right to."
            ) from error
        try:
            process = Child(launch.argv, self._env | dict(launch.env), piped=True)
        except OSError as error:
            log.close()
            raise PenstockError(
                ENGINE_START_FAILED, f"{launch.argv[0]} cannot be run: {error.strerror}. Is it installed?"
            ) from error
        child = RunningProcess(process, log)
        self._children.add(child)
        child.ended.add_done_callback(lambda _: self._children.discard(child))
        try:
            await child.greet(launch)
        except BaseException:
            # Shielded: whoever gave up waiting must still not leave half a replica behind.
            await asyncio.shield(asyncio.ensure_future(child.stop(0.0)))
            raise
        return child

    async def aclose(self) -> None:
        await asyncio.gather(*(child.stop(self._grace_s) for child in tuple(self._children)))


class RunningProcess:
    """One child. ``ended`` becomes done, with the reason, when nothing of it is left."""

    def __init__(self, process: Child, log: LogFile) -> None:
        self.base_url = ""
        self.pid = process.pid
        self._process = process
        self._log = log
        self._last: deque[str] = deque(maxlen=_LINES_KEPT)
        self._stopping = False
        self._stdin: asyncio.WriteTransport | None = None
        self._handshake: asyncio.Future[_Handshake] = asyncio.get_running_loop().create_future()
        _, output, errors = process.pipes
        self._pumps = (
            asyncio.create_task(self._pump(output, self._hear)),
            asyncio.create_task(self._pump(errors, self._keep)),
        )
        self.ended: asyncio.Task[str] = asyncio.create_task(self._see_to_its_end())

    async def greet(self, launch: Launch) -> None:
        """Hands the child its settings and waits for its word that it serves."""
        try:
            async with asyncio.timeout(launch.ready_within_s):
                loop = asyncio.get_running_loop()
                self._stdin, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, self._process.pipes[0])
                # Nobody needs to wait for this: a child that does not read it does not become ready either.
                self._stdin.write(launch.stdin + b"\n")
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

    def memory(self) -> int | None:
        """What is resident of the child; what it started itself is not counted."""
        try:
            return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * _PAGE
        except (OSError, IndexError):
            return None

    async def wait(self) -> str:
        return await asyncio.shield(self.ended)

    async def stop(self, grace_s: float) -> None:
        self._stopping = True
        if self._stdin is not None:
            self._stdin.close()
        await self._process.stop(grace_s)
        await asyncio.wait((self.ended,))

    async def _see_to_its_end(self) -> str:
        status = await self._process.ended
        _, late = await asyncio.wait(self._pumps, timeout=_DRAIN_S)
        for pump in late:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        if self._stdin is None:
            self._process.pipes[0].close()
        elif not self._stdin.is_closing():
            self._stdin.abort()
        self._log.close()
        return "stopped" if self._stopping else f"{in_words(status)}{self._last_words()}"

    def _last_words(self) -> str:
        return f": {self._last[-1]}" if self._last else ""

    async def _pump(self, pipe: IO[bytes], take: Callable[[bytes], None]) -> None:
        reader = asyncio.StreamReader(limit=_LONGEST_LINE)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        with contextlib.closing(transport):
            async for line in _lines(reader):
                take(line)

    def _hear(self, line: bytes) -> None:
        if not self._handshake.done() and line.startswith(b"{"):
            with contextlib.suppress(msgspec.DecodeError):
                said = _handshake.decode(line)
                if said.base_url or said.error:
                    self._handshake.set_result(said)
                    return
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
