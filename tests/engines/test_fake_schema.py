"""The smallest instance of a schema is one: jsonschema agrees."""

from __future__ import annotations

import jsonschema
import pytest

from penstock.engines.fake_schema import instance

SCHEMAS: list[dict[str, object]] = [
    {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
    {"type": "object", "properties": {"a": {"type": "string"}}},
    {"type": "string", "format": "date-time", "minLength": 3},
    {"type": "string", "minLength": 30},
    {"type": "integer", "minimum": 0.5},
    {"type": "integer", "exclusiveMinimum": 3, "multipleOf": 5},
    {"type": "integer", "maximum": -4},
    {"type": "number", "exclusiveMaximum": 0},
    {"type": "number", "minimum": 2.5},
    {"type": ["string", "null"]},
    {"type": "array", "items": {"type": "boolean"}, "minItems": 3},
    {"type": "array", "prefixItems": [{"const": 7}, {"enum": ["x"]}]},
    {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    {"oneOf": [{"type": "array"}, {"type": "string"}]},
    {
        "allOf": [
            {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
            {"properties": {"b": {"type": "string"}}, "required": ["b"]},
        ]
    },
    {
        "$defs": {"P": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}},
        "$ref": "#/$defs/P",
    },
    {
        "$defs": {
            "Node": {
                "type": "object",
                "properties": {
                    "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]},
                    "v": {"type": "integer"},
                },
                "required": ["next", "v"],
            }
        },
        "$ref": "#/$defs/Node",
    },
    {"properties": {"a": {"const": None}}, "required": ["a", "b"]},
    {},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
def test_the_instance_is_one(schema: dict[str, object]) -> None:
    jsonschema.validate(instance(schema), schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$ref": "#/nowhere"},
        {"type": "array", "minItems": 10**9, "items": {"type": "array", "minItems": 10**9}},
        {"properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}, "required": ["a", "b"]},
        5,
        None,
    ],
)
def test_a_schema_without_an_instance_ends_too(schema: object) -> None:
    instance(schema)
