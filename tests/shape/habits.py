"""What is not in this house: names, types and habits that begin as a convenience."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import PurePosixPath

from tests.shape.source import PACKAGE, File, House, Offence, last_name

LINES = 400
BAD_FILE = re.compile(r"^(utils?|commons?|helpers?|misc)$|_(utils?|helpers?)$|_v\d+$")
BAD_CLASS = re.compile(r"(Manager|Handler|Service|Helper)s?$")
DOMAIN_WORDS = frozenset({("penstock/core/serving.py", "Service")})
MAPPINGS = frozenset({"dict", "Dict", "Mapping", "MutableMapping"})
CLOCKS = frozenset({"monotonic", "perf_counter", "now", "time"})
PACED = re.compile(r"#\s*pace:\s*\S")
MUTATORS = frozenset({"append", "add", "update", "pop", "clear", "setdefault", "extend", "remove", "discard"})
ENGINES = frozenset({"llamacpp", "openai", "anthropic", "fake", "vllm", "sglang", "tgi", "triton"})


def long_files(house: House) -> list[Offence]:
    return [
        file.offence(count, f"{count} lines; a file has at most {LINES}")
        for file in house.files
        if (count := file.text.count("\n")) > LINES
    ]


def file_names(house: House) -> list[Offence]:
    return [
        file.offence(1, f"`{part}` says nothing; name the file after what it does")
        for file in house.files
        for part in PurePosixPath(file.where).with_suffix("").parts
        if BAD_FILE.search(part)
    ]


def class_names(house: House) -> list[Offence]:
    return [
        file.offence(node, f"`{node.name}`: a name says what a thing is, not Manager, Handler, Service or Helper")
        for file in house.files
        for node in file.nodes
        if isinstance(node, ast.ClassDef)
        and BAD_CLASS.search(node.name)
        and (file.where, node.name) not in DOMAIN_WORDS
    ]


def loose_mappings(house: House) -> list[Offence]:
    return [
        file.offence(node, "`dict[str, Any]` ends at the edge; declare a struct")
        for file in house.package
        if file.room != "edge"
        for node in file.nodes
        if isinstance(node, ast.Subscript)
        and last_name(node.value) in MAPPINGS
        and isinstance(node.slice, ast.Tuple)
        and any(last_name(element) == "Any" for element in node.slice.elts)
    ]


def swallowed(house: House) -> list[Offence]:
    """``except Exception: pass``, bare, or as ``suppress(Exception)``."""
    found = []
    for file in house.files:
        for node in file.nodes:
            if isinstance(node, ast.ExceptHandler):
                wide = node.type is None or last_name(node.type) in ("Exception", "BaseException")
                if wide and all(_does_nothing(statement) for statement in node.body):
                    found.append(file.offence(node, "a wide `except` that does nothing hides what went wrong"))
            elif _suppresses(node):
                found.append(file.offence(node, "`suppress(Exception)` hides what went wrong"))
    return found


def _suppresses(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call) or last_name(node.func) != "suppress":
        return False
    return any(last_name(argument) in ("Exception", "BaseException") for argument in node.args)


def _does_nothing(statement: ast.stmt) -> bool:
    constant = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return constant or isinstance(statement, ast.Pass | ast.Continue)


def sleeping_tests(house: House) -> list[Offence]:
    """A test polls against a deadline or waits for an event; where the moment itself is tried, ``# pace: why``."""
    rule = "a test does not sleep to wait: poll with a deadline or wait for an event; a moment under test says `# pace: why`"
    return [
        file.offence(call, rule)
        for file in house.tests
        for call, loops in _sleeps(file.tree, ())
        if not any(_has_deadline(loop) for loop in loops)
        and not PACED.search(file.text.splitlines()[call.lineno - 1])
    ]


def _sleeps(node: ast.AST, around: tuple[ast.AST, ...]) -> Iterator[tuple[ast.Call, tuple[ast.AST, ...]]]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        around = ()
    elif isinstance(node, ast.While | ast.For | ast.AsyncFor | ast.AsyncWith | ast.With):
        around = (*around, node)
    if isinstance(node, ast.Call) and last_name(node.func) == "sleep" and not _is_zero(node):
        yield node, around
    for child in ast.iter_child_nodes(node):
        yield from _sleeps(child, around)


def _is_zero(call: ast.Call) -> bool:
    return len(call.args) == 1 and isinstance(call.args[0], ast.Constant) and call.args[0].value == 0


def _has_deadline(around: ast.AST) -> bool:
    """A loop that looks at a clock or a deadline, or a block under ``asyncio.timeout``."""
    if isinstance(around, ast.AsyncWith | ast.With):
        return any("timeout" in ast.unparse(item.context_expr) for item in around.items)
    names = [node for node in ast.walk(around) if isinstance(node, ast.Name | ast.Attribute | ast.Call)]
    told = any("deadline" in (last_name(node) or "") for node in names)
    return told or any(isinstance(node, ast.Call) and last_name(node.func) in CLOCKS for node in names)


