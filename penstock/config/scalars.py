"""One YAML scalar to one value, by the field's type: a field for text takes ``no`` and ``2023-06-01`` as text."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from msgspec import inspect

from penstock.config.mistakes import quotable, suggestion

Scalar = str | int | float | bool

_INT = re.compile(r"[-+]?[0-9]{1,40}|0x[0-9a-fA-F]{1,32}|0o[0-7]{1,40}")
_FLOAT = re.compile(r"[-+]?([0-9]{1,400}(\.[0-9]{0,400})?|\.[0-9]{1,400})([eE][-+]?[0-9]{1,4})?")
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([kKMGT]i?B|B)")
_UNITS = {
    "B": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "ki": 1 << 10,
    "Mi": 1 << 20,
    "Gi": 1 << 30,
    "Ti": 1 << 40,
}
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}

Numeric = inspect.IntType | inspect.FloatType


class Unfit(Exception):
    """The text is no value of the type. The message says what would be."""


def scalar(text: str, quoted: bool, kind: inspect.Type, size: bool = False) -> Scalar:
    """The value that ``text`` has as a ``kind``. ``size``: a number of bytes may be given with a unit.

    Raises ``Unfit`` with a message that does not repeat the text.
    """
    if isinstance(kind, inspect.StrType):
        return _text(text, kind)
    if isinstance(kind, inspect.LiteralType):
        for value in kind.values:
            if str(value) == text and isinstance(value, (str, int)):
                return value
        raise Unfit(f"must be {expected(kind)}")
    if isinstance(kind, inspect.BoolType):
        if not quoted and text in _BOOLS:
            return _BOOLS[text]
        raise Unfit(f"must be {expected(kind)}")
    if isinstance(kind, inspect.IntType):
        number = _size(text) if size else None
        number = number if number is not None or quoted else _int(text)
        if number is None:
            raise Unfit(f"must be {expected(kind, size)}")
        return _within(number, kind, size)
    if isinstance(kind, inspect.FloatType):
        if quoted or not _FLOAT.fullmatch(text):
            raise Unfit(f"must be {expected(kind)}")
        return _within(float(text), kind)
    raise TypeError(f"the deployment file has no scalar of type {type(kind).__name__}")


def union(text: str, quoted: bool, kinds: Sequence[inspect.Type]) -> Scalar:
    """The value that ``text`` has as the narrowest of ``kinds``: a quoted one is text. Raises ``Unfit``."""
    order = (inspect.LiteralType, inspect.BoolType, inspect.IntType, inspect.FloatType, inspect.StrType)
    ranked = sorted(kinds, key=lambda kind: order.index(type(kind)))
    for kind in ranked:
        try:
            return scalar(text, quoted, kind)
        except Unfit as unfit:
            if len(ranked) == 1:
                raise
            last = unfit
    raise Unfit("must be " + " or ".join(expected(kind) for kind in kinds)) from last


def expected(kind: inspect.Type, size: bool = False) -> str:
    """The type in words: ``a whole number, at least 1``."""
    match kind:
        case inspect.Metadata():
            return expected(kind.type, size or bool(kind.extra and kind.extra.get("form") == "size"))
        case inspect.UnionType():
            parts = (expected(part) for part in kind.types if not isinstance(part, inspect.NoneType))
            return " or ".join(dict.fromkeys(parts))
        case inspect.LiteralType():
            return "one of " + ", ".join(str(value) for value in kind.values)
        case inspect.BoolType():
            return "true or false"
        case inspect.StrType():
            return "text"
        case inspect.IntType():
            return ("a number of bytes, such as 16MiB" if size else "a whole number") + _bounds(kind, size)
        case inspect.FloatType():
            return "a number" + _bounds(kind)
        case inspect.ListType() | inspect.VarTupleType():
            return f"a list of {_several(kind.item_type)}"
        case inspect.DictType():
            return f"a mapping of names to {_several(kind.value_type)}"
        case inspect.StructType():
            return "a mapping"
        case inspect.CustomType():
            return "anything"
        case _:
            raise TypeError(f"the deployment file has no field of type {type(kind).__name__}")


def _several(kind: inspect.Type) -> str:
    one = expected(kind)
    return "mappings" if one == "a mapping" else one.removeprefix("a ")


def size_text(number: float) -> str:
    """A number of bytes with the largest unit that leaves it whole: ``16MiB``."""
    for unit in ("Ti", "Gi", "Mi", "ki"):
        if number >= _UNITS[unit] and number % _UNITS[unit] == 0:
            return f"{int(number) // _UNITS[unit]}{unit.replace('k', 'K')}B"
    return f"{int(number)}B"


def _text(text: str, kind: inspect.StrType) -> str:
    if kind.min_length and len(text) < kind.min_length:
        raise Unfit(
            "must not be empty" if kind.min_length == 1 else f"must have at least {kind.min_length} characters"
        )
    if kind.max_length is not None and len(text) > kind.max_length:
        raise Unfit(f"must have at most {kind.max_length} characters")
    if kind.pattern is not None and not re.search(kind.pattern, text):
        raise Unfit(f"must match {kind.pattern}")
    return text


def _int(text: str) -> int | None:
    if not _INT.fullmatch(text):
        return None
    return int(text, 16 if text[:2] == "0x" else 8 if text[:2] == "0o" else 10)


def _size(text: str) -> int | None:
    match = _SIZE.fullmatch(text.replace("KiB", "kiB").replace("KB", "kB"))
    return round(float(match[1]) * _UNITS[match[2].removesuffix("B") or "B"]) if match else None


def _within(number: int | float, kind: Numeric, size: bool = False) -> int | float:
    if (
        not math.isfinite(number)
        or (kind.ge is not None and number < kind.ge)
        or (kind.gt is not None and number <= kind.gt)
        or (kind.le is not None and number > kind.le)
        or (kind.lt is not None and number >= kind.lt)
        or abs(number) >= 1 << 63
    ):
        raise Unfit(f"must be {expected(kind, size)}")
    return number


def _bounds(kind: Numeric, size: bool = False) -> str:
    def shown(bound: float) -> str:
        return size_text(bound) if size else f"{bound:g}" if isinstance(bound, float) else str(bound)

    if kind.ge is not None and kind.le is not None:
        return f", {shown(kind.ge)} to {shown(kind.le)}"
    words = (("at least", kind.ge), ("above", kind.gt), ("at most", kind.le), ("below", kind.lt))
    return "".join(f", {word} {shown(bound)}" for word, bound in words if bound is not None)


def shown_scalar(text: str) -> str:
    """A scalar as it stands in the file, for a message."""
    return f"`{quotable(text, 60)}`"


def choice(text: str, kind: inspect.Type) -> str:
    """What to pick instead of ``text``, for a type that is a choice; else nothing."""
    if isinstance(kind, inspect.LiteralType):
        return "; " + suggestion(text, [str(value) for value in kind.values])
    return ""
