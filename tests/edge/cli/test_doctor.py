"""``penstock doctor``: the judgements, and one look at this machine."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from penstock.edge.cli import credentials, doctor
from penstock.edge.cli.credentials import Credentials
from penstock.edge.cli.doctor import Build, Finding, Level
from penstock.edge.cli.machine import Gpu, Machine, Memory
from penstock.edge.cli.main import main
from penstock.edge.cli.starters import TABLE
from tests.edge.cli.gateway import gateway

GIB = 1 << 30
CPU = Build("2026.1", "CPU : AVX2 = 1 | FMA = 1 | ", (("CPU", "AMD EPYC", "CPU"),))
CUDA = Build("2026.1", "CUDA : ARCHS = 900 | CPU : AVX2 = 1 | ", (("CUDA0", "NVIDIA H200", "GPU"), *CPU.devices))
H200 = Gpu("NVIDIA H200", 140 * GIB, 139 * GIB)


def with_memory(total: float, available: float) -> Machine:
    return Machine(2, Memory(int(total * GIB), int(available * GIB), limited=True))


@pytest.mark.parametrize(
    ("finding", "level", "said"),
    [
        (doctor.about_python((3, 10, 9)), Level.FAIL, "3.10.9"),
        (doctor.about_python((3, 13, 0)), Level.OK, "3.13.0"),
        (doctor.about_cores(0.5), Level.WARN, "0.5 cores"),
        (doctor.about_cores(8.0), Level.OK, "8 cores"),
        (
            doctor.about_memory(with_memory(4, 0.5)),
            Level.WARN,
            "4.0 GiB, by the container's limit, 512 MiB of it free",
        ),
        (doctor.about_memory(with_memory(4, 3)), Level.OK, "3.0 GiB of it free"),
        (doctor.about_memory(with_memory(0, 0)), Level.WARN, "cannot be read"),
        (doctor.about_disk(100 << 20, Path("/p")), Level.FAIL, "100 MiB free for /p"),
        (doctor.about_disk(2 * GIB, Path("/p")), Level.WARN, "2.0 GiB"),
        (doctor.about_disk(50 * GIB, Path("/p")), Level.OK, "50.0 GiB"),
        (doctor.about_engine(CPU), Level.OK, "xllamacpp 2026.1, runs on CPU"),
        (doctor.about_engine(CUDA), Level.OK, "runs on CUDA0, CPU"),
        (doctor.about_engine(Build("1", "CPU : SSE3 = 1 | ", CPU.devices)), Level.WARN, "runs on CPU"),
        (doctor.about_engine("dies of SIGILL: it is not built for this CPU"), Level.FAIL, "SIGILL"),
        (doctor.about_gpus((), CPU), Level.OK, "no NVIDIA GPU"),
        (doctor.about_gpus((H200,), CPU), Level.WARN, "not used by this llama.cpp"),
        (doctor.about_gpus((H200,), CUDA), Level.OK, "NVIDIA H200 (139.0 GiB of 140.0 GiB free)"),
    ],
)
def test_a_judgement(finding: Finding, level: Level, said: str) -> None:
    assert finding.level is level
    assert said in finding.said
    assert (finding.mend != "") == (level is not Level.OK) or finding.what == "memory"


def test_models_that_fit_and_those_that_do_not() -> None:
    levels = [finding.level for finding in doctor.about_models(with_memory(8, 8))]
    assert len(levels) == len(TABLE)
    assert levels[:3] == [Level.OK] * 3
    assert levels[-1] is Level.WARN


@pytest.fixture
def taken() -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_gateway_that_serves_already() -> None:
    with gateway() as double:
        port = int(double.url.rpartition(":")[2])
        finding = doctor.about_port("127.0.0.1", port)
    assert finding == Finding(Level.OK, "port", f"a gateway serves on 127.0.0.1:{port} already")


def test_ports(taken: int) -> None:
    finding = doctor.about_port("127.0.0.1", taken)
    assert (finding.level, finding.mend) == (Level.FAIL, "end it, or set PENSTOCK_PORT")
    finding = doctor.about_port("192.0.2.1", taken)
    assert finding.level is Level.FAIL
    assert "Cannot assign requested address" in finding.said


def test_a_free_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert doctor.about_port("127.0.0.1", port) == Finding(Level.OK, "port", f"127.0.0.1:{port} is free")


def test_credentials(tmp_path: Path) -> None:
    assert doctor.about_credentials(tmp_path).level is Level.OK
    credentials.write(tmp_path, Credentials("http://h", "k"))
    assert doctor.about_credentials(tmp_path).level is Level.OK
    (tmp_path / "credentials").chmod(0o640)
    finding = doctor.about_credentials(tmp_path)
    assert (finding.level, finding.mend) == (Level.FAIL, f"run `chmod 600 {tmp_path}/credentials`")


def test_the_engine_that_is_installed_here() -> None:
    build = doctor.probe_engine()
    assert isinstance(build, Build)
    assert "CPU" in [kind for _, _, kind in build.devices]


@pytest.mark.parametrize(
    ("probe", "said"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "dies of SIGILL: it is not built for this CPU"),
        ("import no_such_module", "cannot be imported: ModuleNotFoundError: No module named 'no_such_module'"),
        ("print('hello')", "cannot be imported: it says nothing"),
    ],
)
def test_an_engine_that_does_not_load(probe: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_PROBE", probe)
    assert doctor.probe_engine() == said


def test_a_broken_deployment_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path))
    monkeypatch.setattr(doctor, "probe_engine", lambda: CPU)
    path = tmp_path / "p.yaml"
    path.write_text("models: {}\n")
    assert main(["doctor", "-c", str(path)]) == 1
    out = capsys.readouterr().out
    assert f"fail  deployment   {path}:1: lacks the key `services`" in out
    assert "and 1 more; `penstock check` lists every mistake" in out
    path.write_text("server: {port: 1}\nmodels: {m: {engine: fake}}\nservices: {a: {model: m}}\n")
    main(["doctor", "-c", str(path)])
    assert "ok    deployment   1 models, 1 services" in capsys.readouterr().out
