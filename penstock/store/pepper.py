"""The pepper: the secret under which keys are hashed. It lies beside the store, never in it."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from pathlib import Path

from penstock.core.errors import STORE_UNAVAILABLE, PenstockError

PEPPER_BYTES = 32


def load_pepper(path: Path) -> bytes:
    """The 32 bytes at ``path``, made at random when nothing is there, readable by their owner alone.

    Of several processes that make it at once one wins, and all get the same. Raises
    ``PenstockError(STORE_UNAVAILABLE)`` when it cannot be read or made, or has another length.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            return _checked(path)
        _make(path)
        return _checked(path)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        mend = "Make room on its disk" if full else "Give this user the right to"
        raise PenstockError(
            STORE_UNAVAILABLE,
            f"The pepper {path} cannot be read or written ({error.strerror}). {mend}, "
            "or set PENSTOCK_HOME to a directory where it may.",
        ) from error


def _checked(path: Path) -> bytes:
    pepper = path.read_bytes()
    if len(pepper) != PEPPER_BYTES:
        raise PenstockError(
            STORE_UNAVAILABLE,
            f"The pepper {path} is damaged: it has {len(pepper)} bytes, not {PEPPER_BYTES}. Put back a copy of it, "
            "or delete it to start anew; every key made before then stops working.",
        )
    return pepper


def _make(path: Path) -> None:
    # Written whole under another name first: a link appears at once or not at all, and never over another's.
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(PEPPER_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        directory = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    finally:
        draft.unlink()
