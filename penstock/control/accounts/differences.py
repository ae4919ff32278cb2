"""How two things differ, for people to read: their JSON as lines, and the lines that are not the same. Pure."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterator
from typing import Literal

import msgspec

FROM = "from"
"""The parameter that names what is compared with."""
_AROUND = 3


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One part that is not the same: its `before` and `after` by their ids, where it has one, and the lines that
    differ, in the form of `diff -u` without its head."""

    what: Literal["model", "prompt", "index", "guards", "defaults"]
    before: str = ""
    after: str = ""
    text: str = ""


class DiffView(msgspec.Struct, frozen=True, kw_only=True):
    """How `after` differs from `before`; without parts they are the same."""

    before: str
    after: str
    object: Literal["diff"] = "diff"
    parts: tuple[Part, ...] = ()


def difference(before: bytes, after: bytes) -> str:
    """Of two JSON values; empty when they say the same, whatever the order of their members."""
    return compared(readable(before), readable(after))


def readable(source: bytes) -> str:
    """A JSON value in lines: a member, or a line of a text, in each."""
    return "\n".join(_lines(msgspec.json.decode(source), ""))


def compared(before: str, after: str) -> str:
    """Of two texts, line by line; empty when they are the same."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=_AROUND, lineterm="")
    return "\n".join(itertools.islice(lines, 2, None))


def _lines(value: object, indent: str) -> Iterator[str]:
    match value:
        case dict():
            for name in sorted(value):
                yield from _member(f"{indent}{name}:", value[name], indent)
        case list():
            for each in value:
                yield from _member(f"{indent}-", each, indent)
        case _:
            yield indent + _scalar(value)


def _member(head: str, value: object, indent: str) -> Iterator[str]:
    if isinstance(value, dict | list) and value:
        yield head
        yield from _lines(value, indent + "  ")
    elif isinstance(value, str) and "\n" in value:
        yield f"{head} |"
        yield from (f"{indent}  {line}" for line in value.split("\n"))
    else:
        yield f"{head} {_scalar(value)}"


def _scalar(value: object) -> str:
    plain = isinstance(value, str) and bool(value) and value.isprintable()
    return str(value) if plain else msgspec.json.encode(value).decode()