def singletons(house: House) -> list[Offence]:
    """No live object at module level, nor anything that works like one. What never changes is a value, and may be."""
    live = {
        node.name
        for file in house.package
        for node in file.nodes
        if isinstance(node, ast.ClassDef) and _is_live(node)
    }
    found = []
    for file in house.package:
        for node in file.nodes:
            if isinstance(node, ast.Global):
                found.append(file.offence(node, "`global` makes a module a bag; pass what is needed"))
            elif isinstance(node, ast.FunctionDef) and not node.args.args and any(map(_caches, node.decorator_list)):
                found.append(file.offence(node, "a cached function without arguments is a singleton"))
        for node in file.tree.body:
            value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
            if isinstance(value, ast.Call) and last_name(value.func) in live:
                found.append(file.offence(node, "a live object at module level; assembly makes it and hands it over"))
            elif _is_empty_bag(value):
                found.append(
                    file.offence(node, "an empty mutable at module level waits to be filled from everywhere")
                )
    return found


def _is_live(node: ast.ClassDef) -> bool:
    """Whether objects of the class change or hold something open: a coroutine, a ``close``, a changed attribute."""
    for method in node.body:
        if isinstance(method, ast.AsyncFunctionDef):
            return True
        if isinstance(method, ast.FunctionDef) and method.name not in ("__init__", "__post_init__"):
            closes = method.name in ("close", "aclose", "__exit__")
            if closes or any(map(_changes_self, ast.walk(method))):
                return True
    return False


def _changes_self(node: ast.AST) -> bool:
    """``self.x = ...``, ``self.x[...] = ...``, ``self.x.append(...)`` and their like."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATORS:
        return _of_self(node.func.value)
    return isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load) and _of_self(node)


def _of_self(node: ast.expr) -> bool:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return isinstance(node, ast.Name) and node.id == "self"


def _caches(node: ast.expr) -> bool:
    return last_name(node.func if isinstance(node, ast.Call) else node) in ("cache", "lru_cache")


def _is_empty_bag(value: ast.expr | None) -> bool:
    if isinstance(value, ast.Call):
        return last_name(value.func) in ("dict", "list", "set", "defaultdict") and not value.args
    return (isinstance(value, ast.Dict) and not value.keys) or (isinstance(value, ast.List) and not value.elts)


def import_flags(house: House) -> list[Offence]:
    """No ``HAS_X``: an optional library is an adapter, and its import fails aloud when the adapter is chosen."""
    found = []
    for file in house.package:
        for node in file.nodes:
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and re.match(r"_?HAS_[A-Z]", node.id):
                found.append(file.offence(node, f"`{node.id}`: an import flag; make it an adapter of its own"))
            elif isinstance(node, ast.ExceptHandler) and node.type is not None:
                missing = {"ImportError", "ModuleNotFoundError"} & {last_name(part) for part in ast.walk(node.type)}
                if missing and not any(isinstance(inner, ast.Raise) for inner in ast.walk(node)):
                    found.append(file.offence(node, "a missing library is carried on without; raise what to install"))
    return found


def provider_branches(house: House) -> list[Offence]:
    return [
        file.offence(node, "an engine's name decides outside `engines/`; let the engine's own file decide")
        for file in house.package
        if file.room != "engines"
        for node in file.nodes
        if isinstance(node, ast.Compare)
        for part in (node.left, *node.comparators)
        if isinstance(part, ast.Constant) and part.value in ENGINES
    ]


def docstrings(house: House) -> list[Offence]:
    return [
        file.offence(1, "a module says what it is for in its docstring")
        for file in house.package
        if not ast.get_docstring(file.tree)
    ]


def relative_imports(house: House) -> list[Offence]:
    return [
        file.offence(found.line, "imports are absolute, so that a reader can follow them")
        for file in house.files
        for found in house.imports(file)
        if found.level
    ]


def left_behind(house: House) -> list[Offence]:
    return [
        file.offence(token.start[0], "a note to self is an issue, not a comment")
        for file in house.files
        for token in tokenize.generate_tokens(io.StringIO(file.text).readline)
        if token.type == tokenize.COMMENT and re.search(r"\b(TODO|FIXME|XXX|HACK)\b", token.string)
    ]


def faults(house: House) -> list[Offence]:
    """Every fault is raised or mapped somewhere, and its code is its own."""
    home = next((file for file in house.package if file.module == f"{PACKAGE}.core.errors"), None)
    if home is None:
        return []
    used = {
        last_name(node)
        for file in house.package
        if file is not home
        for node in file.nodes
        if isinstance(node, ast.Name | ast.Attribute)
    }
    found, codes = [], set[str]()
    for name, code, node in _declared_faults(home):
        if name not in used:
            found.append(home.offence(node, f"`{name}` is declared and never used"))
        if code in codes:
            found.append(home.offence(node, f"the code `{code}` belongs to another fault"))
        codes.add(code)
    return found


def _declared_faults(home: File) -> Iterator[tuple[str, str, ast.Assign]]:
    for node in home.tree.body:
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Call)
            and last_name(node.value.func) == "Fault"
        ):
            target, code = node.targets[0], node.value.args[0]
            if isinstance(target, ast.Name) and isinstance(code, ast.Constant):
                yield target.id, str(code.value), node
