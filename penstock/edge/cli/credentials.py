"""``$PENSTOCK_HOME/credentials``: where the gateway of this machine is and the key to it, for its owner alone.

Lines of ``NAME=VALUE``: ``PENSTOCK_URL`` and ``PENSTOCK_API_KEY``, taken as they stand, without quotes.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import msgspec

from penstock.core.errors import BAD_DEPLOYMENT, CANNOT_START, PenstockError

_URL = "PENSTOCK_URL"
_KEY = "PENSTOCK_API_KEY"


class Credentials(msgspec.Struct, frozen=True):
    """``url`` is the gateway's, without a path: ``http://127.0.0.1:8080``. ``key`` is a secret."""

    url: str
    key: str

    def __repr__(self) -> str:
        return f"Credentials({self.url!r})"


def path_in(home: Path) -> Path:
    """Where the credentials of a home are kept."""
    return home / "credentials"


def read(home: Path) -> Credentials | None:
    """The credentials of a home; None when it has none yet. Raises ``PenstockError`` when they cannot be read."""
    path = path_in(home)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise PenstockError(
            BAD_DEPLOYMENT, f"{path} cannot be read: {reason}; mend it, or remove it and start `penstock up` again"
        ) from None
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    if _URL not in values or _KEY not in values:
        raise PenstockError(BAD_DEPLOYMENT, f"{path} lacks {_URL} or {_KEY}; remove it and start `penstock up` again")
    return Credentials(url=values[_URL].strip(), key=values[_KEY].strip())


def write(home: Path, credentials: Credentials) -> None:
    """Keeps the credentials, in place of what was there, whole or not at all.

    At no moment can anyone but the owner read them. Makes ``home`` (mode 0700) where it is missing. Raises
    ``PenstockError`` for a key that no HTTP header can carry, and when the disk refuses.
    """
    for value in (credentials.url, credentials.key):
        if not value.isprintable() or value != value.strip():
            raise PenstockError(
                BAD_DEPLOYMENT, "a key must be one line of printable text without white space at its ends"
            )
    path = path_in(home)
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        _replace(path, f"{_URL}={credentials.url}\n{_KEY}={credentials.key}\n")
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        mend = "make room on its disk" if full else "give this user the right to"
        raise PenstockError(
            CANNOT_START,
            f"{path} cannot be written: {error.strerror}; {mend}, or set PENSTOCK_HOME to another directory",
        ) from None


def _replace(path: Path, text: str) -> None:
    draft = path.with_name(f".credentials.{os.getpid()}")
    draft.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
