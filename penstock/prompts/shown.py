"""How a prompt reads."""

from __future__ import annotations

import msgspec
import yaml

from penstock.prompts.config import Prompt


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
