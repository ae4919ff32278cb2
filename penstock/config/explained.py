"""The words of the schema beside the lines of a deployment file."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import yaml
from msgspec import inspect

from penstock.config.deployment import DeploymentFile
from penstock.config.reference import docs
from penstock.config.scalars import expected
from penstock.config.tree import Broken, parse


class Explained(msgspec.Struct, frozen=True):
    """A key in a file: its line, from 1; where it is (``models.small.engine``); what it takes, and what the schema
    says of it, both empty where that says nothing."""

    line: int
    key: str
    takes: str
    about: str


def explained(text: str) -> tuple[Explained, ...]:
    """Every key that the schema knows, by line; none of a text that is no YAML."""
    try:
        root = parse(text.encode())
    except Broken:
        return ()
    return tuple(_of(root, inspect.type_info(DeploymentFile), "", frozenset()))


def _of(node: yaml.Node, kind: inspect.Type, path: str, above: frozenset[int]) -> Iterator[Explained]:
    if id(node) in above:
        return
    inside = above | {id(node)}
    match node:
        case yaml.MappingNode():
            yield from _of_mapping(node, kind, path, inside)
        case yaml.SequenceNode():
            item = _item(kind)
            for place, each in enumerate(node.value if item is not None else ()):
                assert item is not None
                yield from _of(each, item, f"{path}[{place}]", inside)


def _of_mapping(node: yaml.MappingNode, kind: inspect.Type, path: str, above: frozenset[int]) -> Iterator[Explained]:
    struct, values = _struct(kind, node), _values(kind)
    words = docs(struct.cls) if struct is not None else {}
    fields = {each.encode_name: each for each in struct.fields} if struct is not None else {}
    tag = struct.tag_field if struct is not None else None
    for key, value in node.value:
        name = key.value if isinstance(key, yaml.ScalarNode) else ""
        at, line = f"{path}.{name}" if path else name, key.start_mark.line + 1
        if name in fields:
            field = fields[name]
            yield Explained(line, at, expected(field.type).removeprefix("a "), words.get(name, ""))
            yield from _of(value, field.type, at, above)
        elif name == tag and struct is not None:
            yield Explained(line, at, "", (struct.cls.__doc__ or "").replace("``", "`").split("\n\n")[0])
        elif values is not None:
            inner = _struct(values, value)
            about = (inner.cls.__doc__ or "") if inner is not None else ""
            yield Explained(line, at, "", " ".join(about.replace("``", "`").split("\n\n")[0].split()))
            yield from _of(value, values, at, above)


def _plain(kind: inspect.Type) -> Iterator[inspect.Type]:
    """The kinds that it may be, without what is said of them."""
    match kind:
        case inspect.Metadata():
            yield from _plain(kind.type)
        case inspect.UnionType():
            for part in kind.types:
                yield from _plain(part)
        case _:
            yield kind


def _struct(kind: inspect.Type, node: yaml.Node) -> inspect.StructType | None:
    """The one that the node is; of several, the one whose tag the node has."""
    found = [each for each in _plain(kind) if isinstance(each, inspect.StructType)]
    if len(found) < 2 or not isinstance(node, yaml.MappingNode):
        return found[0] if found else None
    said = {
        key.value: value.value
        for key, value in node.value
        if isinstance(key, yaml.ScalarNode) and isinstance(value, yaml.ScalarNode)
    }
    return next((each for each in found if each.tag_field and said.get(each.tag_field) == each.tag), None)


def _values(kind: inspect.Type) -> inspect.Type | None:
    return next((each.value_type for each in _plain(kind) if isinstance(each, inspect.DictType)), None)


def _item(kind: inspect.Type) -> inspect.Type | None:
    return next(
        (each.item_type for each in _plain(kind) if isinstance(each, inspect.ListType | inspect.VarTupleType)), None
    )
