"""How long steps go, for people: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from typing import TextIO

_BAR = 24
_REDRAW_S = 0.1
_QUIET_S = 1.0
_LINE_EVERY_S = 10.0
_LINE_EVERY_PART = 0.2


class Progress:
    """Shows the steps it hears of, from any thread, once they have lasted a second. ``now`` is monotonic seconds."""

    def __init__(self, out: TextIO, now: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._terminal = out.isatty()
        self._now = now
        self._lock = threading.Lock()
        self._begun: dict[str, float] = {}
        self._shown_at: dict[str, float] = {}
        self._shown_part: dict[str, float] = {}
        self._bar_is_up = False

    def step(self, what: str, done: int, total: int | None) -> None:
        """``done`` of ``total`` bytes (None: not known) of the step named ``what``."""
        with self._lock, _unless_nobody_can_read():
            now = self._now()
            if now - self._begun.setdefault(what, now) < _QUIET_S:
                return
            part = done / total if total else 0.0
            if self._terminal:
                if now - self._shown_at.get(what, 0.0) >= _REDRAW_S or part >= 1:
                    self._draw(what, done, total)
                    self._shown_at[what] = now
            elif self._due(what, part, now):
                self._out.write(f"  {what}: {_amount(done, total)}\n")
                self._out.flush()
                self._shown_at[what], self._shown_part[what] = now, part

    def line(self, text: str) -> None:
        """A whole line, in place of a bar that is being drawn."""
        with self._lock, _unless_nobody_can_read():
            self._erase()
            self._out.write(text + "\n")
            self._out.flush()

    def _due(self, what: str, part: float, now: float) -> bool:
        last = self._shown_part.get(what)
        if last is None:
            return True
        return part - last >= _LINE_EVERY_PART or now - self._shown_at[what] >= _LINE_EVERY_S or part >= 1 > last

    def _draw(self, what: str, done: int, total: int | None) -> None:
        full = int(_BAR * done / total) if total else 0
        bar = f"[{'#' * full}{'.' * (_BAR - full)}] " if total else ""
        width = shutil.get_terminal_size().columns - 1
        self._out.write("\r\x1b[K" + f"  {bar}{_amount(done, total)}  {what}"[:width])
        self._out.flush()
        self._bar_is_up = True

    def _erase(self) -> None:
        if self._bar_is_up:
            self._out.write("\r\x1b[K")
            self._bar_is_up = False


@contextlib.contextmanager
def _unless_nobody_can_read() -> Iterator[None]:
    """A terminal that was closed or a log on a full disk costs what is said, never the server that says it."""
    with contextlib.suppress(OSError):
        yield


def _amount(done: int, total: int | None) -> str:
    if not total:
        return f"{done / 1e6:.1f} MB"
    return f"{100 * done // total:3d} % of {total / 1e6:.1f} MB"
