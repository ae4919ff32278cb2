"""Changing top-level members of a JSON object without re-encoding the rest: bytes stay bytes."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def members(text: bytes) -> dict[str, msgspec.Raw]:
    """The top-level members of a JSON object, in order, each value as its own bytes.

    A name that occurs twice keeps its last value. Raises ``msgspec.DecodeError`` when ``text`` is not one JSON
    object. Whether the strings inside the values are valid UTF-8 is not looked at.
    """
    try:
        return _members.decode(text)
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError("A member's name is not UTF-8.") from error
    except RecursionError as error:
        raise msgspec.DecodeError("A value is nested too deep.") from error


def raw(value: object) -> msgspec.Raw:
    """The value as JSON, to be a member. Raises as ``msgspec.json.encode`` does."""
    return msgspec.Raw(msgspec.json.encode(value))


def joined(fields: Mapping[str, msgspec.Raw], **owned: object) -> bytes:
    """The members as one JSON object; ``owned`` replaces or adds members, and ``None`` removes one.

    A value in ``owned`` is JSON-encoded, except ``msgspec.Raw``, which is taken as it is.
    """
    merged: dict[str, object] = dict(fields)
    for name, value in owned.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = value
    return msgspec.json.encode(merged)
