"""A private PostgreSQL server for tests: its own folder, port and password, ended with the tests.

``from tests.postgres import postgres`` (or ``postgres_url``) in a test module gives it the fixture; all modules share
one server, and every ``postgres_url`` is an empty database of its own. A test that stops the server takes one to
itself: ``with running() as server``.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

USER = "penstock"
PASSWORD = "not/a:secret@all"
_QUOTED = "not%2Fa%3Asecret%40all"
_INSTALLED = "/usr/lib/postgresql"
# The order of words in English is not that of bytes; what depends on it must fail here.
_INITDB = ("--encoding=UTF8", "--locale=C", "--locale-provider=icu", "--icu-locale=en-US", "--no-sync")
_SETTINGS = ("fsync=off", "max_connections=200", "shared_buffers=32MB", "listen_addresses=127.0.0.1")


class Postgres:
    """A server in ``folder``. What is stopped or killed may be started again, with what it had."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._data = folder / "data"
        self._bin = _programs()
        self._names = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        secret = folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        done = subprocess.run(
            self._as_owner(
                "initdb", "-D", self._data, "-U", USER, "-A", "scram-sha-256", f"--pwfile={secret}", *_INITDB
            ),
            capture_output=True,
            text=True,
            timeout=60,
            cwd=folder,
        )
        assert done.returncode == 0, done.stderr

    def _as_owner(self, program: str, *args: object) -> list[str]:
        line = [str(self._bin / program), *map(str, args)]
        if os.geteuid() != 0:
            return line
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--pdeathsig=KILL", *line]

    def url(self, name: str = "postgres", user: str = USER, password: str = _QUOTED) -> str:
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{name}"

    def start(self, within_s: float = 30.0) -> None:
        """Returns when it takes connections."""
        deadline = time.monotonic() + within_s
        while True:
            if self._process is None or self._process.poll() is not None:
                settings = [word for each in _SETTINGS for word in ("-c", each)]
                place = ("-D", self._data, "-p", self.port, "-k", self._folder)
                with (self._folder / "log").open("ab") as log:
                    self._process = subprocess.Popen(
                        self._as_owner("postgres", *place, *settings),
                        stdout=log,
                        stderr=log,
                        cwd=self._folder,
                    )
            try:
                psycopg.connect(self.url(), connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise AssertionError((self._folder / "log").read_text()[-2000:]) from None
                time.sleep(0.02)

    def stop(self) -> None:
        """In order; whoever is connected is cut off."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """All of its processes, at once."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """It answers nothing any more, and closes nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, which: signal.Signals) -> None:
        # Each of its processes is in a session of its own.
        assert self._process is not None
        leader = self._process.pid
        children = Path(f"/proc/{leader}/task/{leader}/children").read_text().split()
        for pid in (leader, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, which)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        if how is signal.SIGKILL:
            self._signal(how)
        else:
            self._process.send_signal(how)
        self._process.wait(30)
        self._process = None

    def execute(self, statement: str, name: str = "postgres") -> None:
        with psycopg.connect(self.url(name), autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[call-overload]

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a new, empty database."""
        name = f"test_{next(self._names)}"
        self.execute(f"CREATE DATABASE {name}")
        try:
            yield self.url(name)
        finally:
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self._folder)


def _programs() -> Path:
    def found() -> list[Path]:
        return sorted(Path(_INSTALLED).glob("*/bin/postgres"))

    if not found():
        # Debian's package would make and start a server of its own.
        common = Path("/etc/postgresql-common")
        common.mkdir(parents=True, exist_ok=True)
        (common / "createcluster.conf").write_text("create_main_cluster = false\n")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for line in (["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", "postgresql"]):
            subprocess.run(line, check=True, capture_output=True, env=environment, timeout=600)
    return found()[-1].parent


@contextlib.contextmanager
def running() -> Iterator[Postgres]:
    """A server of one's own."""
    server = Postgres(Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp")))
    try:
        server.start()
        yield server
    finally:
        server.close()


_SHARED = pytest.StashKey[Postgres]()


@pytest.fixture(scope="session")
def postgres(pytestconfig: pytest.Config) -> Postgres:
    # A fixture that several modules import is set up for each of them, so the server is kept with the run instead.
    if _SHARED not in pytestconfig.stash:
        held = contextlib.ExitStack()
        pytestconfig.stash[_SHARED] = held.enter_context(running())
        pytestconfig.add_cleanup(held.close)
    return pytestconfig.stash[_SHARED]


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    with postgres.database() as url:
        yield url
