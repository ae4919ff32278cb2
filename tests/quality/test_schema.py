"""A schema says of a value what the reference implementation says."""

from __future__ import annotations

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from penstock.core.errors import PenstockError
from penstock.quality.schema import Schema

_NAMES = some.sampled_from(["a", "b", "cc"])
_SCALARS = (
    some.none()
    | some.booleans()
    | some.integers(-3, 3)
    | some.sampled_from([0.5, 1.0, 2.5])
    | some.text("abc", max_size=4)
)
_VALUES = some.recursive(
    _SCALARS, lambda inner: some.lists(inner, max_size=3) | some.dictionaries(_NAMES, inner, max_size=3), max_leaves=6
)
_SMALL = some.integers(0, 3)
_TYPES = some.sampled_from(["object", "array", "string", "number", "integer", "boolean", "null"])


def _schemas(inner: some.SearchStrategy[object]) -> some.SearchStrategy[object]:
    several = some.lists(inner, min_size=1, max_size=3)
    named = some.dictionaries(_NAMES, inner, max_size=2)
    return some.fixed_dictionaries(
        {},
        optional={
            "type": _TYPES | some.lists(_TYPES, min_size=1, max_size=3, unique=True),
            "enum": some.lists(_VALUES, min_size=1, max_size=3),
            "const": _VALUES,
            "required": some.lists(_NAMES, max_size=2, unique=True),
            "properties": named,
            "patternProperties": some.dictionaries(some.sampled_from(["^a", "c"]), inner, max_size=2),
            "additionalProperties": inner,
            "propertyNames": inner,
            "items": inner,
            "prefixItems": several,
            "contains": inner,
            "anyOf": several,
            "allOf": several,
            "oneOf": several,
            "not": inner,
            "if": inner,
            "then": inner,
            "else": inner,
            "pattern": some.sampled_from(["^a", "b+", "c$"]),
            "uniqueItems": some.booleans(),
            "minimum": _SMALL,
            "exclusiveMaximum": _SMALL,
            "multipleOf": some.sampled_from([1, 2, 0.5]),
            "minLength": _SMALL,
            "maxItems": _SMALL,
            "minProperties": _SMALL,
        },
    )


_SCHEMA = _schemas(some.booleans() | _schemas(some.booleans()))


@settings(max_examples=150, deadline=None)
@given(schema=_SCHEMA, value=_VALUES)
def test_a_value_fits_just_when_the_reference_says_so(schema: dict[str, object], value: object) -> None:
    reference = jsonschema.Draft202012Validator(schema)

    assert (Schema(schema).fault(value) == "") == reference.is_valid(value)


def test_what_is_wrong_is_said_with_its_place() -> None:
    schema = Schema(
        {
            "$defs": {"person": {"type": "object", "required": ["name"], "properties": {"age": {"type": "integer"}}}},
            "type": "object",
            "properties": {"people": {"type": "array", "items": {"$ref": "#/$defs/person"}}},
        }
    )

    assert schema.fault({"people": [{"name": "Ada", "age": 36}]}) == ""
    assert schema.fault({"people": [{"name": "Ada", "age": "old"}]}) == "people[0].age: no integer"
    assert schema.fault({"people": [{}]}) == "people[0]: lacks name"


def test_a_value_deeper_than_any_reply_is_refused_and_nothing_breaks() -> None:
    schema = Schema({"$ref": "#"})
    tree = Schema({"type": "object", "properties": {"next": {"$ref": "#"}}})
    deep: dict[str, object] = {}
    for _ in range(500):
        deep = {"next": deep}

    assert schema.fault(1) == "nested too deep"
    assert tree.fault({"next": {"next": {}}}) == ""
    assert tree.fault(deep) == "nested too deep"


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ({"properties": {"a": {"tpye": "string"}}}, "/properties/a/tpye"),
        ({"unevaluatedProperties": False}, "/unevaluatedProperties"),
        ({"type": "text"}, "/type"),
        ({"pattern": "("}, "/pattern"),
        ({"minLength": "3"}, "/minLength"),
        ({"anyOf": {}}, "/anyOf"),
        ({"items": [1]}, "/items"),
        ({"$ref": "https://example.com/schema"}, "/$ref"),
        ({"$ref": "#/$defs/nobody"}, "/$ref"),
        ({"properties": []}, "/properties"),
    ],
)
def test_a_schema_that_would_let_everything_through_is_refused(schema: dict[str, object], place: str) -> None:
    with pytest.raises(PenstockError) as refused:
        Schema(schema)

    assert f"at {place}:" in refused.value.message
