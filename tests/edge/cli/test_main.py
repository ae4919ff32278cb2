"""The command line as a whole: what it lists, what it says when it fails, and what it does not import."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import click
import pytest

from penstock.core.errors import BAD_DEPLOYMENT, PenstockError
from penstock.edge.cli.main import COMMANDS, cli, main

HEAVY = (
    "aiohttp",
    "uvicorn",
    "uvloop",
    "xllamacpp",
    "numpy",
    "gguf",
    "huggingface_hub",
    "prometheus_client",
    "asyncio",
    "sqlalchemy",
    "cryptography",
    "redis",
    "pyarrow",
)
ROOT = Path(__file__).parents[3]


def test_help_lists_every_command_and_imports_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for name, said in COMMANDS.items():
        assert f"  {name} " in out
        assert said in out
    assert max(len(line) for line in out.splitlines()) <= 100


@pytest.mark.parametrize("name", [name for name in COMMANDS if importlib.util.find_spec(f"penstock.edge.cli.{name}")])
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert f"Usage: penstock {name}" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("penstock 0.")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["chekc"], 'no command "chekc"; did you mean "check"?'),
        (["zzz"], 'no command "zzz"; there are up, chat'),
        (["check", "--conf"], "--conf"),
        (["--bad"], "--bad"),
    ],
)
def test_a_command_line_that_makes_no_sense(args: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(args) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (PenstockError(BAD_DEPLOYMENT, "one\ntwo"), 1, "penstock: one two\n"),
        (OSError(28, "No space left on device", "/x"), 1, "penstock: /x: No space left on device\n"),
        (KeyboardInterrupt(), 130, "\n"),
    ],
)
def test_a_failure_is_one_line(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(type(cli), "get_command", lambda self, ctx, name: click.Command("check", callback=fail))
    assert main(["check"]) == code
    assert capsys.readouterr() == ("", said)


def test_a_reader_that_leaves_is_no_traceback() -> None:
    command = f"{sys.executable} -m penstock.edge.cli.main schema | head -c 1"
    told = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=True)
    assert (told.stdout, told.stderr) == ("{", "")


PROBE = f"""
import resource, sys
from penstock.edge.cli.main import main
code = main(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_SELF)
print([name for name in {HEAVY!r} if name in sys.modules], used.ru_utime + used.ru_stime < 0.5, code)
"""


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["check", "-c", str(ROOT / "examples/first.yaml")], 0),
        (["check", "-c", str(ROOT / "README.md")], 1),
        (["--help"], 0),
        (["chat", "--help"], 0),
        (["keys", "--help"], 0),
        (["release", "--help"], 0),
        (["prices", "--help"], 0),
        (["pepper", "--help"], 0),
    ],
)
def test_what_only_looks_imports_nothing_heavy_and_is_quick(args: list[str], code: int) -> None:
    command = [sys.executable, "-c", PROBE, *args]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert told.stdout.splitlines()[-1] == f"[] True {code}"
