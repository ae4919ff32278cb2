"""The deployment file's JSON Schema and reference page, drawn from the structs and the docstrings of their fields."""

from __future__ import annotations

import ast
import inspect as source
import itertools
import json
import textwrap
from collections.abc import Mapping
from typing import cast

import msgspec
from msgspec import inspect

from penstock.config.deployment import DeploymentFile
from penstock.config.scalars import expected, size_text

_REFERENCE = r"\$\{[A-Za-z_]"
_SIZE = r"^[0-9]+(\.[0-9]+)? ?([kKMGT]i?)?B$"
_INTRO = """\
# The deployment file

One YAML file says everything that a gateway serves. `penstock up -c FILE` serves it, `penstock check -c FILE`
explains every mistake in it by line, `penstock init` writes one to start from, and `penstock schema` prints its JSON
Schema for editors. Without `-c` it is the file that `PENSTOCK_CONFIG` names, else `penstock.yaml` in the working
directory, else the built-in deployment.

`${NAME}` in a value stands for an environment variable and `${NAME:-text}` gives it a default; a variable that is
missing is a mistake. `${file:PATH}`, `${command:WORDS}` and `${vault:PATH#FIELD}` take secrets from elsewhere; see
[the deployment file](../deployment.md). `$$` stands for one `$`. What is filled in is shown in no message. YAML's
anchors, aliases and `<<` merges work.

This page is generated from the code: `penstock schema --markdown`.
"""


def json_schema() -> str:
    """The JSON Schema (2020-12) as text, with a final newline."""
    (top,), parts = msgspec.json.schema_components([DeploymentFile], ref_template="#/$defs/{name}")
    kinds = {kind.cls.__name__: kind for kind in structs()}
    for name, part in parts.items():
        kind = kinds[name]
        described = docs(kind.cls)
        properties = cast("dict[str, dict[str, object]]", part["properties"])
        for field in kind.fields:
            member = _open_to_env(properties[field.encode_name], _is_size(field.type))
            if field.encode_name in described:
                member["description"] = described[field.encode_name]
            properties[field.encode_name] = member
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Penstock deployment file"}
    return json.dumps({**head, **top, "$defs": parts}, indent=2, ensure_ascii=False) + "\n"


def page() -> str:
    """The reference page as Markdown, with a final newline."""
    return _INTRO + "".join(_section(kind) for kind in structs())


def structs() -> list[inspect.StructType]:
    """Every struct that a deployment file is made of, the file itself first, each once, in reading order."""
    found: dict[type, inspect.StructType] = {}

    def visit(kind: inspect.Type) -> None:
        match kind:
            case inspect.StructType():
                if kind.cls not in found:
                    found[kind.cls] = kind
                    for field in kind.fields:
                        visit(field.type)
            case inspect.Metadata():
                visit(kind.type)
            case inspect.UnionType():
                for part in kind.types:
                    visit(part)
            case inspect.ListType() | inspect.VarTupleType():
                visit(kind.item_type)
            case inspect.DictType():
                visit(kind.value_type)
            case _:
                pass

    visit(inspect.type_info(DeploymentFile))
    return list(found.values())


def docs(struct: type) -> Mapping[str, str]:
    """The docstring under each field of a struct, inherited ones included, each on one line.

    Reads the source: msgspec, like Python, keeps no docstrings of fields.
    """
    found: dict[str, str] = {}
    for cls in reversed(struct.__mro__):
        if issubclass(cls, msgspec.Struct) and cls is not msgspec.Struct:
            found.update(_own_docs(cls))
    return found


def _own_docs(cls: type) -> Mapping[str, str]:
    tree = ast.parse(textwrap.dedent(source.getsource(cls))).body[0]
    body = cast("ast.ClassDef", tree).body
    return {
        field.target.id: " ".join(doc.value.value.split())
        for field, doc in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(doc, ast.Expr)
        and isinstance(doc.value, ast.Constant)
        and isinstance(doc.value.value, str)
    }


def _open_to_env(member: dict[str, object], size: bool) -> dict[str, object]:
    """Lets ``${NAME}`` stand for a number or a choice, and a size with a unit for a number of bytes."""
    alternatives = cast("list[dict[str, object]]", member.get("anyOf", [member]))
    types = {part.get("type") for part in alternatives}
    plain_text = any(part.get("type") == "string" and "enum" not in part for part in alternatives)
    if plain_text or not ("enum" in member or types & {"integer", "number", "boolean"} or size):
        return member
    default = {"default": member.pop("default")} if "default" in member else {}
    patterns = [{"type": "string", "pattern": _REFERENCE}]
    if size:
        patterns.insert(0, {"type": "string", "pattern": _SIZE})
    return {"anyOf": [*alternatives, *patterns], **default}


def _is_size(kind: inspect.Type) -> bool:
    return isinstance(kind, inspect.Metadata) and bool(kind.extra) and (kind.extra or {}).get("form") == "size"


def _section(kind: inspect.StructType) -> str:
    described = docs(kind.cls)
    title = f"`engine: {kind.tag}`" if kind.tag_field else _TITLES.get(kind.cls.__name__, kind.cls.__name__)
    lines = [f"\n## {title}\n", source.cleandoc(kind.cls.__doc__ or "").replace("``", "`"), ""]
    lines += ["| key | takes | default | |", "| --- | --- | --- | --- |"]
    for field in kind.fields:
        cells = (f"`{field.encode_name}`", _takes(field.type), _default(field), described.get(field.encode_name, ""))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


_TITLES = {
    "DeploymentFile": "The file",
    "ServerSettings": "`server`",
    "Tls": "`server.tls`",
    "Cors": "`server.cors`",
    "ServiceSettings": "`services`",
    "FakeAnswer": "`answers` of `engine: fake`",
    "FakeToolCall": "`tool_calls` of an answer",
}


def _takes(kind: inspect.Type) -> str:
    return expected(kind).removeprefix("a ")


def _default(field: inspect.Field) -> str:
    if field.required:
        return "required"
    if field.default_factory is not msgspec.NODEFAULT:
        return "empty"
    value = field.default
    if isinstance(value, msgspec.Struct):
        return "all defaults"
    if value is None or value == "":
        return "" if value is None else "empty"
    if _is_size(field.type):
        return f"`{size_text(value)}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{json.dumps(value)}`"
