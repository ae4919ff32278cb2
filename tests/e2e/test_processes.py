"""The processes of a server: what dies comes back, what is stopped is gone, and nothing is left behind."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.running import Penstock, alive, free_port, running, status, wait_until

FAKE = """
models:
  quick: {engine: fake}
  slow: {engine: fake, answers: [{text: "one two three four five", chunk_delay_s: 0.3}]}
services:
  quick: {model: quick}
  slow: {model: slow}
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Penstock]:
    """One server for those who neither stop it nor kill any of it."""
    with running(FAKE) as found:
        yield found


@contextlib.contextmanager
def chat(
    server: Penstock, model: str, key: str | None = None, *, stream: bool = False
) -> Iterator[http.client.HTTPResponse]:
    """One chat request; what it is answered, once the head is there."""
    connection = http.client.HTTPConnection("127.0.0.1", int(server.url.rpartition(":")[2]), timeout=30)
    body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "hi"}]}
    headers = {"authorization": b"Bearer " + (key or server.key).encode(), "content-type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    with contextlib.closing(connection):
        yield connection.getresponse()


def answered(server: Penstock, model: str = "quick", key: str | None = None) -> int:
    with chat(server, model, key) as reply:
        reply.read()
        return reply.status


def up(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """``penstock up``, where it is expected to end by itself."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
    (cwd / "fake.yaml").write_text(FAKE)
    command = [sys.executable, "-m", "penstock", "up", "-c", "fake.yaml", *arguments]
    return subprocess.run(command, cwd=cwd, env=clean | env, capture_output=True, text=True, timeout=30)


def test_a_killed_worker_comes_back_and_the_port_never_goes() -> None:
    with running(FAKE) as server:
        first = server.worker()
        os.kill(first, signal.SIGKILL)
        begun = time.monotonic()
        # Not refused and not reset: the socket is the supervisor's, so this request waits for the next worker.
        assert answered(server) == 200
        assert time.monotonic() - begun < 5
        assert server.worker() != first
        assert "killed by SIGKILL" in server.said()


def test_a_killed_supervisor_leaves_no_orphan() -> None:
    with running(FAKE) as server:
        family = [process.pid for process in server.family()]
        assert family
        os.kill(server.pid, signal.SIGKILL)
        wait_until(lambda: not any(alive(pid) for pid in family), 2.0)
        wait_until(lambda: _free(int(server.url.rpartition(":")[2])), 2.0)


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def test_an_interrupt_lets_requests_end_and_refuses_new_ones_at_once() -> None:
    with running(FAKE) as server, chat(server, "slow", stream=True) as reply:
        first = reply.readline()
        server.process.send_signal(signal.SIGINT)
        wait_until(lambda: status(server.url + "/healthz") == 0, 2.0)
        rest = reply.read()
        assert b"[DONE]" in rest
        assert b'"error"' not in first + rest
        assert server.process.wait(10) == 0


def test_a_stop_is_announced_before_new_requests_are_refused_and_lets_requests_end() -> None:
    with running("server: {drain: {announce_s: 1}}\n" + FAKE) as server, chat(server, "slow", stream=True) as reply:
        first = reply.readline()
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: status(server.url + "/readyz") == 503, 1.0)
        # Whoever has not looked at it yet is still served, and told to come back over another connection.
        with chat(server, "quick") as late:
            assert (late.status, late.getheader("connection")) == (200, "close")
            late.read()
        wait_until(lambda: status(server.url + "/healthz") == 0, 3.0)
        rest = reply.read()
        assert b"[DONE]" in rest
        assert b'"error"' not in first + rest
        assert server.process.wait(10) == 0


def test_a_stream_that_outlives_the_stop_is_told_before_it_is_cut() -> None:
    limited = "server: {drain: {announce_s: 0, limit_s: 2}}\n" + FAKE.replace("0.3", "3")
    with running(limited) as server, chat(server, "slow", stream=True) as reply:
        reply.readline()
        begun = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        rest = reply.read()
        told = time.monotonic() - begun
        assert b"gateway_stopping" in rest
        assert b"[DONE]" not in rest
        assert 0.9 <= told < 2, f"told after {told:.2f} s"
        assert server.process.wait(10) == 0


def test_a_second_signal_ends_everything_at_once() -> None:
    with running(FAKE) as server, chat(server, "slow", stream=True) as reply:
        reply.readline()
        family = [process.pid for process in server.family()]
        server.process.send_signal(signal.SIGINT)
        wait_until(lambda: "Stopping" in server.said(), 2.0)
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(2) == 130
        wait_until(lambda: not any(alive(pid) for pid in family), 2.0)


def test_the_key_is_kept_for_its_owner_alone_and_hashed_in_the_store(server: Penstock) -> None:
    key = server.key
    assert key.startswith("pk-admin-")
    assert answered(server) == 200
    assert answered(server, key="wrong") == 401
    assert stat.S_IMODE((server.home / "credentials").stat().st_mode) == 0o600
    assert stat.S_IMODE((server.home / "pepper").stat().st_mode) == 0o600
    others = [file for file in server.home.rglob("*") if file.is_file() and file.name != "credentials"]
    assert others
    secret = key.encode()
    assert not [file for file in others if secret in file.read_bytes()]
    assert key not in server.said()
    for process in server.family():
        assert secret not in Path(f"/proc/{process.pid}/cmdline").read_bytes()


@pytest.mark.parametrize("key", ["x", "two words", "clé-ключ"])
def test_the_admin_key_may_be_set_to_anything_and_is_handed_to_no_child(key: str) -> None:
    with running(FAKE, env={"PENSTOCK_ADMIN_KEY": key}) as server:
        assert server.key == key
        assert answered(server, key=key) == 200
        assert answered(server, key=key + "x") == 401
        for process in server.family():
            assert b"PENSTOCK_ADMIN_KEY" not in Path(f"/proc/{process.pid}/environ").read_bytes()


def test_the_line_that_is_printed_works_when_pasted(server: Penstock) -> None:
    wait_until(lambda: "Ctrl-C stops it" in server.said(), 5.0)
    said = server.said()
    line = re.search(r"  (curl (?:.*\\\n)*.*)", said)
    assert line
    assert server.base_url in said
    assert re.search(r"quick +quick \(fake\), ready", said)
    pasted = subprocess.run(["sh", "-c", line[1]], capture_output=True, text=True, timeout=20, check=True)
    assert json.loads(pasted.stdout)["choices"][0]["message"]["content"]


def test_a_home_serves_one_at_a_time(server: Penstock) -> None:
    second = up(cwd=server.home, PENSTOCK_HOME=str(server.home), PENSTOCK_PORT=str(free_port()))
    assert second.returncode == 1
    assert f"already running with the home {server.home} (process {server.pid})" in second.stderr
    assert "Traceback" not in second.stderr
    assert answered(server) == 200


def test_a_port_in_use_is_one_line_that_names_the_mend(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = up("--port", str(port), cwd=tmp_path, PENSTOCK_HOME=str(tmp_path / "home"))
    assert refused.returncode == 1
    last = refused.stderr.splitlines()[-1]
    assert last.startswith(f"penstock: Cannot listen on 127.0.0.1:{port}: something listens there already")
    assert "PENSTOCK_PORT" in last
    assert not (tmp_path / "home" / "credentials").exists()


def test_a_damaged_store_is_one_line_that_names_the_mend(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "state.db").write_bytes(b"no database " * 1000)
    refused = up("--port", str(free_port()), cwd=tmp_path, PENSTOCK_HOME=str(home))
    assert refused.returncode == 1
    assert "is damaged" in refused.stderr.splitlines()[-1]
    assert "Traceback" not in refused.stderr


def test_an_access_log_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    refused = subprocess.run(
        [sys.executable, "-m", "penstock", "up", "-c", "bad.yaml"],
        cwd=_with(tmp_path, "server: {access_log: /no/such/place/log}\n" + FAKE),
        env=os.environ | {"PENSTOCK_HOME": str(tmp_path / "home"), "PENSTOCK_PORT": str(free_port())},
        capture_output=True,
        text=True,
        timeout=30,
    )  # fmt: skip
    assert refused.returncode == 1
    assert "The access log /no/such/place/log cannot be written" in refused.stderr
    assert "Traceback" not in refused.stderr


def _with(place: Path, config: str) -> Path:
    (place / "bad.yaml").write_text(config)
    return place
