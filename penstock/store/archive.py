"""What the archive of the request log is, and where its objects are: a folder, or what an adapter reaches."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Protocol

from penstock.core.errors import STORE_UNAVAILABLE, PenstockError
from penstock.core.requests import Place, RequestContent, RequestQuery, RequestRecord
from penstock.store.requests_live import Places


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


class Archive(Protocol):
    """Writes and reads the files of parts. May be used from any thread. Besides what ``Objects`` raises it raises
    ``Moved`` where an object is gone."""

    @property
    def place(self) -> str:
        """For people."""

    def write_facts(
        self, path: Path, records: Iterable[RequestRecord], alive: Callable[[], None]
    ) -> tuple[int, float]:
        """A file of these, in their order: how many, and when the last arrived. ``alive`` is called now and then."""

    def write_contents(self, path: Path, contents: Iterable[RequestContent], alive: Callable[[], None]) -> int:
        """A file of these, in their order: how many."""

    def put(self, name: str, path: Path) -> None:
        """Brings a file to its place."""

    def delete(self, name: str) -> None:
        """Removes a file. One that is not there is no fault."""

    def rows(self, name: str, query: RequestQuery, before: Place | None) -> Iterator[RequestRecord]:
        """What the query leaves of a file of facts, newest first."""

    def contents(self, name: str, places: Places) -> Mapping[tuple[float, str], RequestContent]:
        """Those that are there."""

    def of_subject(self, name: str, subject: str, project: str | None) -> Places:
        """The places of a subject's rows, in a file of either kind."""

    def said(self, name: str, places: Places) -> Places:
        """Those of the places that contents are at."""

    def write_without_subject(self, name: str, path: Path, subject: str, project: str | None) -> None:
        """A copy of a file of facts in which the subject's name is nowhere."""

    def write_without_contents(self, name: str, path: Path, places: Places) -> int:
        """A copy of a file of contents without those at these places: how many are left."""


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
