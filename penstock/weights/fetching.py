"""The port between the model store and the fetchers, one file per scheme, and the words they fail with."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from penstock.core.errors import WEIGHTS_UNAVAILABLE, PenstockError
from penstock.weights import Progress
from penstock.weights.address import Address

A = TypeVar("A", bound=Address, contravariant=True)


class Part(msgspec.Struct, frozen=True):
    """One whole file. ``sha256`` is what the source itself says of it, None when it says nothing."""

    path: Path
    sha256: str | None = None


class Fetcher(Protocol[A]):
    """What each scheme's file gives, under the name ``fetch``."""

    def __call__(self, address: A, into: Path, progress: Progress) -> tuple[Part, ...]:
        """Brings the file that ``address`` names: one part, or all parts of a split GGUF in their order.

        What it writes lies under ``into``, a directory that outlives a failed attempt and is given to the next
        one, so that it can go on where this one stopped; nobody else writes there meanwhile. Blocks. Every wait on
        the network has a deadline. Raises ``PenstockError``, or ``OSError`` when the local disk is to blame;
        whatever ``progress`` raises passes through, and stops the work.
        """


class Converter(Protocol):
    """What ``convert.py`` gives, under the name ``convert``."""

    def __call__(self, checkpoint: Path, target: Path, progress: Progress) -> tuple[Path, ...]:
        """Writes the GGUF ``target`` from a ``model.safetensors`` and the files beside it; returns all it read.

        Raises ``PenstockError`` for a checkpoint of a kind it does not know, ``OSError`` when the disk fails.
        """


def unavailable(address: Address, why: str) -> PenstockError:
    """The error of weights that cannot be had. ``why`` names the fault and the mend and holds no secret."""
    return PenstockError(WEIGHTS_UNAVAILABLE, f"Cannot fetch {address.shown}: {why}")
