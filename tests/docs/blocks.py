"""The fenced examples of a Markdown file, in order, with the one way to leave one out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<info>[^`]*)$")
SKIP = re.compile(r"^<!-- not run: (?P<reason>.+?) -->$")


@dataclass(frozen=True)
class Block:
    """``line`` is that of the opening fence, from 1. ``reason`` says why it is not run; empty: it is."""

    file: Path
    line: int
    language: str
    text: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.file.name}:{self.line}:{self.language or 'text'}"


def blocks(file: Path) -> Iterator[Block]:
    """Every fenced block. Raises ``ValueError`` for a fence that is not closed, or a skip mark without a block."""
    lines = iter(enumerate(file.read_text(encoding="utf-8").splitlines(), 1))
    reason, marked = "", 0
    for number, line in lines:
        if skip := SKIP.match(line.strip()):
            reason, marked = skip["reason"], number
        elif fence := FENCE.match(line):
            inside = _inside(lines, fence["fence"], f"{file}:{number}")
            text = "\n".join(row.removeprefix(fence["indent"]) for row in inside) + "\n"
            language = (fence["info"].split() or [""])[0].lower()
            yield Block(file, number, language, text, reason)
            reason = ""
        elif line.strip() and reason:
            break
    if reason:
        raise ValueError(f"{file}:{marked}: a skip mark stands right above the block it is for")


def _inside(lines: Iterator[tuple[int, str]], fence: str, where: str) -> Iterator[str]:
    for _, line in lines:
        if line.strip().startswith(fence) and not line.strip().strip(fence[0]):
            return
        yield line
    raise ValueError(f"{where}: the fence is not closed")
