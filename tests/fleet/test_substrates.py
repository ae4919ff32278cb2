"""Both substrates keep the contract; the one of processes leaves none behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from penstock.core.errors import ENGINE_START_FAILED, PenstockError
from penstock.core.serving import Launch
from penstock.fleet import Running
from penstock.fleet.fake import FakeLife, FakeRunning, FakeSubstrate
from penstock.fleet.process import ProcessSubstrate, RunningProcess
from tests.contracts.substrate import ECHO, URL, SubstrateContract, launch
from tests.e2e.running import alive, descendants, wait_until

ENV = {"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1"}


class TestFake(SubstrateContract):
    def make(self) -> FakeSubstrate:
        self.substrate_ = FakeSubstrate()
        return self.substrate_

    async def crash(self, running: Running) -> None:
        assert isinstance(running, FakeRunning)
        running.crash("killed by SIGKILL")

    def alive(self) -> int:
        return sum(not running.ended.done() for running in self.substrate_.running.values())


class TestProcess(SubstrateContract):
    @pytest.fixture(autouse=True)
    def _directory(self, tmp_path: Path) -> None:
        self.logs = tmp_path / "logs"

    def make(self) -> ProcessSubstrate:
        return ProcessSubstrate(self.logs, ENV)

    async def crash(self, running: Running) -> None:
        assert isinstance(running, RunningProcess)
        os.kill(running.pid, signal.SIGKILL)

    def alive(self) -> int:
        return sum(f"-c {ECHO[:10]}" in process.command for process in descendants(os.getpid()))

    async def test_the_reason_quotes_the_last_words(self, substrate: ProcessSubstrate) -> None:
        code = "import sys; print('out of paper', file=sys.stderr); sys.exit(7)"
        with pytest.raises(PenstockError, match=r"ended with status 7: out of paper\. Its log is .*small-0\.log"):
            await substrate.start("small-0", launch(FakeLife(), code=code))
        assert (self.logs / "small-0.log").read_text() == "out of paper\n"

    async def test_a_killed_child_says_by_what(self, substrate: ProcessSubstrate) -> None:
        running = await substrate.start("small-0", launch(FakeLife(base_url=URL)))
        os.kill(running.pid, signal.SIGKILL)
        assert await running.wait() == "killed by SIGKILL"

    async def test_what_it_holds_in_memory_is_known_while_it_lives(self, substrate: ProcessSubstrate) -> None:
        code = f"held = bytearray(64 << 20)\n{ECHO}"
        running = await substrate.start("small-0", launch(FakeLife(base_url=URL), code=code))
        assert 64 << 20 < (running.memory() or 0) < 256 << 20
        await running.stop(1.0)
        assert running.memory() is None

    async def test_what_it_prints_before_its_word_is_log(self, substrate: ProcessSubstrate) -> None:
        code = f"print('hello'); print('{{not json'); print('x' * 200000)\n{ECHO}"
        running = await substrate.start("a/b", launch(FakeLife(base_url=URL), code=code))
        assert running.base_url == URL
        await running.stop(1.0)
        assert (self.logs / "a%2Fb.log").read_text().startswith("hello\n{not json\nxxx")

    async def test_a_program_that_is_not_there_is_said(self, substrate: ProcessSubstrate) -> None:
        with pytest.raises(PenstockError, match="/no/such/program cannot be run") as caught:
            await substrate.start("small-0", Launch(("/no/such/program",)))
        assert caught.value.fault is ENGINE_START_FAILED

    async def test_a_child_that_will_not_end_is_killed_with_all_it_started(
        self, substrate: ProcessSubstrate, tmp_path: Path
    ) -> None:
        note = tmp_path / "grandchild"
        code = (
            "import signal, subprocess, sys, time\n"
            "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
            f"open({str(note)!r}, 'w').write(str(child.pid))\n"
            "print(sys.stdin.readline(), flush=True)\n"
            "time.sleep(600)"
        )
        running = await substrate.start("small-0", launch(FakeLife(base_url=URL), code=code))
        grandchild = int(note.read_text())
        begun = time.monotonic()
        await running.stop(0.2)
        assert 0.2 <= time.monotonic() - begun < 3.0
        assert not alive(running.pid)
        wait_until(lambda: not alive(grandchild), 1.0)

    async def test_what_a_dead_child_started_goes_too(self, substrate: ProcessSubstrate, tmp_path: Path) -> None:
        note = tmp_path / "grandchild"
        code = (
            "import subprocess, sys\n"
            "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
            f"open({str(note)!r}, 'w').write(str(child.pid))\n" + ECHO
        )
        running = await substrate.start("small-0", launch(FakeLife(base_url=URL), code=code))
        os.kill(running.pid, signal.SIGKILL)
        await asyncio.wait_for(running.wait(), 5.0)
        grandchild = int(note.read_text())
        wait_until(lambda: not alive(grandchild), 1.0)

    async def test_it_gets_the_environment_it_is_given_and_no_other(self, tmp_path: Path) -> None:
        substrate = ProcessSubstrate(self.logs, ENV)
        code = f"import os, sys\nprint(sorted(os.environ), file=sys.stderr)\n{ECHO}"
        what = Launch((sys.executable, "-c", code), b'{"base_url": "x"}', env={"EXTRA": "1"})
        running = await substrate.start("small-0", what)
        await running.stop(1.0)
        names = set(eval((self.logs / "small-0.log").read_text()))
        assert names - {"LC_CTYPE", "PWD", "SHLVL", "_"} == {"PATH", "PYTHONUNBUFFERED", "EXTRA"}
