"""The source distribution of an installed package, for the tests that its wheel leaves out."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path

FETCH_S = 180.0


def cache() -> Path:
    """Where test set-up keeps what it fetched; ``PENSTOCK_TEST_CACHE`` moves it."""
    return Path(os.environ.get("PENSTOCK_TEST_CACHE") or Path.home() / ".cache" / "penstock-tests")


def unpacked(package: str) -> Path:
    """The unpacked source of ``package`` in the version installed here, fetched once with pip."""
    name = f"{package}-{version(package)}"
    home = cache() / "sdist" / name
    if not home.is_dir():
        home.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home.parent) as scratch:
            _fetch(package, Path(scratch))
            try:
                (Path(scratch) / name).rename(home)
            except OSError:
                if not home.is_dir():
                    raise
    return home


def _fetch(package: str, into: Path) -> None:
    what = ["--no-deps", "--no-binary", package, f"{package}=={version(package)}"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(into), *what]
    done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_S, check=False)
    assert done.returncode == 0, f"pip could not fetch the source of {package}:\n{done.stderr}"
    with tarfile.open(next(into.glob("*.tar.gz"))) as archive:
        archive.extractall(into, filter="data")
