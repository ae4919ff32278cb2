"""HTTPS from the deployment file to the socket, in real processes: what starts, what does not, what changes."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import ssl
import subprocess
import sys
from pathlib import Path

from penstock.edge.http.config import Tls
from tests.e2e.running import free_port, wait_until
from tests.edge.http.certificates import made, trusting

SERVED = """
server:
  workers: 2
  tls: {certificate: served.crt, key: served.key, password: "${TLS_PASSWORD}"}
models: {quick: {engine: fake}}
services: {quick: {model: quick}}
"""


def begun(folder: Path, port: int, password: str) -> subprocess.Popen[str]:
    (folder / "penstock.yaml").write_text(SERVED)
    env = os.environ | {"PENSTOCK_HOME": str(folder / "home"), "PENSTOCK_PORT": str(port), "TLS_PASSWORD": password}
    with (folder / "output").open("w") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "penstock", "up"], cwd=folder, env=env, stdout=output, stderr=output, text=True
        )


def status(port: int, files: Tls) -> int:
    """Of ``/readyz``; 0 when nobody answers whom this certificate speaks for."""
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=trusting(files))
    with contextlib.closing(connection), contextlib.suppress(OSError, ssl.SSLError):
        connection.request("GET", "/readyz")
        return connection.getresponse().status
    return 0


def test_it_serves_https_and_takes_a_new_certificate(tmp_path: Path) -> None:
    files, port = made(tmp_path, password="secret word"), free_port()
    process = begun(tmp_path, port, "secret word")
    said = (tmp_path / "output").read_text
    try:
        wait_until(lambda: process.poll() is not None or status(port, files) == 200, 30.0, said)
        assert f"https://127.0.0.1:{port}" in said()
        made(tmp_path, "new", password="secret word")
        wait_until(lambda: all(status(port, files) == 200 for _ in range(8)), 10.0, said)
    finally:
        process.send_signal(signal.SIGINT)
        ended = process.wait(30)
    assert ended == 0
    assert "secret word" not in said()


def test_it_does_not_start_with_a_wrong_password(tmp_path: Path) -> None:
    made(tmp_path, password="secret word")
    process = begun(tmp_path, free_port(), "not the word")
    assert process.wait(30) == 1
    said = (tmp_path / "output").read_text()
    assert "Traceback" not in said
    assert "served.key is encrypted" in said.splitlines()[-1]
    assert "word" not in said.replace("password", "")
