"""Texts that both databases take."""

from __future__ import annotations

import re

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def storable(text: str) -> str:
    """The text with U+FFFD for NUL, which PostgreSQL has no place for, and for halves of a surrogate pair, which have
    no UTF-8. One such character from a client must not keep everything behind it out of the store."""
    return text if text.isprintable() else _UNSTORABLE.sub("\ufffd", text)
