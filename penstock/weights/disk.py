"""What the model store does to the disk: locks, durable writes, digests, and the disk's faults in our words."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from penstock.core.errors import WEIGHTS_UNAVAILABLE, PenstockError
from penstock.weights import Progress

BLOCK = 1 << 20
_POLL_S = 0.2
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


@contextlib.contextmanager
def disk_faults(root: Path) -> Iterator[None]:
    """Turns ``OSError`` into ``PenstockError`` (``WEIGHTS_UNAVAILABLE``) that says what to do."""
    try:
        yield
    except OSError as fault:
        raise PenstockError(WEIGHTS_UNAVAILABLE, _said(root, fault)) from fault


def _said(root: Path, fault: OSError) -> str:
    if fault.errno in _FULL:
        wanted = f" ({fault.strerror})" if fault.errno == errno.ENOSPC and fault.strerror else ""
        return f"The disk of the model store {root} is full{wanted}: free some space, or set PENSTOCK_HOME elsewhere"
    place = fault.filename or root
    if fault.errno in _FORBIDDEN:
        return f"Not allowed to use {place} ({fault.strerror}): mend its permissions, or set PENSTOCK_HOME elsewhere"
    return f"The disk failed at {place} ({fault.strerror or fault}): set PENSTOCK_HOME to a directory that works"


def need_room(folder: Path, size: int) -> None:
    """Raises ``OSError`` (``ENOSPC``) when ``size`` more bytes do not fit beside ``folder``.

    A courtesy before a long download; the space may be gone a moment later.
    """
    free = shutil.disk_usage(folder).free
    if size > free:
        raise OSError(errno.ENOSPC, f"{size / 1e6:,.0f} MB are needed, {free / 1e6:,.0f} MB are free", str(folder))


@contextlib.contextmanager
def exclusive(path: Path, *, wait_s: float, progress: Progress) -> Iterator[None]:
    """Holds the lock file at ``path``, against other threads and processes of this machine.

    The lock ends with its process, however that ends; the file stays. Raises ``PenstockError`` when another has
    held it for all of ``wait_s`` seconds.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                pass
            if time.monotonic() >= deadline:
                raise PenstockError(
                    WEIGHTS_UNAVAILABLE,
                    f"Another process has been fetching the same weights for {wait_s:.0f} s (it holds {path}): "
                    "wait for it to end, or end it",
                )
            progress.step("waiting for another process that fetches the same weights", 0, None)
            time.sleep(_POLL_S)
        yield
    finally:
        os.close(handle)


def sha256_of(paths: Iterable[Path], *, what: str, progress: Progress) -> tuple[str, tuple[str, ...]]:
    """The SHA-256 of the files laid end to end, and of each."""
    files = tuple(paths)
    total = sum(path.stat().st_size for path in files)
    whole, each, done = hashlib.sha256(), [], 0
    for path in files:
        own = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                own.update(block)
                if len(files) > 1:
                    whole.update(block)
                done += len(block)
                progress.step(what, done, total)
        each.append(own.hexdigest())
    return (whole.hexdigest() if len(files) > 1 else each[0]), tuple(each)


def write_durably(path: Path, data: bytes) -> None:
    """The file is, whatever happens, either as it was or whole."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    try:
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    _sync(path.parent)


def move_durably(source: Path, target: Path) -> None:
    """Moves a file within one file system; once this returns a power cut does not undo it."""
    _sync(source)
    source.replace(target)
    _sync(target.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
