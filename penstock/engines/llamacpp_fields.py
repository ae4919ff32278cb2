"""Reading single members of a call, typed."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from penstock.core.chat import Call
from penstock.core.errors import INVALID_TYPE, PenstockError

Read = TypeVar("Read")


def given(call: Call, name: str) -> bytes | None:
    """The member as the client wrote it; None when it is left out or null."""
    raw = call.fields.get(name)
    text = b"null" if raw is None else bytes(raw).strip()
    return None if text == b"null" else text


def member(call: Call, name: str, decoder: msgspec.json.Decoder[Read]) -> Read | None:
    """The member, decoded; None as in ``given``. Raises ``PenstockError`` (INVALID_TYPE) when it is another."""
    text = given(call, name)
    if text is None:
        return None
    try:
        return decoder.decode(text)
    except msgspec.DecodeError as exc:
        raise PenstockError(INVALID_TYPE, f"{name} is malformed: {exc}", param=name) from exc
