"""The source as the shape rules see it: files, their syntax trees, and what each imports, wherever it says so."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

PACKAGE = "penstock"


@dataclass(frozen=True)
class Offence:
    """One breach: where it is, and which rule of the house it breaks."""

    where: str
    line: int
    rule: str

    def __str__(self) -> str:
        return f"{self.where}:{self.line}: {self.rule}"


@dataclass(frozen=True)
class Import:
    """``target`` is the dotted name of a module: of the module itself where ``from package import module``."""

    target: str
    line: int
    level: int = 0


@dataclass(frozen=True)
class File:
    """One Python file. ``where`` is its path below the root, with slashes."""

    root: Path
    path: Path

    @cached_property
    def where(self) -> str:
        return self.path.relative_to(self.root).as_posix()

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, filename=self.where)

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        return tuple(ast.walk(self.tree))

    @cached_property
    def module(self) -> str:
        """The dotted name under which Python imports this file."""
        parts = list(Path(self.where).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        return ".".join(parts)

    @property
    def room(self) -> str:
        """The first name below the package (``engines``, ``config``); empty for the package itself."""
        parts = self.module.split(".")
        return parts[1] if len(parts) > 1 else ""

    def offence(self, node: ast.AST | int, rule: str) -> Offence:
        line = node if isinstance(node, int) else getattr(node, "lineno", 1)
        return Offence(self.where, line, rule)


class House:
    """The Python files of one checkout."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = tuple(
            File(root, path)
            for top in (PACKAGE, "tests", "benchmarks")
            for path in sorted((root / top).rglob("*.py"))
            if "__pycache__" not in path.parts
        )

    @cached_property
    def package(self) -> tuple[File, ...]:
        return tuple(file for file in self.files if file.where.startswith(f"{PACKAGE}/"))

    @cached_property
    def tests(self) -> tuple[File, ...]:
        return tuple(file for file in self.files if file.where.startswith("tests/"))

    @cached_property
    def modules(self) -> frozenset[str]:
        return frozenset(file.module for file in self.package)

    def imports(self, file: File) -> tuple[Import, ...]:
        """Everything ``file`` imports: at its top, in functions, under ``TYPE_CHECKING``, and by name.

        The catalog's names are not among them: loading through it is the one way round the floors.
        """
        return (*self._imports(file), *self.by_name(file))

    def by_name(self, file: File) -> tuple[Import, ...]:
        """In a file that imports by name, each string that begins like a module of ours is taken for one."""
        return tuple(self._by_name(file)) if file.room != "catalog" else ()

    def _by_name(self, file: File) -> Iterator[Import]:
        if not any(last_name(node) == "import_module" for node in file.nodes):
            return
        for node in file.nodes:
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and node.value.startswith(f"{PACKAGE}.")
            ):
                begin = node.value.partition(":")[0]
                named = [
                    name for name in self.modules if name == begin or (begin[-1] == "." and name.startswith(begin))
                ]
                yield from (Import(name, node.lineno) for name in named or [begin])

    def _imports(self, file: File) -> Iterator[Import]:
        for node in file.nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Import(alias.name, node.lineno)
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                for alias in node.names:
                    named = f"{base}.{alias.name}"
                    yield Import(named if named in self.modules else base, node.lineno, node.level)


def last_name(node: ast.AST | None) -> str | None:
    """``x`` of ``x``, and of ``a.b.x``."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else None


def listed(offences: Sequence[Offence]) -> str:
    """The offences one to a line, as a failed test shows them."""
    return "\n" + "\n".join(map(str, offences))
