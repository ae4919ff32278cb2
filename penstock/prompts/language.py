"""The part of Jinja that prompts are written in, and the room in which they run.

A template is text with ``{{ }}``, ``{% if %}``, ``{% for %}`` and filters: nothing that is set, defined, called or
included. So a value is never larger than what it is made of, and the only work that grows is that of loops, which is
counted. What is not listed here is refused when a template is compiled, by its line. The sandbox of Jinja stands
behind that: https://jinja.palletsprojects.com/en/stable/sandbox/
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec
from jinja2 import StrictUndefined, Undefined, nodes
from jinja2 import filters as stock
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.tests import TESTS
from jinja2.utils import pass_context

from penstock.prompts.config import Value

MOST_STEPS = 100_000
"""Steps of all loops of a rendering together; with large values, and filters over them, there are fewer."""
MOST_OUTPUT = 1 << 20
"""Characters that a rendering makes, and that a filter makes of them."""
WORK = "0"
"""The name, which no template can write, of a rendering's ``Work``."""
_EACH = "_each"
_STEP = 320
_INDENTED = 40


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
        """Counts a filter over so much."""
        self._left -= size
        if self._left < 0:
            raise TooMuch("its loops take too many steps")


class Environment(ImmutableSandboxedEnvironment):
    """Where one template lives: without a loader, and with what this file lists."""

    def __init__(self) -> None:
        super().__init__(
            undefined=StrictUndefined,
            autoescape=False,
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=_shown,
            cache_size=0,
        )
        self.globals = {"range": _range}
        self.filters = {**_FILTERS, _EACH: _each}
        self.tests = {name: TESTS[name] for name in _TESTS}

    def getitem(self, obj: object, argument: object) -> object:
        """An item of a list, a piece of a string, by number: never an attribute."""
        if isinstance(argument, str):
            raise SecurityError("an item is taken by its number")
        return super().getitem(obj, argument)


def refusals(tree: nodes.Template) -> Iterator[tuple[int, str]]:
    """What the template uses that prompts have not, by its line."""
    for node in tree.iter_child_nodes():
        yield from _refused(node)


def counted(tree: nodes.Template) -> nodes.Template:
    """The same template, with its loops counted."""
    for loop in tree.find_all(nodes.For):
        loop.iter = nodes.Filter(loop.iter, _EACH, [], [], None, None, lineno=loop.lineno)
    return tree


def _refused(node: nodes.Node) -> Iterator[tuple[int, str]]:
    wrong = _wrong(node)
    if wrong:
        yield node.lineno or 1, wrong
        return
    for child in node.iter_child_nodes():
        yield from _refused(child)


def _wrong(node: nodes.Node) -> str:
    match node:
        case nodes.For(recursive=True):
            return "`recursive` is not there; write the loops one within the other"
        case nodes.Getitem(arg=nodes.Const(value=str())):
            return "an item is taken by its number: `name[0]`"
        case nodes.Name(name="self"):
            return "`self` is not there in prompts"
        case nodes.For(target=nodes.Name()) | nodes.Getitem() | nodes.Slice():
            return ""
        case nodes.For():
            return "a loop has one variable"
        case nodes.Getattr(node=nodes.Name(name="loop"), attr=attribute):
            return "" if attribute in _LOOP else f"`loop.{attribute}` is not there; there are {', '.join(_LOOP)}"
        case nodes.Getattr(attr=attribute):
            return f"`.{attribute}`: a variable has no attributes; an item of a list is `name[0]`"
        case nodes.Call(node=nodes.Name(name="range"), kwargs=[], dyn_args=None, dyn_kwargs=None):
            return ""
        case nodes.Call():
            return "nothing can be called but range()"
        case nodes.Filter(name=name, args=args, kwargs=kwargs, dyn_args=dynamic, dyn_kwargs=more, node=inner):
            return _filter_wrong(name, [*args, *(each.value for each in kwargs)], dynamic or more, inner)
        case nodes.Test(name=name):
            return "" if name in _TESTS else f"there is no test `{name}`; there are {', '.join(_TESTS)}"
        case _:
            return "" if isinstance(node, _ALLOWED) else f"{_word(node)} is not there in prompts"


def _filter_wrong(name: str, args: Iterable[nodes.Node], dynamic: object, inner: nodes.Node | None) -> str:
    if name not in _FILTERS:
        return f"there is no filter `{name}`; there are {', '.join(_FILTERS)}"
    if dynamic is not None or not all(isinstance(each, nodes.Const) for each in args):
        return f"what the filter `{name}` is given must be written out: text, a number, true or false"
    return "a filter must stand behind a value" if inner is None else ""


def _word(node: nodes.Node) -> str:
    word = _WORDS.get(type(node).__name__, type(node).__name__.lower())
    return f"`{word}`"


def _shown(value: object) -> object:
    if value is None:
        return ""
    return ", ".join(map(str, value)) if isinstance(value, list) else value


@pass_context
def _each(context: Context, items: object) -> Iterator[object]:
    work = context.parent[WORK]
    if not isinstance(items, (list, tuple, range)):
        raise TypeError("a loop goes over a list")
    for item in items:
        work.step()
        yield item


def _range(*bounds: int) -> range:
    found = range(*bounds)
    if len(found) > MOST_STEPS:
        raise TooMuch("its loops take too many steps")
    return found


def _bounded(size: int) -> None:
    if size > MOST_OUTPUT:
        raise TooMuch(f"it makes more than {MOST_OUTPUT} characters")


def _text(value: object) -> str:
    if isinstance(value, Undefined):
        return str(value)
    return str(_shown(value))


def _join(value: object, by: str = ", ") -> str:
    if not isinstance(value, (list, tuple)):
        raise TypeError("join takes a list")
    items = [_text(each) for each in value]
    _bounded(sum(map(len, items)) + len(by) * len(items))
    return by.join(items)


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


def _counted(filtered: Callable[..., object]) -> Callable[..., object]:
    @pass_context
    def counting(context: Context, value: object, *args: object, **named: object) -> object:
        context.parent[WORK].spend(1 + _size(value))
        return filtered(value, *args, **named)

    return counting


def _size(value: object) -> int:
    if isinstance(value, list):
        return len(value) + sum(map(_size, value))
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
    "round": stock.do_round,
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
_FILTERS = {name: _counted(filtered) for name, filtered in _PLAIN.items()}
_TESTS = ("none", "string", "number", "boolean", "true", "false", "in", "eq", "ne", "lt", "le", "gt", "ge", "odd")
_LOOP = ("index", "index0", "revindex", "revindex0", "first", "last", "length")
_ALLOWED = (
    nodes.Output,
    nodes.TemplateData,
    nodes.Name,
    nodes.Const,
    nodes.List,
    nodes.Tuple,
    nodes.If,
    nodes.CondExpr,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.Neg,
    nodes.Pos,
    nodes.Add,
    nodes.Sub,
    nodes.Concat,
    nodes.Keyword,
)
_WORDS = {
    "Assign": "set",
    "AssignBlock": "set",
    "CallBlock": "call",
    "FilterBlock": "filter",
    "FromImport": "from",
    "Mul": "*",
    "Pow": "**",
    "Mod": "%",
    "Div": "/",
    "FloorDiv": "//",
    "Dict": "{...}",
    "Scope": "autoescape",
}
