"""API keys: ``pk-<public id>-<secret>``. The public id may be logged; of the secret only an HMAC is kept.

A key that an operator chose may be any text at all, so nothing here relies on that form: whoever presents a key is
found by its digest.
"""

from __future__ import annotations

import hmac
import secrets

_BLANK = " \t\r\n"


def mint(public_id: str | None = None) -> str:
    """A new key with 256 random bits. ``public_id`` names it in logs; None: 12 random hexadecimal digits."""
    return f"pk-{public_id or secrets.token_hex(6)}-{secrets.token_urlsafe(32)}"


def unpresentable(key: str) -> str | None:
    """Why a client could never present ``key`` in an HTTP header, in a few words; None when it can."""
    if not key.strip(_BLANK):
        return "it is blank"
    if any((ord(char) < 32 and char != "\t") or ord(char) == 127 for char in key.strip(_BLANK)):
        return "it holds a control character, such as a line break, which no HTTP header can carry"
    return None


def digest(pepper: bytes, presented: str) -> bytes:
    """The HMAC-SHA256 of a key.

    One key has one digest however it travelled: an HTTP header carries bytes, which a server may have read as
    Latin-1 or UTF-8 and a client may have written as either; and white space around a header's value is no part
    of it. Raises ``UnicodeEncodeError`` for lone surrogates, which neither a header nor an environment holds.
    """
    text = presented.strip(_BLANK)
    while not text.isascii():
        shorter = _read_again(text)
        if shorter is None:
            break
        text = shorter
    return hmac.digest(pepper, text.encode("utf-8"), "sha256")


def _read_again(text: str) -> str | None:
    """``text``, when it is bytes read as Latin-1 or by surrogates, read as UTF-8 if they are; None otherwise."""
    try:
        raw = text.encode("latin-1")
    except UnicodeEncodeError:
        raw = text.encode("utf-8", "surrogateescape")
    try:
        again = raw.decode("utf-8")
    except UnicodeDecodeError:
        again = raw.decode("latin-1")
    return again if again != text else None
