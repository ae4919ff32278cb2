"""The smallest instance that a JSON Schema allows, for structured outputs and forced tool calls. Pure.

Covers what structured outputs and tool definitions use: types, enum, const, references, unions, required
properties, bounds of numbers, strings and arrays, common formats. Patterns are not solved.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

_DEEPEST = 64
_MOST = 10_000
_FORMATS = {
    "date-time": "2000-01-01T00:00:00Z",
    "date": "2000-01-01",
    "time": "00:00:00Z",
    "duration": "PT0S",
    "email": "a@example.com",
    "hostname": "example.com",
    "ipv4": "127.0.0.1",
    "ipv6": "::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
Schema = Mapping[str, object]


def instance(schema: object) -> object:
    """An instance of ``schema``, which was decoded from JSON; None for what is no schema."""
    return _Maker(schema).made(schema, 0)


class _Maker:
    """Follows references into ``root``; makes a bounded number of values, whatever a schema asks for."""

    def __init__(self, root: object) -> None:
        self._root = root
        self._left = _MOST

    def made(self, schema: object, depth: int) -> object:
        self._left -= 1
        if not isinstance(schema, dict) or depth > _DEEPEST or self._left < 0:
            return None
        if "const" in schema:
            return schema["const"]
        options = schema.get("enum")
        if isinstance(options, list) and options:
            return options[0]
        if isinstance(reference := schema.get("$ref"), str):
            return self.made(self._found(reference), depth + 1)
        for union in ("anyOf", "oneOf"):
            members = schema.get(union)
            if isinstance(members, list) and members:
                # A union with null, as optional fields have it, is what ends a recursive schema.
                return None if {"type": "null"} in members else self.made(members[0], depth + 1)
        if isinstance(parts := schema.get("allOf"), list):
            return self.made(self._all_of(schema, parts), depth + 1)
        return self._typed(schema, depth)

    def _found(self, reference: str) -> object:
        found = self._root
        for step in reference.removeprefix("#").split("/"):
            if step:
                name = step.replace("~1", "/").replace("~0", "~")
                found = found.get(name) if isinstance(found, dict) else None
        return found

    def _all_of(self, schema: Schema, parts: list[object]) -> dict[str, object]:
        merged: dict[str, object] = {key: value for key, value in schema.items() if key != "allOf"}
        for part in parts:
            found = self._found(str(part["$ref"])) if isinstance(part, dict) and "$ref" in part else part
            if isinstance(found, dict):
                merged = _merged(merged, found)
        return merged

    def _typed(self, schema: Schema, depth: int) -> object:
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = "null" if "null" in kind else next(iter(kind), None)
        if kind is None:
            kind = next((name for mark, name in _MARKS.items() if mark in schema), None)
        match kind:
            case "object":
                properties = schema.get("properties")
                required = schema.get("required")
                known = properties if isinstance(properties, dict) else {}
                names = required if isinstance(required, list) else []
                return {str(name): self.made(known.get(name, {"type": "string"}), depth + 1) for name in names}
            case "array":
                heads = schema.get("prefixItems")
                items = [self.made(item, depth + 1) for item in heads] if isinstance(heads, list) else []
                while len(items) < _whole(schema.get("minItems")) and self._left > 0:
                    items.append(self.made(schema.get("items"), depth + 1))
                return items
            case "string":
                return _FORMATS.get(str(schema.get("format")), "").ljust(_whole(schema.get("minLength")), "x")
            case "integer":
                return math.ceil(_number(schema, 1))
            case "number":
                return _number(schema, 0)
            case "boolean":
                return False
        return None


def _merged(left: dict[str, object], right: Schema) -> dict[str, object]:
    out = left | dict(right)
    for key in ("properties", "required"):
        one, other = left.get(key), right.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            out[key] = one | other
        elif isinstance(one, list) and isinstance(other, list):
            out[key] = one + other
    return out


_MARKS = {"properties": "object", "required": "object", "items": "array", "minLength": "string", "minimum": "number"}


def _whole(value: object) -> int:
    return min(value, _MOST) if isinstance(value, int) else 0


def _number(schema: Schema, step: int) -> float | int:
    """The number nearest to nought within the bounds; ``step`` 1 for whole numbers."""
    low, high = _bound(schema, "inimum", 1, step), _bound(schema, "aximum", -1, step)
    value = max(0, low) if low is not None else 0
    if high is not None and value > high:
        value = high
    unit = schema.get("multipleOf")
    if isinstance(unit, (int, float)) and unit > 0 and value % unit:
        value = (value // unit + (1 if high is None or (value // unit + 1) * unit <= high else 0)) * unit
    return value


def _bound(schema: Schema, name: str, away: int, step: int) -> float | int | None:
    closed, open_ = schema.get("m" + name), schema.get("exclusiveM" + name)
    if isinstance(open_, (int, float)) and not isinstance(open_, bool):
        return open_ + away * (step or 0.5)
    return closed if isinstance(closed, (int, float)) else None
