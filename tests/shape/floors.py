"""Who may import whom."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping, Sequence

from tests.shape.source import PACKAGE, File, House, Import, Offence

FLOOR_1 = frozenset(
    {"access", "prompts", "guards", "caches", "retrieval", "routing", "engines", "fleet", "weights"}
    | {"quality", "store", "observe", "tune", "govern"}
)
FLOOR_2 = frozenset({"gateway", "control", "jobs"})
ROOMS = FLOOR_1 | FLOOR_2 | {"core", "edge", "assembly", "config", "catalog", "__main__", ""}
CATALOG = f"{PACKAGE}.catalog"
READ_WITH = frozenset(f"{PACKAGE}.{pure}" for pure in ("weights.address", "prompts.checks", "prompts.versions"))


def unknown_rooms(house: House) -> list[Offence]:
    return [
        file.offence(1, f"`{file.room}` is no room of the house; give it a floor before it gets a door")
        for file in house.package
        if file.room not in ROOMS
    ]


def floors(house: House) -> list[Offence]:
    """A floor imports only floors below it; rooms of one floor do not import one another."""
    return [
        file.offence(found.line, f"`{file.module}` may not import `{found.target}`: {why}")
        for file, found in _own_imports(house)
        if (why := _forbidden(file, found.target))
    ]


def _forbidden(file: File, target: str) -> str:
    room, other = file.room, [*target.split("."), ""][1]
    if other in (room, ""):
        return ""
    if room in ("core", "catalog"):
        return "" if room == "catalog" and other == "core" else "core and the catalog stand on nothing of ours"
    if room in FLOOR_1:
        return "" if other == "core" else "a room of floor 1 imports core and itself; declare a Protocol"
    if room in FLOOR_2:
        return "" if other == "core" or other in FLOOR_1 else "floor 2 imports core and floor 1"
    if room == "config":
        light = other == "core" or target.endswith(".config") or target in READ_WITH
        return "" if light else "the deployment file is read with core and the rooms' own config.py"
    if room == "assembly":
        return "assembly wires; it does not speak to people" if target.startswith(f"{PACKAGE}.edge.cli") else ""
    if room == "edge":
        on_top = {"assembly", "config"} if file.module.startswith(f"{PACKAGE}.edge.cli") else set()
        below = {"core"} | FLOOR_1 | FLOOR_2 | on_top
        return "" if other in below else "edge imports the floors below; only edge/cli sees assembly and config"
    return (
        "" if room == "__main__" and target.startswith(f"{PACKAGE}.edge.cli") else "the top imports nothing of ours"
    )


def adapters(house: House) -> list[Offence]:
    """Only the catalog names a concrete adapter; its own room may lean on it."""
    concrete = {module for module, _, _ in _catalogued(house)}
    return [
        file.offence(found.line, f"`{found.target}` is an adapter: only the catalog names it, by its string")
        for file, found in _own_imports(house)
        if found.target in concrete and file.room != found.target.split(".")[1]
    ]


def catalog_entries(house: House) -> list[Offence]:
    """Every ``module:Class`` of the catalog exists."""
    files = {file.module: file for file in house.package}
    catalog = files.get(CATALOG)
    missing = []
    for module, name, line in _catalogued(house):
        nodes = files[module].tree.body if module in files else []
        if catalog and not any(
            isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name for node in nodes
        ):
            missing.append(catalog.offence(line, f"the catalog names `{module}:{name}`, which does not exist"))
    return missing


def _catalogued(house: House) -> Iterator[tuple[str, str, int]]:
    for file in house.package:
        if file.module != CATALOG:
            continue
        for node in file.nodes:
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                module, colon, name = node.value.partition(":")
                if colon and module.startswith(f"{PACKAGE}.") and name.isidentifier():
                    yield module, name, node.lineno


def loading(house: House) -> list[Offence]:
    """An import by name is an import. Outside the catalog it stays in its own room."""
    return [
        file.offence(found.line, f"`{found.target}` is imported by name across rooms; go through the catalog")
        for file in house.package
        for found in house.by_name(file)
        if file.room not in found.target.split(".")[1:2]
    ] + [
        file.offence(node, "`__import__` hides who needs whom; write an import, or go through the catalog")
        for file in house.package
        for node in file.nodes
        if isinstance(node, ast.Name) and node.id == "__import__"
    ]


def core_is_light(house: House) -> list[Offence]:
    """Core imports the standard library and msgspec."""
    allowed = sys.stdlib_module_names | {"msgspec", PACKAGE}
    return [
        file.offence(found.line, f"core imports the standard library and msgspec, not `{found.target}`")
        for file in house.package
        if file.room == "core"
        for found in house.imports(file)
        if found.target.split(".")[0] not in allowed
    ]


def tests_stay_out(house: House) -> list[Offence]:
    """The package does not import its tests or benchmarks."""
    return [
        file.offence(found.line, f"the package imports `{found.target}`, which is not installed with it")
        for file in house.package
        for found in house.imports(file)
        if found.target.split(".")[0] in ("tests", "benchmarks")
    ]


def circles(house: House) -> list[Offence]:
    """No import circle, lazy imports included."""
    graph: dict[str, dict[str, int]] = {file.module: {} for file in house.package}
    for file, found in _own_imports(house):
        if found.target in graph and found.target != file.module:
            graph[file.module].setdefault(found.target, found.line)
    files = {file.module: file for file in house.package}
    return [
        files[circle[0]].offence(graph[circle[0]][circle[1]], "import circle: " + " -> ".join(circle))
        for circle in _circles(graph)
    ]


def _circles(graph: Mapping[str, Mapping[str, int]]) -> list[list[str]]:
    """One shortest circle through each module that can reach itself, each reported once."""
    found: dict[frozenset[str], list[str]] = {}
    for start in graph:
        ways: list[list[str]] = [[start]]
        seen: set[str] = set()
        while ways:
            way = ways.pop(0)
            if start in graph[way[-1]]:
                found.setdefault(frozenset(way), [*way, start])
                break
            fresh = [name for name in graph[way[-1]] if name not in seen]
            seen.update(fresh)
            ways.extend([*way, name] for name in fresh)
    return list(found.values())


def _own_imports(house: House) -> Sequence[tuple[File, Import]]:
    return [
        (file, found)
        for file in house.package
        for found in house.imports(file)
        if found.target == PACKAGE or found.target.startswith(f"{PACKAGE}.")
    ]
