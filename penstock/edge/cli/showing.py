"""Answers of the admin API for people: tables, and one thing on several lines. Nothing in it can drive a terminal."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import click
import msgspec

from penstock.core.accounts import EVERYWHERE
from penstock.edge.cli.terminal import harmless

NONE = "-"
_CONTROL = re.compile("[\x7f-\x9f]")
_TIMES = ("_at", "_until", "_begin", "_end")


class Column(NamedTuple):
    """``right``: numbers, whose digits stand below one another."""

    title: str
    right: bool = False


def table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """The lines of a table, its titles first; no line without rows."""
    cells = [[line_of(cell) or NONE for cell in row] for row in rows]
    if not cells:
        return
    cells.insert(0, [column.title for column in columns])
    widths = [max(len(row[place]) for row in cells) for place in range(len(columns))]
    for row in cells:
        placed = (
            cell.rjust(width) if column.right else cell.ljust(width)
            for cell, width, column in zip(row, widths, columns, strict=True)
        )
        yield "  ".join(placed).rstrip()


def card(view: msgspec.Struct, without: str = "") -> Iterator[str]:
    """One thing, a line for each field but ``without``; what is empty is shown as such."""
    fields = [field for field in _fields(view) if field[0] != without]
    width = max((len(name) for name, _ in fields), default=0)
    for name, value in fields:
        yield f"{name.ljust(width)}  {line_of(value) or NONE}"


def _fields(view: msgspec.Struct) -> Iterator[tuple[str, str]]:
    for name in sorted(view.__struct_fields__, key=lambda each: each != "id"):
        value = getattr(view, name)
        if name == "object":
            continue
        label = name.removesuffix("_at").replace("_", " ") if name.endswith("_at") else name.replace("_", " ")
        if isinstance(value, msgspec.Struct):
            yield label, ", ".join(f"{key} {said}" for key, said in _fields(value) if said not in ("", "0"))
        else:
            yield label, _said(name, value)


def _said(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and name.endswith(_TIMES):
        return time_of(value)
    if isinstance(value, tuple):
        return ", ".join(_member(each) for each in value)
    return "" if value is None else str(value)


def _member(value: object) -> str:
    if not isinstance(value, msgspec.Struct):
        return str(value)
    fields = [(name, getattr(value, name)) for name in value.__struct_fields__]
    if all(isinstance(each, str) for _, each in fields):
        return ":".join(each for _, each in fields if each)
    return " ".join(f"{name} {each}" for name, each in fields if each)


def time_of(at: float | None) -> str:
    """``2026-11-21T14:00:00Z``; empty for None."""
    if at is None:
        return ""
    try:
        moment = datetime.datetime.fromtimestamp(at, datetime.UTC)
    except (OverflowError, OSError, ValueError):
        return str(at)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def subject_of(kind: str, subject: str) -> str:
    """What a limit or budget is on, as it is written on the command line."""
    if kind == "global":
        return "global"
    return f"each {kind}" if subject == EVERYWHERE else f"{kind}:{subject}"


def line_of(text: str) -> str:
    """The text as one harmless line."""
    return " ".join(harmless(text).split())


def json_of(raw: bytes | msgspec.Raw) -> str:
    """JSON as it came, with an indent."""
    return json_line(msgspec.json.format(bytes(raw), indent=2))


def json_line(raw: bytes | msgspec.Raw) -> str:
    """JSON as it came. Control characters that JSON lets stand are escaped: some terminals obey them."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", bytes(raw).decode())


def note(text: str) -> None:
    """A remark beside the output, on standard error."""
    click.echo(text, err=True)
