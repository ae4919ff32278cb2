"""What a model says, on a terminal: safe to show, and only as coloured as the terminal wants."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TextIO

_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"


def harmless(text: str) -> str:
    """The text without control characters but newline and tab: what a model writes must not drive the terminal."""
    return "".join(c for c in text if c in "\n\t" or not (ord(c) < 32 or 127 <= ord(c) < 160))


class Screen:
    """Writes an answer piece by piece. To a terminal: harmless, thoughts dimmed. Elsewhere: the answer as it is."""

    def __init__(self, out: TextIO, env: Mapping[str, str] = os.environ) -> None:
        self._out = out
        self.terminal = out.isatty()
        self._colour = self.terminal and not env.get("NO_COLOR") and env.get("TERM") != "dumb"
        self._thinking = False
        self._at_start = True

    def say(self, text: str) -> None:
        """A piece of the answer."""
        if self._thinking:
            self._thinking = False
            self._write("\n\n")
        self._write(text)

    def think(self, text: str) -> None:
        """A piece of the reasoning before the answer; shown on a terminal only."""
        if self.terminal:
            self._thinking = True
            self._write(text, dim=True)

    def note(self, text: str) -> None:
        """A remark of ours, on a line of its own; on a terminal only."""
        if self.terminal:
            self.end()
            self._write(text + "\n", dim=True)

    def end(self) -> None:
        """Finishes the line that is being written, if one is."""
        self._thinking = False
        if not self._at_start:
            self._write("\n")

    def _write(self, text: str, dim: bool = False) -> None:
        shown = harmless(text) if self.terminal else text
        if not shown:
            return
        self._at_start = shown.endswith("\n")
        self._out.write(f"{_DIM}{shown}{_PLAIN}" if dim and self._colour else shown)
        self._out.flush()
