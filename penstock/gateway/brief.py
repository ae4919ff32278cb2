"""Brief: a look at a text that may not take long. A regular expression can take years for a few dozen characters, and
nothing else would be answered meanwhile."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def brief(seconds: float) -> Iterator[None]:
    """Breaks off what is done within by ``TimeoutError`` after so many seconds. In the main thread alone, which is
    where workers serve; elsewhere nothing is broken off. Not to be waited in: the alarm is the process's own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    armed = True

    def ring(_: int, __: FrameType | None) -> None:
        if armed:
            raise TimeoutError

    before = signal.signal(signal.SIGALRM, ring)
    # Python's regular expressions look for signals as they go.
    rest, every = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_REAL, rest, every)
        signal.signal(signal.SIGALRM, before)
