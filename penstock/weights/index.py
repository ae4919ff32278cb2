"""What the model store remembers: one small JSON file per address, written last, so that what it names is whole."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from penstock.weights import Artefact
from penstock.weights.address import Address, File, file_name
from penstock.weights.disk import write_durably


class Kept(msgspec.Struct, frozen=True):
    """A file as it was when it was checked. ``path`` is relative to the store's root, or absolute outside of it."""

    path: str
    size: int
    mtime_ns: int


class Entry(msgspec.Struct, frozen=True):
    """What an address was found to be.

    ``files`` are the parts in order, ``sha256`` is theirs, laid end to end. ``source_sha256`` is that of what the
    address names; it differs when that was converted, by version ``recipe`` of the conversion. ``sources`` are the
    local files that a conversion read.
    """

    address: str
    sha256: str
    source_sha256: str
    files: tuple[Kept, ...]
    sources: tuple[Kept, ...] = ()
    recipe: int = 0


class Index:
    """The entries of one store, in ``root/index``. Any number of processes may read; writers hold the lock."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder = root / "index"

    def key(self, address: Address) -> str:
        """A file name for the address: readable in front, unique behind."""
        text = f"file:{address.resolved()}" if isinstance(address, File) else address.text
        return f"{file_name(address.name)[-60:]}.{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    def prepare(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)

    def lock(self, address: Address) -> Path:
        return self._folder / f"{self.key(address)}.lock"

    def read(self, address: Address) -> Entry | None:
        """The entry, or None when there is none that can be read."""
        try:
            return msgspec.json.decode(self._path(address).read_bytes(), type=Entry)
        except (OSError, msgspec.DecodeError):
            return None

    def write(self, address: Address, entry: Entry) -> None:
        write_durably(self._path(address), msgspec.json.format(msgspec.json.encode(entry)))

    def drop(self, address: Address) -> None:
        self._path(address).unlink(missing_ok=True)

    def seen(self, path: Path) -> Kept:
        """The file as it lies there now. Raises ``OSError``."""
        stat = path.stat()
        place = path.relative_to(self._root) if path.is_relative_to(self._root) else path
        return Kept(str(place), stat.st_size, stat.st_mtime_ns)

    def untouched(self, kept: tuple[Kept, ...]) -> bool:
        """Whether each file still has the size and the time of change that it had."""
        try:
            return all(self.seen(self._root / one.path) == one for one in kept)
        except OSError:
            return False

    def paths(self, entry: Entry) -> tuple[Path, ...]:
        return tuple(self._root / one.path for one in entry.files)

    def artefact(self, entry: Entry) -> Artefact:
        size = sum(one.size for one in entry.files)
        return Artefact(entry.address, self._root / entry.files[0].path, entry.sha256, size)

    def _path(self, address: Address) -> Path:
        return self._folder / f"{self.key(address)}.json"
