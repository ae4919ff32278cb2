"""Where desks lie on disk: a file of state for each scope, the hits since that was written, and its entries."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from penstock.caches.seal import MOST_BYTES, Damaged, opened, seal
from penstock.caches.semantic.ledger import LedgerState
from penstock.control.semantic import hit_log
from penstock.control.semantic.sharing import named
from penstock.core.caching import DeskScope

MOST_SCOPES: Final = 4_096
"""So many scopes have files; those that were used longest ago lose theirs."""


class Saved(msgspec.Struct, frozen=True, array_like=True):
    """``desk`` is what ``semantic.state.saved`` made, for vectors of ``dimensions`` by ``embedder``. ``ledger`` and
    ``requests`` are a part of it, to begin with when the rest cannot be used. Hits of ``epoch`` and later came after
    it."""

    scope: DeskScope
    epoch: int
    embedder: str
    dimensions: int
    requests: int
    ledger: LedgerState
    desk: bytes


class Unreadable(ValueError):
    """The file is no state of this scope. The text says why."""


class Files:
    """Those of one scope, in ``folder``. All raise ``OSError``."""

    def __init__(self, folder: Path, scope: DeskScope) -> None:
        name = named(scope)
        self._scope = scope
        self._state = folder / f"{name}.desk"
        self._folder, self._name = folder, name
        self.entries = folder / f"{name}.entries"

    def state(self) -> Saved | None:
        """As it was written last; None: never. Raises ``Unreadable``."""
        try:
            sealed = self._state.read_bytes()
        except FileNotFoundError:
            return None
        try:
            found = msgspec.msgpack.decode(opened(self._name.encode(), sealed).value, type=Saved)
        except (Damaged, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Unreadable("it is damaged, or of another version") from error
        if found.scope != self._scope:
            raise Unreadable("it is of another scope")
        return found

    def set_aside(self) -> None:
        """What cannot be read is no longer in the way, for people to look at; hits since then mean nothing."""
        self._state.replace(self._state.with_suffix(".desk-damaged"))
        for epoch in self.epochs():
            self.hits(epoch).unlink()

    def write_state(self, state: Saved) -> None:
        """In one step, to the disk; forgets the hits before its epoch."""
        sealed = seal(self._name.encode(), msgspec.msgpack.encode(state), 0.0, compress_from=MOST_BYTES)
        fresh = self._state.with_suffix(".desk-new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(sealed)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._state)
        for epoch in self.epochs():
            if epoch < state.epoch:
                self.hits(epoch).unlink()

    def hits(self, epoch: int) -> Path:
        """The file of hits of one epoch."""
        return self._folder / f"{self._name}.{epoch}.hits"

    def epochs(self) -> list[int]:
        """Of which there are hits, ascending."""
        found = (path.suffixes[0][1:] for path in self._folder.glob(f"{self._name}.*.hits"))
        return sorted(int(epoch) for epoch in found if epoch.isdigit())

    def hits_since(self, epoch: int) -> list[hit_log.Noted]:
        """All of this epoch and later."""
        return [each for epoch_ in self.epochs() if epoch_ >= epoch for each in hit_log.read(self.hits(epoch_))]


def prune(folder: Path, using: Iterable[Path], most: int = MOST_SCOPES) -> None:
    """Removes the files of those that were written longest ago, as far as there are more than ``most``; not of those
    one of whose files is in use. Raises ``OSError``."""
    ages: dict[str, float] = {}
    for path in folder.iterdir():
        name = path.name.partition(".")[0]
        with contextlib.suppress(FileNotFoundError):
            ages[name] = max(ages.get(name, 0.0), path.stat().st_mtime)
    kept = {path.name.partition(".")[0] for path in using}
    for name in sorted(ages, key=ages.__getitem__)[: max(0, len(ages) - most)]:
        if name not in kept:
            for path in folder.glob(f"{name}.*"):
                path.unlink()
