"""What may be a secret: a short text, not empty. Wherever it comes from, no message has it."""

from __future__ import annotations

import os
import stat

from penstock.config.environment import Unresolved
from penstock.config.mistakes import quotable

MOST_BYTES = 64 << 10
"""Of one secret."""


def secret_file(path: str) -> str:
    """The text of a file, without the newline at its end. Raises ``Unresolved``."""
    shown = f"the file {quotable(path, 200)}"
    try:
        # Without waiting for who would write to a pipe.
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Unresolved(f"{shown} is not there; write it, or mend the path") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no path"
        raise Unresolved(f"{shown} cannot be read ({reason}); mend the path, or who may read it") from None
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise Unresolved(f"{shown} is not a plain file; name one that holds the secret and nothing else")
        with os.fdopen(file, "rb", closefd=False) as opened:
            raw = opened.read(MOST_BYTES + 1)
    except OSError as error:
        raise Unresolved(f"{shown} cannot be read ({error.strerror}); see to its disk") from None
    finally:
        os.close(file)
    return decoded(raw, shown)


def decoded(raw: bytes, shown: str) -> str:
    """The secret that ``shown`` gave, without the newline at its end. Raises ``Unresolved``."""
    if len(raw) > MOST_BYTES:
        raise Unresolved(f"{shown} gives more than {MOST_BYTES >> 10} KiB; a secret is a short text")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise Unresolved(f"{shown} does not give text in UTF-8; write the secret as text") from None
    return checked(text.rstrip("\r\n"), shown)


def checked(text: str, shown: str) -> str:
    """The text, if it can be a secret. Raises ``Unresolved``."""
    if not text:
        raise Unresolved(f"{shown} is empty; put the secret there")
    if "\0" in text:
        raise Unresolved(f"{shown} gives a NUL character; write the secret as text")
    return text
