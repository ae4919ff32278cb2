"""The pepper: the secret under which keys are hashed. It lies beside the store, never in it."""

from __future__ import annotations

import secrets
from pathlib import Path

from penstock.core.errors import STORE_UNAVAILABLE, PenstockError
from penstock.store.private_file import load_or_make

PEPPER_BYTES = 32


def load_pepper(path: Path) -> bytes:
    """The 32 bytes at ``path``, made at random when nothing is there, readable by their owner alone.

    Of several processes that make it at once one wins, and all get the same. Raises
    ``PenstockError(STORE_UNAVAILABLE)`` when it cannot be read or made, or has another length.
    """
    pepper = load_or_make(path, "The pepper", lambda: secrets.token_bytes(PEPPER_BYTES))
    if len(pepper) != PEPPER_BYTES:
        raise PenstockError(
            STORE_UNAVAILABLE,
            f"The pepper {path} is damaged: it has {len(pepper)} bytes, not {PEPPER_BYTES}. Put back a copy of it, "
            "or delete it to start anew; every key made before then stops working.",
        )
    return pepper
