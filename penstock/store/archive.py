"""Where objects of the archive are: a folder, or what an adapter reaches."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import BinaryIO, Protocol

from penstock.core.errors import STORE_UNAVAILABLE, PenstockError


class Objects(Protocol):
    """Immutable objects by name. Every call but ``open``, where a name is not there, raises
    ``PenstockError(STORE_UNAVAILABLE)``, within a minute even when nobody answers."""

    @property
    def place(self) -> str:
        """For people."""

    def put(self, name: str, path: Path) -> None:
        """Writes the whole of a file, or nothing; in place of what is there."""

    def open(self, name: str) -> BinaryIO:
        """For reading anywhere in it. Raises ``FileNotFoundError``."""

    def delete(self, name: str) -> None:
        """Removes it. One that is not there is no fault."""


class Folder:
    """``Objects`` as files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def place(self) -> str:
        return str(self._folder)

    def put(self, name: str, path: Path) -> None:
        target = self._folder / name
        partial = target.with_name(f".{target.name}.part")
        try:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with path.open("rb") as source, partial.open("wb") as sink:
                os.fchmod(sink.fileno(), 0o600)
                shutil.copyfileobj(source, sink, 1 << 20)
                sink.flush()
                os.fsync(sink.fileno())
            partial.replace(target)
            _sync(target.parent)
        except OSError as error:
            raise self._unavailable(error) from error

    def open(self, name: str) -> BinaryIO:
        try:
            return (self._folder / name).open("rb")
        except FileNotFoundError:
            # A disk that is not mounted is no reason to take the object for deleted.
            if self._folder.is_dir():
                raise
            raise self._unavailable(FileNotFoundError("there is no such folder")) from None
        except OSError as error:
            raise self._unavailable(error) from error

    def delete(self, name: str) -> None:
        target = self._folder / name
        try:
            target.with_name(f".{target.name}.part").unlink(missing_ok=True)
            target.unlink(missing_ok=True)
        except OSError as error:
            raise self._unavailable(error) from error
        with contextlib.suppress(OSError):
            target.parent.rmdir()

    def _unavailable(self, error: OSError) -> PenstockError:
        return PenstockError(
            STORE_UNAVAILABLE,
            f"The archive of the request log in {self._folder} cannot be used ({error.strerror or error}). "
            "See that its disk is there and has room; `observe: requests: archive:` says where it is.",
        )


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
