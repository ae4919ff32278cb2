"""What makes a prompt immutable: its canonical text and its digest; and how it reads."""

from __future__ import annotations

import msgspec
import yaml

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


def shown(prompt: Prompt) -> str:
    """The prompt as a file of the folder of prompts would have it, with a final newline."""
    return yaml.dump(
        msgspec.to_builtins(prompt), Dumper=_Plain, sort_keys=False, allow_unicode=True, width=110, indent=2
    )


class _Plain(yaml.SafeDumper):
    """Texts of several lines as they read."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        style = "|" if "\n" in text else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style)

    def ignore_aliases(self, data: object) -> bool:
        return True


_Plain.add_representer(str, _Plain.represent_text)
