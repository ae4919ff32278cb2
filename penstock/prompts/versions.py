"""What makes a prompt immutable: its canonical text and its digest."""

from __future__ import annotations

import msgspec

from penstock.core.errors import BAD_DEPLOYMENT, PenstockError
from penstock.core.releases import PromptVersion, digest
from penstock.prompts.config import Prompt

_prompts = msgspec.json.Decoder(Prompt)


def source(prompt: Prompt) -> bytes:
    """The prompt as canonical JSON: what is as by default is left out, members of mappings stand in order."""
    return msgspec.json.encode(prompt, order="deterministic")


def read(text: bytes) -> Prompt:
    """The prompt of a version's ``source``. Raises ``PenstockError(BAD_DEPLOYMENT)`` when it is none."""
    try:
        return _prompts.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PenstockError(BAD_DEPLOYMENT, f"this is no prompt: {error}") from None


def version(
    name: str, prompt: Prompt, *, parent: str = "", author: str = "", message: str = "", created_at: float = 0.0
) -> PromptVersion:
    """``prompt`` under ``name``. Two that say the same have one digest."""
    text = source(prompt)
    return PromptVersion(
        name=name,
        digest=digest(text),
        source=text,
        parent=parent,
        author=author,
        message=message,
        created_at=created_at,
    )
