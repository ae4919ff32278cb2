"""Deployment files that are junk: one line for each mistake, with its place and its mend, and no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

RUN_S = 30.0
MODELS = "models:\n  m: {engine: fake}\nservices:\n  s: {model: m}\n"
JUNK: dict[str, tuple[bytes, str]] = {
    "an unknown key": (b"models:\n  m: {engine: fake, dimension: 8}\nservices:\n  s: {model: m}\n", "dimensions"),
    "an unknown key at the top": (MODELS.replace("models", "modles").encode(), "models"),
    "an unknown engine": (MODELS.replace("fake", "fkae").encode(), "fake"),
    "a service of no model": (MODELS.replace("model: m", "model: n").encode(), "m"),
    "a wrong type": (MODELS.replace("fake", "fake, dimensions: lots").encode(), "dimensions"),
    "a number too small": (MODELS.replace("fake", "fake, dimensions: 0").encode(), "dimensions"),
    "a port of none": (b"server: {port: 99999999}\n" + MODELS.encode(), "port"),
    "a list": (b"- models\n- services\n", "models"),
    "a word": (b"hello\n", "models"),
    "a tab": (b"models:\n\tm: {engine: fake}\n", "tab"),
    "half a mapping": (b"models: {m: {engine: fake\n", ":"),
    "a key twice": (b"models:\n  m: {engine: fake}\n  m: {engine: fake}\nservices:\n  s: {model: m}\n", "m"),
    "an object of Python": (b"models: !!python/object/apply:os.system ['true']\n", ":1"),
    "a bomb of aliases": (b"a: &a [x,x]\n" + b"".join(b"b%d: &b%d [*a,*a]\n" % (i, i) for i in range(8)), "a"),
    "a variable that is not set": (MODELS.replace("fake", "openai, api_key: '${NO_SUCH}'").encode(), "NO_SUCH"),
    "bytes": (bytes(range(256)), ":"),
    "NUL": (b"models:\x00\n", ":"),
    "utf-16": (MODELS.encode("utf-16"), ""),
    "deep": (b"[" * 100_000, ":"),
}


def penstock(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
    return subprocess.run(
        [sys.executable, "-m", "penstock", *arguments],
        env=env | {"PENSTOCK_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def explained(done: subprocess.CompletedProcess[str]) -> str:
    """What a failed command said, which must be short and for people."""
    said = done.stdout + done.stderr
    assert done.returncode not in (0, -9, -11), said
    assert "Traceback" not in said
    assert 0 < len(said.strip().splitlines()) < 12, said
    return said


@pytest.mark.parametrize(("raw", "names"), JUNK.values(), ids=JUNK)
def test_check_explains(tmp_path: Path, raw: bytes, names: str) -> None:
    file = tmp_path / "penstock.yaml"
    file.write_bytes(raw)
    said = explained(penstock("check", "-c", str(file), home=tmp_path / "home"))
    assert "penstock.yaml" in said
    assert names in said


def test_up_says_one_line_and_the_place(tmp_path: Path) -> None:
    file = tmp_path / "penstock.yaml"
    file.write_text("models:\n  m:\n    engine: fake\n    dimensoins: 8\nservices:\n  s: {model: m}\n")
    said = explained(penstock("up", "-c", str(file), home=tmp_path / "home"))
    [line] = said.strip().splitlines()
    assert "penstock.yaml:4" in line
    assert "dimensions" in line


@pytest.mark.parametrize("command", ["up", "check"])
@pytest.mark.parametrize("name", ["nowhere.yaml", "."])
def test_a_file_that_is_none(tmp_path: Path, command: str, name: str) -> None:
    said = explained(penstock(command, "-c", str(tmp_path / name), home=tmp_path / "home"))
    assert name.strip(".") in said
