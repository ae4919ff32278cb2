"""Peers in environments that are thrown away with one folder: ``$PENSTOCK_BENCH_HOME``, else below ``~/.cache``.

What cannot be installed is an ``Absent``: the table says so and the rest is measured all the same.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import venv
from pathlib import Path

SGLANG = "0.3.2"
LITELLM = "1.106.2"
PORTKEY = "1.15.2"
_WITHIN_S = 900.0


class Absent(Exception):
    """A peer or tool that is not to be had here; the text says why, in one line."""


def home() -> Path:
    """Where peers live."""
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "penstock-bench"
    return Path(os.environ.get("PENSTOCK_BENCH_HOME", default))


def python_with(name: str, requirement: str) -> Path:
    """The interpreter of an environment that holds exactly ``requirement``. Raises ``Absent``."""
    folder = home() / f"{name}-{requirement.partition('==')[2]}"
    python = folder / "bin" / "python"
    if not (done := folder / ".installed").exists():
        _say(requirement)
        venv.create(folder, clear=True, with_pip=True)
        _run(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", requirement)
        done.touch()
    return python


def node_package(name: str, version: str) -> Path:
    """The folder of a package for Node.js. Raises ``Absent``."""
    folder = home() / f"{name.replace('/', '-').strip('@')}-{version}"
    if not (done := folder / ".installed").exists():
        tool("node", "nodejs")
        tool("npm", "npm")
        _say(f"{name} {version}")
        folder.mkdir(parents=True, exist_ok=True)
        _run("npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), f"{name}@{version}")
        done.touch()
    return folder / "node_modules" / name


def tool(command: str, package: str) -> str:
    """Where a command of the system is, installed from its packages when it is missing. Raises ``Absent``."""
    if found := _found(command):
        return found
    if os.geteuid() == 0 and shutil.which("apt-get"):
        _say(package)
        _run("apt-get", "update", "--quiet")
        _run("apt-get", "install", "--quiet", "--yes", "--no-install-recommends", package)
    if found := _found(command):
        return found
    raise Absent(f"{command} is not installed")


def _found(command: str) -> str | None:
    return shutil.which(command, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def _say(what: str) -> None:
    print(f"installing {what} below {home()}", flush=True)


def _run(*argv: str) -> None:
    try:
        subprocess.run(argv, check=True, capture_output=True, text=True, timeout=_WITHIN_S, stdin=subprocess.DEVNULL)
    except subprocess.CalledProcessError as error:
        last = [line for line in (error.stderr or error.stdout or "").splitlines() if line.strip()][-1:]
        raise Absent(f"{argv[0]} failed: {' '.join(last)[:200]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Absent(f"{argv[0]} failed: {error}") from error
