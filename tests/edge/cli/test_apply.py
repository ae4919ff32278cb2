"""``penstock apply``: what is sent, what is said, and the exit code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.edge.cli import credentials
from penstock.edge.cli.main import main
from tests.edge.cli.gateway import KEY, Double, gateway

FILE = "models: {quick: {engine: fake}}\nservices: {quick: {model: quick}}\n"


@pytest.fixture
def double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Double]:
    for name in ("PENSTOCK_CONFIG", "PENSTOCK_API_KEY", "PENSTOCK_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "penstock.yaml").write_text(FILE)
    with gateway() as double:
        credentials.write(tmp_path / "home", credentials.Credentials(double.url, KEY))
        yield double


def applied(double: Double, changed: list[str], needs_restart: list[str], version: int = 7) -> None:
    double.applied = (200, {"changed": changed, "needs_restart": needs_restart, "version": version})


def refused(double: Double, status: int, message: str) -> None:
    error = {"message": message, "type": "server_error", "param": None, "code": "bad_deployment"}
    double.applied = (status, {"error": error})


def test_the_file_that_up_would_find_is_sent_as_it_is(double: Double, capsys: pytest.CaptureFixture[str]) -> None:
    applied(double, ["added service b: quick", "removed model c"], ["server.port 8080 -> 9090"])
    assert main(["apply"]) == 0
    assert double.deployments == [("/admin/deployment?dry_run=false", FILE)]
    assert double.keys == [f"Bearer {KEY}"]
    assert capsys.readouterr().out.splitlines() == [
        "added service b: quick",
        "removed model c",
        f"2 changes applied to {double.url}: deployment 7.",
        "Not before `penstock up` is started again:",
        "  server.port 8080 -> 9090",
    ]


def test_a_dry_run_says_that_it_is_one(double: Double, capsys: pytest.CaptureFixture[str]) -> None:
    applied(double, ["added service b: quick"], [])
    assert main(["apply", "--dry-run", "-c", "penstock.yaml"]) == 0
    assert double.deployments[0][0] == "/admin/deployment?dry_run=true"
    assert capsys.readouterr().out.splitlines()[-1] == f"1 change would be applied to {double.url}."


def test_nothing_to_do_is_no_failure(double: Double, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["apply", "--url", double.url]) == 0
    assert capsys.readouterr().out == f"Nothing to do: {double.url} serves this already.\n"


def test_every_mistake_of_a_refused_file_is_told_by_its_place(
    double: Double, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(double, 400, "the deployment:1: models.quick: one\nthe deployment:2: services: two")
    assert main(["apply"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "penstock.yaml:1: models.quick: one",
        "penstock.yaml:2: services: two",
        "penstock: penstock.yaml is refused; what was served before is served on.",
    ]


@pytest.mark.parametrize(
    ("arrange", "said"),
    [
        (lambda double: refused(double, 403, "The route takes an admin's key."), "takes an admin's key"),
        (lambda double: refused(double, 500, "CA file /x cannot be read."), "CA file /x cannot be read"),
        (lambda double: setattr(double, "applied", (200, {"hello": 1})), "does not answer as a gateway does"),
    ],
)
def test_any_other_refusal_is_one_line(
    double: Double, capsys: pytest.CaptureFixture[str], arrange: object, said: str
) -> None:
    arrange(double)  # type: ignore[operator]
    assert main(["apply"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("penstock: ")
    assert said in line


def test_a_gateway_that_is_not_there_is_one_line(double: Double, capsys: pytest.CaptureFixture[str]) -> None:
    credentials.write(Path("home"), credentials.Credentials("http://127.0.0.1:9", KEY))
    assert main(["apply"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "no gateway answers at http://127.0.0.1:9" in line


def test_a_file_that_is_not_there_is_said_and_nothing_is_sent(
    double: Double, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["apply", "-c", "other.yaml"]) == 1
    assert "other.yaml: there is no such file" in capsys.readouterr().err
    assert double.deployments == []
