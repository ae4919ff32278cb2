"""The output of a command, for ``${command:...}``."""

from __future__ import annotations

import os
import selectors
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping

from penstock.config.environment import Unresolved
from penstock.config.mistakes import quotable
from penstock.config.secret_text import MOST_BYTES, decoded

_LAST_S = 0.5
"""For a command to end once it has said everything."""


def output(line: str, env: Mapping[str, str], within_s: float) -> str:
    """What the command says on standard output, without the newline at its end.

    ``line`` is cut into words as a shell would, and run without one, in a process group of its own that is killed
    when it has not ended after ``within_s`` seconds or says too much. What it says on standard error is thrown away,
    because it may hold what it was given. Raises ``Unresolved``.
    """
    try:
        words = shlex.split(line)
    except ValueError:
        raise Unresolved("`${command:...}` has a quotation mark without its other one; add it") from None
    shown = f"the command {quotable(words[0])}" if words else "the command"
    try:
        child = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(env),
            start_new_session=True,
        )
    except FileNotFoundError:
        raise Unresolved(f"{shown} is not there; install it, or write its whole path") from None
    except (OSError, ValueError, IndexError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no command"
        raise Unresolved(f"{shown} cannot be run ({reason}); mend `${{command:...}}`") from None
    with child:
        said = _said(child, time.monotonic() + within_s)
        code = _ended(child) if said is not None and len(said) <= MOST_BYTES else None
        if code is None:
            # Its children too: they may hold its output open.
            os.killpg(child.pid, signal.SIGKILL)
    if said is not None and (len(said) > MOST_BYTES or code == 0):
        return decoded(said, shown)
    if code is None:
        raise Unresolved(f"{shown} has not ended after {within_s:g} s; run it in a shell to see why")
    ended = f"was ended by signal {-code}" if code < 0 else f"failed with exit code {code}"
    raise Unresolved(f"{shown} {ended}; run it in a shell to see why")


def _said(child: subprocess.Popen[bytes], until: float) -> bytes | None:
    """Its output to the end, or as soon as it is too much; None when that takes too long."""
    pipe = child.stdout
    if pipe is None:
        return b""
    said = b""
    with selectors.DefaultSelector() as waiting:
        waiting.register(pipe, selectors.EVENT_READ)
        while len(said) <= MOST_BYTES:
            if not waiting.select(max(0.0, until - time.monotonic())):
                return None
            piece = os.read(pipe.fileno(), MOST_BYTES)
            if not piece:
                return said
            said += piece
    return said


def _ended(child: subprocess.Popen[bytes]) -> int | None:
    """Its exit code; None when it only closed its output."""
    try:
        return child.wait(_LAST_S)
    except subprocess.TimeoutExpired:
        return None
