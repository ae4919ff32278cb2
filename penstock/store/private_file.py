"""Secrets that lie beside the store, made once."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from penstock.core.errors import STORE_UNAVAILABLE, PenstockError


def load_or_make(path: Path, what: str, make: Callable[[], bytes]) -> bytes:
    """The bytes at ``path``, made by ``make`` when nothing is there, readable by their owner alone.

    Of several processes that make it at once one wins, and all get the same. Raises
    ``PenstockError(STORE_UNAVAILABLE)``, about ``what``, when it cannot be read or made.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            return path.read_bytes()
        _make(path, make())
        return path.read_bytes()
    except OSError as error:
        raise unusable(path, what, error) from error


def unusable(path: Path, what: str, error: OSError) -> PenstockError:
    """That a file in the home cannot be read or written, and the mend."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    mend = "Make room on its disk" if full else "Give this user the right to"
    return PenstockError(
        STORE_UNAVAILABLE,
        f"{what} {path} cannot be read or written ({error.strerror}). {mend}, "
        "or set PENSTOCK_HOME to a directory where it may.",
    )


def _make(path: Path, content: bytes) -> None:
    # Written whole under another name first: a link appears at once or not at all, and never over another's.
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        sync_folder(path.parent)
    finally:
        draft.unlink()


def sync_folder(folder: Path) -> None:
    """Has the folder's names on disk when it returns."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
