"""What a template does with its values, each thing of it counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec
from jinja2 import Undefined
from jinja2 import filters as stock
from jinja2.runtime import Context
from jinja2.utils import pass_context

from penstock.prompts.config import Value

MOST_STEPS = 100_000
"""Steps of all loops of a rendering together; with large values, and filters over them, there are fewer."""
MOST_OUTPUT = 1 << 20
"""Characters that a rendering makes, and that a filter makes of them."""
WORK = "0"
"""The name, which no template can write, of a rendering's ``Work``."""
_STEP = 320
_INDENTED = 40
_DIGITS = 15


class TooMuch(Exception):
    """A rendering does more than it may. The message says of what."""


class Work:
    """What one rendering may still do, in characters that are looked at. ``size`` is that of its values."""

    __slots__ = ("_left", "_step")

    def __init__(self, size: int) -> None:
        self._step = _STEP + size // 64
        self._left = MOST_STEPS * _STEP

    def step(self) -> None:
        """Counts one step of a loop, in which anything may be compared."""
        self.spend(self._step)

    def spend(self, size: int) -> None:
        """Counts so much that is looked at. Raises ``TooMuch``."""
        self._left -= size
        if self._left < 0:
            raise TooMuch("its loops, and what they look at, are too much work")


def shown(value: object) -> object:
    """What is put into the text."""
    if value is None:
        return ""
    return ", ".join(map(str, value)) if isinstance(value, list) else value


@pass_context
def each(context: Context, items: object) -> Iterator[object]:
    """What a loop goes over, each step counted."""
    work = context.parent[WORK]
    if not isinstance(items, (list, tuple, range)):
        raise TypeError("a loop goes over a list")
    for item in items:
        work.step()
        yield item


def steps(*bounds: int) -> range:
    """``range()``, of no more than can be counted."""
    found = range(*bounds)
    if len(found) > MOST_STEPS:
        raise TooMuch("its loops, and what they look at, are too much work")
    return found


def _bounded(size: int) -> None:
    if size > MOST_OUTPUT:
        raise TooMuch(f"it makes more than {MOST_OUTPUT} characters")


def _text(value: object) -> str:
    if isinstance(value, Undefined):
        return str(value)
    return str(shown(value))


def _join(value: object, by: str = ", ") -> str:
    if not isinstance(value, (list, tuple)):
        raise TypeError("join takes a list")
    items = [_text(each) for each in value]
    _bounded(sum(map(len, items)) + len(by) * len(items))
    return by.join(items)


def joined(value: list[object]) -> str:
    """What ``~`` makes."""
    return "".join(map(_text, value))


def same(value: object) -> object:
    """For what is compared: it is counted, and stays."""
    return value


def _round(value: float, digits: int = 0) -> float:
    if not 0 <= digits <= _DIGITS:
        raise ValueError(f"round takes 0 to {_DIGITS}")
    return round(value, digits or None)


def _replace(value: object, old: str, new: str) -> str:
    text = _text(value)
    _bounded(len(text) + text.count(old) * len(new))
    return text.replace(old, new)


def _indent(value: object, width: int = 4, first: bool = False) -> str:
    text = _text(value)
    if not 0 <= width <= _INDENTED:
        raise ValueError(f"indent takes 0 to {_INDENTED}")
    _bounded(len(text) + text.count("\n") * width)
    blank = " " * width
    lines = text.split("\n")
    rest = [blank + line if line else line for line in lines[1:]]
    return "\n".join([blank + lines[0] if first else lines[0], *rest])


def _truncate(value: object, length: int = 255, within_words: bool = False, end: str = "...") -> str:
    text = _text(value)
    if len(text) <= length:
        return text
    cut = text[: max(0, length - len(end))]
    return (cut if within_words else cut.rsplit(" ", 1)[0]) + end


def _first(value: list[object]) -> object:
    return value[0] if value else None


def _last(value: list[object]) -> object:
    return value[-1] if value else None


def _default(value: object, other: Value = "", empty: bool = False) -> object:
    return other if value is None or isinstance(value, Undefined) or (empty and not value) else value


def _tojson(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _listed(change: Callable[[list[object]], Iterable[object]]) -> Callable[[object], list[object]]:
    def changed(value: object) -> list[object]:
        if not isinstance(value, (list, tuple)):
            raise TypeError("it takes a list")
        return list(change(list(value)))

    return changed


def _sorted(items: list[object]) -> list[object]:
    return sorted(items, key=str)


def counted(filtered: Callable[..., object]) -> Callable[..., object]:
    """The same filter, by the size of what it looks at."""

    @pass_context
    def counting(context: Context, value: object, *args: object, **named: object) -> object:
        context.parent[WORK].spend(1 + size(value))
        return filtered(value, *args, **named)

    return counting


def size(value: object) -> int:
    """Characters in it."""
    if isinstance(value, list):
        return len(value) + sum(map(size, value))
    return len(value) if isinstance(value, str) else 1


_PLAIN: Mapping[str, Callable[..., object]] = {
    "capitalize": stock.do_capitalize,
    "count": len,
    "default": _default,
    "first": _first,
    "float": stock.do_float,
    "indent": _indent,
    "int": stock.do_int,
    "join": _join,
    "last": _last,
    "length": len,
    "lower": stock.do_lower,
    "replace": _replace,
    "reverse": _listed(lambda items: items[::-1]),
    "round": _round,
    "sort": _listed(_sorted),
    "string": _text,
    "title": stock.do_title,
    "tojson": _tojson,
    "trim": stock.do_trim,
    "truncate": _truncate,
    "unique": _listed(dict.fromkeys),
    "upper": stock.do_upper,
    "wordcount": stock.do_wordcount,
}
_FILTERS = {name: counted(filtered) for name, filtered in _PLAIN.items()}
FILTERS = {name: counted(filtered) for name, filtered in _PLAIN.items()}
"""By the names that templates have for them."""
