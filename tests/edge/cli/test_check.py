"""``penstock check``."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.edge.cli.main import main

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("PENSTOCK_CONFIG", "PENSTOCK_PORT"):
        monkeypatch.delenv(name, raising=False)


def test_a_good_file(capsys: pytest.CaptureFixture[str]) -> None:
    path = ROOT / "examples/first.yaml"
    assert main(["check", "-c", str(path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"ok: {path}: 2 models, 2 services",
        "  on http://127.0.0.1:8105",
        "  mock       mock (openai)",
        "  assistant  small (llamacpp), then mock (openai)",
    ]


def test_the_built_in_deployment(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 0
    assert capsys.readouterr().out.startswith("ok: the built-in deployment: 2 models, 2 services\n")


def test_every_mistake_by_line(capsys: pytest.CaptureFixture[str]) -> None:
    Path("penstock.yaml").write_text(
        "server: {host: '::1', prot: 1}\nmodels: {m: {engine: fak}}\nservices: {a: {model: n, aliases: [b]}}\n"
    )
    assert main(["check"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        'penstock.yaml:1: server.prot: unknown key; did you mean "port"?',
        'penstock.yaml:2: models.m.engine: there is no engine `fak`; did you mean "fake"?',
        "penstock.yaml:3: services.a.model: there is no model `n`; known: m",
    ]


def test_the_environment_says_which(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_CONFIG", "named.yaml")
    assert main(["check"]) == 1
    assert capsys.readouterr().err == "named.yaml: there is no such file; `penstock init` writes one\n"
    monkeypatch.setenv("PENSTOCK_PORT", "http")
    assert main(["check"]) == 1
    assert capsys.readouterr().err == "PENSTOCK_PORT: must be a port, a whole number from 1 to 65535\n"
