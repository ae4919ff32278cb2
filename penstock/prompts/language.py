"""The part of Jinja that prompts are written in, and the room in which they run.

A template is text with ``{{ }}``, ``{% if %}``, ``{% for %}`` and filters: nothing that is set, defined, called or
included. So the work of a rendering is that of its loops, and of looking at its values; both are counted. What is not
listed here is refused when a template is compiled, by its line. The sandbox of Jinja stands behind that:
https://jinja.palletsprojects.com/en/stable/sandbox/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from jinja2 import StrictUndefined, nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.tests import TESTS
from jinja2.visitor import NodeTransformer

from penstock.prompts import filters
from penstock.prompts.filters import FILTERS, WORK

MOST_TAGS = 1000
"""``{{`` and ``{%`` in one template."""
MOST_NODES = 5000
"""Names, values, operators and the like in one template."""
_EACH, _JOINED, _SEEN = "_each", "_joined", "_seen"


class Environment(ImmutableSandboxedEnvironment):
    """Where one template lives: without a loader, and with what this file lists."""

    intercepted_binops = frozenset({"+"})

    def __init__(self) -> None:
        super().__init__(
            undefined=StrictUndefined,
            autoescape=False,
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=filters.shown,
            cache_size=0,
        )
        self.globals = {"range": filters.steps}
        self.filters = {
            **FILTERS,
            _EACH: filters.each,
            _JOINED: filters.counted(filters.joined),
            _SEEN: filters.counted(filters.same),
        }
        self.tests = {name: TESTS[name] for name in _TESTS}

    def getitem(self, obj: object, argument: object) -> object:
        """An item of a list, a piece of a string, by number: never an attribute."""
        if isinstance(argument, str):
            raise SecurityError("an item is taken by its number")
        return super().getitem(obj, argument)

    def call_binop(self, context: Context, operator: str, left: object, right: object) -> object:
        """``left + right``, counted."""
        context.parent[WORK].spend(filters.size(left) + filters.size(right))
        return super().call_binop(context, operator, left, right)


def refusals(tree: nodes.Template) -> Iterator[tuple[int, str]]:
    """What the template uses that prompts have not, by its line."""
    if sum(1 for _ in tree.find_all(nodes.Node)) > MOST_NODES:
        yield 1, f"has more than {MOST_NODES} names, values and operators; make it simpler"
        return
    for node in tree.iter_child_nodes():
        yield from _refused(node)


def counted(tree: nodes.Template, environment: Environment) -> nodes.Template:
    """The same template, with its work counted."""
    found: nodes.Template = _Counting().visit(tree)
    found.set_environment(environment)
    return found


class _Counting(NodeTransformer):
    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.iter = _through(_EACH, node.iter)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _through(_JOINED, nodes.List(node.nodes, lineno=node.lineno))

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.expr = _through(_SEEN, node.expr)
        for operand in node.ops:
            operand.expr = _through(_SEEN, operand.expr)
        return node

    def visit_Test(self, node: nodes.Test) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.node = _through(_SEEN, node.node)
        return node


def _through(name: str, value: nodes.Node) -> nodes.Filter:
    return nodes.Filter(value, name, [], [], None, None, lineno=value.lineno)


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
    if name not in FILTERS:
        return f"there is no filter `{name}`; there are {', '.join(FILTERS)}"
    if dynamic is not None or not all(isinstance(each, nodes.Const) for each in args):
        return f"what the filter `{name}` is given must be written out: text, a number, true or false"
    return "a filter must stand behind a value" if inner is None else ""


def _word(node: nodes.Node) -> str:
    word = _WORDS.get(type(node).__name__, type(node).__name__.lower())
    return f"`{word}`"


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
